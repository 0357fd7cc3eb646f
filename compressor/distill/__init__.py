"""Distillation: recipe x teacher x speech to a student's checkpoint.

In: a `Recipe` and where to run it. Out: a checkpoint folder, with a state to resume from while it is unfinished.
Start with distill.py, then plan.py (what is trained), objectives.py (the loss), loop.py (steps) and run.py (folder).
"""
