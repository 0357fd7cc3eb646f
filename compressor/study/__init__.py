"""Studies: which layers of a teacher to distil, and what each quantisation scheme costs.

In: a teacher or a checkpoint, and speech. Out: tables and a page.
Start with study.py for layers and with schemes.py for schemes.
"""
