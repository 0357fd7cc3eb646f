"""Norms of a Transformer layer: LayerNorm, and two that need fewer statistics of a frame, or none.

Shapes: T frames, D width; all take (..., D) and give the same.
"""

import torch
from torch import Tensor, nn

from .config import EncoderConfig

ALPHA = 0.5  # what DyT starts from (arXiv:2503.10622, section 4)


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) times a learned weight (arXiv:1910.07467): no mean is taken off, and no bias added."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        # In floats, as autocast does with LayerNorm: squares of halves overflow at 256.
        whole = x.float()
        return (whole * (whole.square().mean(-1, keepdim=True) + self.eps).rsqrt()).to(x.dtype) * self.weight


class DyT(nn.Module):
    """tanh(alpha x) times a learned weight plus a bias, with one learned alpha (arXiv:2503.10622): no statistics."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((1,), ALPHA))
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.alpha * x) * self.weight + self.bias


def norm_of(config: EncoderConfig) -> nn.Module:
    """A norm over the width, of the config's kind."""
    if config.norm == "rms":
        return RmsNorm(config.width, config.layer_norm_eps)
    return DyT(config.width) if config.norm == "dyt" else nn.LayerNorm(config.width, eps=config.layer_norm_eps)
