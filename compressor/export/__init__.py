"""Encoder x target to a bundle for ExecuTorch, run and compared before it is written.

In: a checkpoint and a `Target`. Out: a bundle folder (docs/bundle.md).
Start with export.py, then prepare.py (the same numbers from operations that a backend runs fast) and lower.py.
"""
