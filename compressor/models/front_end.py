"""The front end of an encoder: strided convolutions over the waveform, and the projection to the encoder's width.

Shapes: B batch, S samples, T frames, C channels, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import EncoderConfig


class StridedConv(nn.Conv1d):
    """`nn.Conv1d` without padding that trains faster on a CPU; without autocast it is the very same in inference.

    Under autocast a waveform is heard in float32 all the same: in 8 bits of bfloat16, what lies 50 dB below the voice
    is noise, and a student learns to listen to that.

    oneDNN's convolutions are faster where the channels of a frame lie side by side, in bfloat16 above all, and one with
    a single input channel is faster as a product of matrices (benchmarks/cpu_precision.py). Frames then stay in that
    order up to the next convolution: norms and GELU keep it.
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.applied(x, self.weight, self.bias)

    def applied(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """This convolution with another weight (C, C_in, kernel) and bias (C,): (B, C_in, S) -> (B, C, T)."""
        device = x.device.type
        if x.shape[1] == 1 and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                y = self.applied(x.float(), weight.float(), None if bias is None else bias.float())
            return y.to(torch.get_autocast_dtype(device))
        if not self.training or device != "cpu":
            return F.conv1d(x, weight, bias, self.stride)
        if x.shape[1] == 1:
            return F.linear(x[:, 0].unfold(1, weight.shape[2], self.stride[0]), weight[:, 0], bias).transpose(1, 2)
        return F.conv2d(x.unsqueeze(2), weight.unsqueeze(2), bias, stride=(1, self.stride[0])).squeeze(2)


class StaticNorm(nn.Module):
    """Each channel scaled by fixed statistics, then by a learned weight and bias.

    What a GroupNorm over time becomes when there is no future to look at. The statistics are measured once before
    training (`measure`); from then on this is an affine map, which the convolution before it takes in (`folded`).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def folded(self, conv: nn.Conv1d) -> tuple[Tensor, Tensor]:
        """Weight (C, C_in, kernel) and bias (C,) of a convolution that does what `conv` and this norm do."""
        scale = self.weight * (self.get_buffer("variance") + self.eps).rsqrt()
        mean = self.get_buffer("mean") if conv.bias is None else self.get_buffer("mean") - conv.bias
        return conv.weight * scale[:, None, None], self.bias - mean * scale

    @torch.no_grad()
    def measure(self, x: Tensor) -> None:
        """Take over the statistics of x (B, C, T)."""
        # correction=0: GroupNorm, whose place this takes, divides by n as well.
        variance, mean = torch.var_mean(x.float(), dim=(0, 2), correction=0)
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("variance").copy_(variance)


class ConvLayer(nn.Module):
    """One strided convolution of the front end, its norm and GELU: (B, C_in, S) -> (B, C_out, S')."""

    def __init__(self, config: EncoderConfig, index: int) -> None:
        super().__init__()
        channels = config.conv_channels[index]
        inputs = config.conv_channels[index - 1] if index else 1
        kernel, stride = config.conv_kernels[index], config.conv_strides[index]
        self.conv = StridedConv(inputs, channels, kernel, stride=stride, bias=config.conv_bias)
        if config.conv_norm == "group" and index == 0:
            self.layer_norm: nn.Module | None = nn.GroupNorm(channels, channels)
        elif config.conv_norm == "static" and index == 0:
            self.layer_norm = StaticNorm(channels)
        elif config.conv_norm == "layer" or (config.conv_norm == "frame" and index == 0):
            self.layer_norm = nn.LayerNorm(channels)
        else:
            self.layer_norm = None

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layer_norm, StaticNorm):
            # Folded in training too, so that the student learns with the very numbers that are exported.
            return F.gelu(self.conv.applied(x, *self.layer_norm.folded(self.conv)))
        x = self.conv(x)
        if isinstance(self.layer_norm, nn.LayerNorm):
            x = self.layer_norm(x.transpose(-2, -1)).transpose(-2, -1)
        elif self.layer_norm is not None:
            x = self.layer_norm(x)
        return F.gelu(x)


class FeatureExtractor(nn.Module):
    """The convolutions over the waveform: (B, S) -> (B, T, C)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(ConvLayer(config, i) for i in range(len(config.conv_channels)))

    @property
    def first(self) -> ConvLayer:
        layer = self.conv_layers[0]
        assert isinstance(layer, ConvLayer)
        return layer

    def forward(self, waves: Tensor) -> Tensor:
        x = waves[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)


class FeatureProjection(nn.Module):
    """(B, T, C) -> (B, T, D)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        channels = config.conv_channels[-1]
        self.layer_norm = nn.LayerNorm(channels, eps=config.layer_norm_eps) if config.projection_norm else None
        self.projection = nn.Linear(channels, config.width) if config.projection else None

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.layer_norm is None else self.layer_norm(x)
        return x if self.projection is None else self.projection(x)
