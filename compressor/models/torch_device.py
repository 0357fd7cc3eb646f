"""The processors that PyTorch computes on, by the words of --device."""

import torch

from speechpress.runtime.errors import SpeechpressError

CHOICES = ("cpu", "cuda", "mps")


def check_device(name: str) -> str:
    """cpu, cuda or mps; "auto" is the fastest that is there.

    Raises SpeechpressError for any other word, and for one that is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(choice for choice in ("cuda", "mps", "cpu") if there[choice])
    if name not in CHOICES:
        gpu = next((choice for choice in ("cuda", "mps") if there[choice]), "none, for this PyTorch sees no GPU")
        # "gpu" is what people write, and PyTorch has no device of that name.
        hint = f". The GPU here is {gpu}" if name.lower() == "gpu" else ""
        raise SpeechpressError(f"--device {name}: must be one of auto, {', '.join(CHOICES)}{hint}")
    if not there[name]:
        sees = {"cuda": "no CUDA device", "mps": "no Apple GPU"}[name]
        raise SpeechpressError(f"--device {name}: this PyTorch sees {sees}; use --device cpu")
    return name
