"""What computes: ExecuTorch behind our C library, without torch, or ExecuTorch's own Python bindings, with it.

In: the file of a program, a method, arrays. Out: arrays and numbers. Start with choose.py.
"""
