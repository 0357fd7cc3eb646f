"""The live demo: microphone, page or file in; a map of features and taught words out.

In: a bundle and a source of audio. Out: the terminal's view, a web page, or a line of JSON for each chunk.
Start with worker.py; teaching.py and spotting.py find taught words over dtw.py.
"""
