"""Checkpoints and bundles on the Hugging Face Hub, for other people to use.

In: a run's or bundle's folder, and USER/NAME. Out: a repository with a model card and the hash of every file.
Start with push.py; the way back is `speechpress.runtime.hub`, and `teachers.hub_folder` for foreign models.
"""
