"""Tiny heads of every kind with shaken weights, and layers for them to hear."""

import torch

from speechpress.compressor.heads.kinds import KINDS
from speechpress.compressor.heads.module import Head

LAYERS, WIDTH = 3, 12
ARGUMENTS = {
    "classify": [{"classes": 4}],
    "ctc": [{"tokens": 5, "kernel": 1, "hidden": 0}, {"tokens": 5, "kernel": 4, "hidden": 6}],
    "units": [{"units": 7, "layer": 1}],
    "speaker": [{"hidden": 8, "embedding": 6}],
    "vad": [{"hidden": 6, "kernel": 5}],
    "segment": [{"hidden": 6, "kernel": 3, "depth": 3}],
    "words": [{"embedding": 6, "hidden": 8, "kernel": 3}],
}
LABELS = {"classify": ("a", "b", "c", "d"), "ctc": ("", "p", "t", "k", "s")}


def tiny_head(kind: str, variant: int = 0, seed: int = 0, layers: int = LAYERS, width: int = WIDTH) -> Head:
    """A head whose every number is random, the scale of its layers as well."""
    torch.manual_seed(seed)
    head = KINDS[kind].make(layers, width, **ARGUMENTS[kind][variant])
    with torch.no_grad():
        for name, value in head.state_dict().items():
            if name == "sum.scale":
                value.copy_(torch.rand_like(value) + 0.5)
            elif not (kind == "units" and name == "sum.logits"):
                value.add_(torch.randn_like(value) * 0.3)
    return head.eval()


def heard(frames: int, batch: int = 1, seed: int = 1, layers: int = LAYERS, width: int = WIDTH) -> torch.Tensor:
    """Layers (B, T, L, D)."""
    return torch.randn(batch, frames, layers, width, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def whole(head: Head, layers: torch.Tensor, exists: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
    """A whole recording as one chunk."""
    exists = torch.ones(layers.shape[:2], dtype=torch.bool) if exists is None else exists
    return head(layers, exists, head.initial_state(len(layers)))[0]
