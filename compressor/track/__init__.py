"""Trackers of experiments: the scalars of a run, as metrics.jsonl has them, where a person is used to look at them.

In: the events of a run. Out: files of TensorBoard, Weights & Biases or Trackio. Offline unless its user sets it up
otherwise, and never any audio.
Start with tracker.py; what each library is called with stands in writers.py.
"""
