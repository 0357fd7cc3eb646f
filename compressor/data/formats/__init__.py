"""Corpora where they are, in the formats of other toolkits: fairseq, Kaldi, NeMo, Common Voice, datasets, WebDataset.

In: their tables, tars and Arrow or Parquet files. Out: Lhotse cuts, each with the place it was read at, or why not.
Start with choose.py (which format a path is in) and entries.py (a line becomes a cut).
"""
