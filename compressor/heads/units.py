"""Discrete units: which of K centres the frame of one layer is nearest to.

Shapes: B streams, T frames, D width, K units.

The centres are those of k-means on normalised and standardised frames, which is why the sum of layers is one layer here
and nothing of this head is learned by gradients.
"""

import torch
from torch import Tensor, nn

from .module import Head, State

OUT = -1e4  # what the logit of a layer that is not heard is; exp of it is exactly 0 in float32


class Units(Head):
    """Squared distances (B, T, K) to each centre, and the number of the nearest one (B, T, 1) int64."""

    squares: Tensor

    def __init__(self, layers: int, width: int, units: int, layer: int) -> None:
        super().__init__(layers, width)
        self.units, self.layer = units, layer
        # |x - c|^2 = |x|^2 - 2 x c + |c|^2: a product, which every backend has, instead of K differences.
        self.centres = nn.Linear(width, units)
        self.requires_grad_(False)
        self.sum.logits.fill_(OUT)
        self.sum.logits[layer] = 0.0

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.units, 1)

    @torch.no_grad()
    def set_centres(self, centres: Tensor) -> None:
        """Take over the centres (K, D) of k-means."""
        self.centres.weight.copy_(-2 * centres)
        self.centres.bias.copy_(centres.square().sum(-1))

    def answer(self, x: Tensor, exists: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        distances = self.centres(x) + (x * x).sum(-1, keepdim=True)
        return (distances, distances.argmin(-1, keepdim=True)), state
