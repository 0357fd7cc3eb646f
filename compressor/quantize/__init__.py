"""Fewer bits: schemes, what they do to numbers, calibration, and `compress quantize`.

In: a checkpoint and held-out speech. Out: a checkpoint with `quantize.json`.
Start with scheme.py, then ptq.py; fake_quant.py simulates a scheme in floats.
"""
