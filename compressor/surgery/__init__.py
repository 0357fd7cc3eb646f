"""Taking parts out of an encoder: channels, heads, feed-forward units, layers, dimensions of the width.

In: an `Encoder` and which units stay. Out: a smaller `Encoder` that computes the same as the masked one.
Start with units.py (what can go) and cut.py; subclone.py fills a student of another shape from its teacher.
"""
