"""What lies on the Hugging Face Hub, brought here: checkpoints and bundles that `compress push` put there.

In: USER/NAME or USER/NAME@REVISION. Out: a local folder whose files are those that were pushed.
Start with fetch.py. huggingface_hub is imported only when something has to be fetched.
"""
