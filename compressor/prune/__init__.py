"""`compress prune`: importance, choice, cut, recovery.

In: a checkpoint and what it may cost. Out: a smaller checkpoint of the same class.
Start with prune.py, then importance.py, search.py (which units stay) and cut.py.
"""
