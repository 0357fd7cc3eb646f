"""From the outputs of a head, chunk by chunk, to what an app wants to know: events with a label and a time.

In: arrays that a bundle's program gives beside its frames. Out: `event.Event`. Start with decode.py.
"""
