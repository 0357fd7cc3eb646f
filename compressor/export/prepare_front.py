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
        x = cut_frames(waves, self.size, self.hop)
        for layer in self.conv_layers:
            x = layer(x)
        return x


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
        x = F.linear(cut_frames(waves, MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES), part("waves"))
        x = F.linear(x * x, part("filters"), part("floor")).log() * part("scale") - part("shift")
        x = x.transpose(1, 2).unsqueeze(-1)
        # For the convolution after it, see `prepare.FlatPositionConv`.
        return torch.cat([x[:, :, :1], x[:, :, 1:]], 2)


def cut_frames(waves: Tensor, size: int, hop: int) -> Tensor:
    """(1, S) -> (1, T, size), frames of so many samples from rows of one hop each."""
    frames = (waves.shape[1] - size) // hop + 1
    whole, rest = divmod(size, hop)
    rows = [waves[:, start : start + frames * hop].view(1, frames, hop) for start in range(0, whole * hop, hop)]
    if rest:
        # The end of the row that ends with the frame: one that began with these samples might not be there whole.
        end = waves[:, size - hop : size - hop + frames * hop].view(1, frames, hop)
        rows.append(end[:, :, hop - rest :])
    return torch.cat(rows, 2) if len(rows) > 1 else rows[0]
