"""ABX, the ZeroSpeech test of phone discrimination: are two tokens of a phone nearer to each other than to another one?

In: whatever `compress eval` compares, an item file and its recordings. Out: error rates by layer and chunk size.
Start with evaluate.py, then cells.py (which tokens stand against which) and score.py (errors, their mean, intervals);
voices.py is the small one that needs nothing but the starter, quick.py what `compress eval` measures without a suite.
"""
