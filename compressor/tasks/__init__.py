"""What is asked of features: clips with answers, a metric, and what chance would score.

In: labelled folders and the corpora of SUPERB. Out: a list of `Task`.
Start with task.py; mini.py and superb.py make tasks from corpora, metrics.py scores answers.
"""
