"""Front ends of patches and of a log-mel spectrogram rewritten for a compiler, see `prepare`: matrix products.

Of chunks, whose length is fixed; whole recordings go through convolutions, because torch.export cannot cut frames from
what may have any length.

Shapes: S samples, T frames, C channels, F frequencies, M mel bins.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.config import MEL_HOP_SAMPLES, MEL_WINDOW_SAMPLES
from ..models.front_end import QUIETEST, ConvLayer, FeatureExtractor, LogMel
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


class WrittenMel(nn.Module):
    """`front_end.LogMel` of one recording or chunk: (1, S) -> (1, M, T, 1).

    Two products, a logarithm and its scaling; `whole`: for recordings of any length, the products are convolutions.
    """

    def __init__(self, mel: LogMel, whole: bool = False) -> None:
        super().__init__()
        self.whole = whole
        waves, filters = mel.get_buffer("waves"), mel.get_buffer("filters")
        shift, scale = mel.scaling()
        self.register_buffer("waves", waves[:, None, :, None] if whole else waves)
        self.register_buffer("filters", filters[:, :, None, None] if whole else filters)
        # As a bias, because a number in a sum is made anew in every call, outside of the backend.
        self.register_buffer("floor", torch.full((len(filters),), QUIETEST))
        self.register_buffer("scale", self._like_frames(scale))
        self.register_buffer("shift", self._like_frames(shift * scale))

    def _like_frames(self, bins: Tensor) -> Tensor:
        return bins[None, :, None, None] if self.whole else bins.clone()

    def forward(self, waves: Tensor) -> Tensor:
        part = self.get_buffer
        if self.whole:
            x = F.conv2d(waves.view(1, 1, -1, 1), part("waves"), stride=(MEL_HOP_SAMPLES, 1))
            x = F.conv2d(x * x, part("filters"), part("floor"))
            return x.log() * part("scale") - part("shift")
        x = F.linear(cut_frames(waves), part("waves"))
        x = F.linear(x * x, part("filters"), part("floor")).log() * part("scale") - part("shift")
        x = x.transpose(1, 2).unsqueeze(-1)
        # For the convolution after it, see `prepare.FlatPositionConv`.
        return torch.cat([x[:, :, :1], x[:, :, 1:]], 2)


def cut_frames(waves: Tensor) -> Tensor:
    """(1, S) -> (1, T, window), from rows of one hop each."""
    hop, window = MEL_HOP_SAMPLES, MEL_WINDOW_SAMPLES
    frames = (waves.shape[1] - window) // hop + 1
    starts = range(0, window, hop)
    parts = [waves[:, start : start + frames * hop] for start in starts if start + hop <= window]
    rows = [part.view(1, frames, hop) for part in parts]
    rest = window % hop
    if rest:  # the last row of a frame is the first part of a hop, of which its last samples may not be there
        last = waves[:, window - hop : window - hop + frames * hop].view(1, frames, hop)
        rows.append(last[:, :, hop - rest :])
    return torch.cat(rows, 2)
