"""Heads on a frozen or fine-tuned student: what is trained, how well it answers, and how it is kept.

In: a checkpoint and labelled speech. Out: the checkpoint with heads/NAME.safetensors. Start with module.py.
"""
