"""What a student is taught from: what its teacher says of each clip, kept on disk.

In: a `Teacher` and the waves of a batch. Out: targets of the matched layers.
Start with told.py (targets of a batch), then keep.py (the folder of them).
"""
