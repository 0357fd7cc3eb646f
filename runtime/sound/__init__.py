"""Sound files opened by what they hold, for corpora as well as for the demo.

In: a path or bytes. Out: samples, or an error that says what is wrong with the file. Start with sound_file.py.
"""
