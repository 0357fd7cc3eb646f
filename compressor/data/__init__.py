"""audio, corpora, batches, held-out split (+ starter/)."""
