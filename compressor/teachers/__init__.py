"""Any foreign checkpoint as a teacher with hidden states, and students written for other toolkits.

In: a hub id, a folder of `transformers`, a file of fairseq, unilm or s3prl, `torchaudio:NAME`. Out: a `Teacher`.
Start with load.py; a reader hands over `Weights` (weights.py), and backbones.py says how each family computes.
"""
