"""`compress search`: shapes of a student under a latency budget.

In: a recipe, a space of shapes, a device. Out: a table of trials, their front, and the best student's recipe.
Start with search.py, then walk.py (which shape is next) and trial.py (one shape, timed and trained).
"""
