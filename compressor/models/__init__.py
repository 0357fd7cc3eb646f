"""What an encoder is: its config of plain numbers, the network, the streaming step, its cost, and its files.

In: numbers, or a checkpoint folder. Out: an `Encoder`, a `Checkpoint`, and figures such as parameters and MACs.
Start with config.py and encoder.py; streaming.py is the same network as a step over chunks.
"""
