"""Speech: recordings, corpora, batches, and the part that is held out.

In: folders of audio, Lhotse manifests, Shar shards, here or elsewhere. Out: float32 waves at 16 kHz, with lengths.
Start with corpus.py (what there is), audio.py (one recording) and batches.py (what a step is trained on).
"""
