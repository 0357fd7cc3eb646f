"""Features, units or answers of a whole corpus, written file by file, so that a run that was stopped goes on.

In: a checkpoint, a bundle or a teacher, and a corpus. Out: a folder of features with its index. Start with extract.py.
"""
