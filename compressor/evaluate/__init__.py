"""How good features are: who answers a task, and how well.

In: a checkpoint, bundle or teacher, and tasks. Out: scores with intervals, eval.json, a report.
Start with suite.py, then extract.py (features, once), solve.py (heads and scores) and report.py.
"""
