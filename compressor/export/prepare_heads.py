"""Heads rewritten for a compiler, see `prepare`: the sums of layers in few operations, which several heads share.

Shapes: T frames, D width, L layers, C channels, K kernel.

Every layer that some head listens to is normalised once for all of them; the scale, the shift and the weight of a layer
in a head's sum are one factor per dimension and one sum of shifts. Products keep the names that they have in a head.
"""

from collections.abc import ItemsView, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..heads.module import EPS, LayerSum
from ..models.answering import Heads
from ..models.norms import RmsNorm

NORM = "_norm"  # no head can be called so
INNER = "flat"  # of a rewritten convolution, under the name of the one that it takes the place of


def prepared_heads(heads: Heads, own_norms: bool = False) -> "PreparedHeads":
    """The same heads from operations that a backend runs fast; changes them. `own_norms`: LayerNorms are such."""
    for name, part in [(path, part) for path, part in heads.named_modules() if path]:
        parent, _, own = name.rpartition(".")
        new = _rewritten(part, own_norms)
        if new is not None:
            heads.get_submodule(parent).register_module(own, new)
    return PreparedHeads(heads, own_norms)


def _rewritten(part: nn.Module, own_norms: bool) -> nn.Module | None:
    """What takes a part's place; None where it stays."""
    if isinstance(part, LayerSum):
        return FoldedSum(part)
    if isinstance(part, nn.LayerNorm) and len(part.normalized_shape) == 1:
        return None if own_norms else FrameNorm(part)
    # Those that pad in another way are seen to by the compiler itself.
    if isinstance(part, nn.Conv1d) and part.padding_mode == "zeros" and not isinstance(part.padding, str):
        return FlatConv(part)
    return None


def products(heads: nn.Module) -> list[nn.Module]:
    """Convolutions and linear layers of heads, but not those that a norm is made of, which are no modules."""
    return [part for part in heads.modules() if isinstance(part, nn.Linear | nn.Conv1d | nn.Conv2d)]


class PreparedHeads(Heads):
    """Heads that take a list of normalised layers (1, T, D) each, and what makes it."""

    def __init__(self, heads: Heads, own_norms: bool = False) -> None:
        super().__init__(dict(heads.items()), heads.specs)
        sums = [part for part in heads.modules() if isinstance(part, FoldedSum)]
        self.heard = sorted({layer for part in sums for layer in part.places})
        width = len(sums[0].get_buffer("shift"))
        plain = nn.LayerNorm(width, EPS, elementwise_affine=False) if own_norms else PlainFrameNorm(width)
        self.add_module(NORM, plain)

    def items(self) -> ItemsView[str, nn.Module]:
        """The heads, and not the norm beside them."""
        return {name: part for name, part in super().items() if name != NORM}.items()

    def stack(self, states: Sequence[Tensor]) -> list[Tensor | None]:
        """Of each layer, those that no head listens to left out."""
        norm = self.get_submodule(NORM)
        return [norm(x.float()) if layer in self.heard else None for layer, x in enumerate(states)]


class FoldedSum(nn.Module):
    """`LayerSum` of layers that are normalised already: (1, T, D) each -> (1, T, D)."""

    def __init__(self, of: LayerSum) -> None:
        super().__init__()
        weights = of.weights.detach()[:, None]
        # A layer of weight 0 costs nothing: a head that listens to one layer has such weights.
        self.places = tuple(weights[:, 0].nonzero()[:, 0].tolist())
        # One by one: to take a row out of a table is a call outside of the backend.
        for place in self.places:
            self.register_buffer(f"scale_{place}", of.scale[place] * weights[place])
        self.register_buffer("shift", (of.shift * weights).sum(0))

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        y = self.get_buffer("shift")
        for place in self.places:
            y = y + layers[place] * self.get_buffer(f"scale_{place}")
        return y


def two_dimensional(conv: nn.Conv1d) -> nn.Conv2d:
    """A convolution over time (B, C_in, T) as one over (B, C_in, T, 1)."""
    outputs, inputs, kernel = conv.weight.shape
    flat = nn.Conv2d(
        inputs * conv.groups,
        outputs,
        (kernel, 1),
        stride=(conv.stride[0], 1),
        padding=(int(conv.padding[0]), 0),
        dilation=(conv.dilation[0], 1),
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    flat.weight.data.copy_(conv.weight[..., None])
    if conv.bias is not None and flat.bias is not None:
        flat.bias.data.copy_(conv.bias)
    return flat


class FlatConv(nn.Module):
    """A convolution over time as a two-dimensional one: (1, C_in, T) -> (1, C_out, T')."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.flat = two_dimensional(conv)

    def forward(self, x: Tensor) -> Tensor:
        y = x.unsqueeze(-1)
        # Out of a concatenation, because of what `prepare.FlatPositionConv` says of XNNPACK's change of layout.
        y = torch.cat([y[:, :, :1], y[:, :, 1:]], 2) if y.shape[2] > 1 else y
        return self.flat(y).squeeze(-1)


class FrameNorm(nn.Module):
    """LayerNorm over the width, whose means are products: (..., D) -> the same.

    In a chunk of int8 products, the calls out of the backend for LayerNorm would cost more than the norm.
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        width = norm.weight.numel()
        self.weight, self.bias = norm.weight, norm.bias
        self.register_buffer("mean", torch.full((1, width), 1 / width), persistent=False)
        # A tensor, so that it can be the bias of the product of squares.
        self.register_buffer("eps", torch.full((1,), norm.eps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        mean, x = self.get_buffer("mean"), x.contiguous()
        x = x - F.linear(x, mean)
        return x * F.linear(x * x, mean, self.get_buffer("eps")).rsqrt() * self.weight + self.bias


class FrameRms(nn.Module):
    """RmsNorm over the width, whose mean is a product: (..., D) -> the same."""

    def __init__(self, norm: RmsNorm) -> None:
        super().__init__()
        width = norm.weight.numel()
        self.weight = norm.weight
        self.register_buffer("mean", torch.full((1, width), 1 / width), persistent=False)
        self.register_buffer("eps", torch.full((1,), norm.eps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous()
        return x * F.linear(x * x, self.get_buffer("mean"), self.get_buffer("eps")).rsqrt() * self.weight


class PlainFrameNorm(nn.Module):
    """FrameNorm without weights, as a sum of layers has it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, width), 1 / width), persistent=False)
        self.register_buffer("eps", torch.full((1,), EPS), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        mean, x = self.get_buffer("mean"), x.contiguous()
        x = x - F.linear(x, mean)
        return x * F.linear(x * x, mean, self.get_buffer("eps")).rsqrt()
