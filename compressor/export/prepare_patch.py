"""A front end of patches rewritten for a compiler, see `prepare`: matrix products, and no change of layout.

Of chunks, whose length is fixed; whole recordings go through the convolutions that the patches are in training.

Shapes: S samples, T frames, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.front_end import ConvLayer, FeatureExtractor
from .prepare_heads import FrameNorm


class PatchFrontEnd(nn.Module):
    """The network over patches of the waveform: (1, S) -> (1, T, C)."""

    def __init__(self, front: FeatureExtractor) -> None:
        super().__init__()
        (self.size,), (self.hop,) = front.first.conv.kernel_size, front.first.conv.stride
        self.conv_layers = nn.ModuleList(map(PatchLayer, front.conv_layers))

    def forward(self, waves: Tensor) -> Tensor:
        x = self._patches(waves)
        for layer in self.conv_layers:
            x = layer(x)
        return x

    def _patches(self, waves: Tensor) -> Tensor:
        """(1, S) -> (1, T, samples of a patch)."""
        samples, size, hop = waves.shape[1], self.size, self.hop
        before, frames = size - hop, (samples - size) // hop + 1
        own = waves[:, before : before + frames * hop].view(1, frames, hop)
        if not before:
            return own
        return torch.cat([waves[:, : frames * hop].view(1, frames, hop)[:, :, :before], own], 2)


class PatchLayer(nn.Module):
    """One layer as a product over the patch or over the channels, its norm and GELU: (1, T, C_in) -> (1, T, C_out)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        assert isinstance(layer, ConvLayer)
        weight, bias = layer.conv.weight.detach(), layer.conv.bias
        self.conv = nn.Linear(weight[0].numel(), len(weight), bias=bias is not None)
        self.conv.weight.data.copy_(weight.flatten(1))
        if bias is not None:
            self.conv.bias.data.copy_(bias)
        self.norm = FrameNorm(layer.layer_norm) if isinstance(layer.layer_norm, nn.LayerNorm) else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.gelu(x if self.norm is None else self.norm(x))
