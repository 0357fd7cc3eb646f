"""What a student is taught from: what its teacher says of each clip, kept on disk, and the teacher's clusters.

In: a `Teacher` and the waves of a batch. Out: targets of the matched layers, and the unit of each frame.
Start with told.py (targets of a batch), then keep.py (the folder of them) and units.py (clusters, and heads for them).
"""
