"""One answer for a clip, or for the last seconds of a stream: keywords, intents, speakers, emotions, languages.

Shapes: B streams, T frames, D width, C classes.

SUPERB's form is the mean of the summed layers over time and one linear layer. Both are linear, so a clip's logits are
the mean of those of its frames, and a stream's are a sliding mean, whose window is `decoder["window_s"]`.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .module import Head, State


class Classify(Head):
    """Logits (B, T, C) of each frame."""

    def __init__(self, layers: int, width: int, classes: int) -> None:
        super().__init__(layers, width)
        self.classes = classes
        self.classify = nn.Linear(width, classes)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.classes,)

    def answer(self, x: Tensor, exists: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        return (self.classify(x),), state


def clip_logits(logits: Tensor, exists: Tensor) -> Tensor:
    """(B, T, C) -> (B, C), the mean over the frames that exist."""
    there = exists[..., None]
    return (logits * there).sum(1) / there.sum(1).clamp_min(1)


def classify_loss(outputs: tuple[Tensor, ...], exists: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of the clips' logits; `classes` (B,) are numbers."""
    return F.cross_entropy(clip_logits(outputs[0], exists), classes)
