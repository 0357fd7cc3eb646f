"""The front end of an encoder: strided convolutions over the waveform or over a log-mel spectrogram of it, and the
projection to the encoder's width.

Shapes: B batch, S samples, T frames, C channels, D width, M mel bins, F frequencies.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import MEL_HOP_SAMPLES, MEL_WINDOW_SAMPLES, SAMPLE_RATE, EncoderConfig

EPS = 1e-5
QUIETEST = 1e-7  # added to a mel bin's power, so that silence has a logarithm


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
        keep_statistics(self, x)


def keep_statistics(module: nn.Module, x: Tensor) -> None:
    """Write those of x (B, C, T) to a module's buffers `mean` and `variance`, (C,) each."""
    # correction=0: GroupNorm, whose place a static norm takes, divides by n as well.
    variance, mean = torch.var_mean(x.float(), dim=(0, 2), correction=0)
    module.get_buffer("mean").copy_(mean)
    module.get_buffer("variance").copy_(variance)


class LogMel(nn.Module):
    """A log-mel spectrogram, each bin scaled by fixed statistics: (B, S) -> (B, M, T).

    Frame t is that of the samples [160 t, 160 t + 400), so that a stream makes the same frames as a recording. Window
    and filters are Whisper's (a Hann window, Slaney's mel scale). Nothing is learned; mean and variance are measured on
    speech before training (`measure`).
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        # Not in checkpoints: they follow from the number of bins.
        self.register_buffer("waves", windowed_waves(), persistent=False)
        self.register_buffer("filters", mel_filters(bins).repeat(1, 2), persistent=False)
        self.register_buffer("mean", torch.zeros(bins))
        self.register_buffer("variance", torch.ones(bins))

    def forward(self, waves: Tensor) -> Tensor:
        # In float32 always: powers of a spectrum do not fit half precision.
        with torch.autocast(waves.device.type, enabled=False):
            shift, scale = self.scaling()
            return (self.logarithms(waves.float()) - shift[:, None]) * scale[:, None]

    def logarithms(self, waves: Tensor) -> Tensor:
        frames = waves.unfold(1, MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES)
        power = F.linear(frames, self.get_buffer("waves")).square()
        return (F.linear(power, self.get_buffer("filters")) + QUIETEST).log().transpose(1, 2)

    def scaling(self) -> tuple[Tensor, Tensor]:
        """What is taken off each bin, and what it is multiplied by then; (M,) each."""
        return self.get_buffer("mean"), (self.get_buffer("variance") + EPS).rsqrt()

    @torch.no_grad()
    def measure(self, waves: Tensor) -> None:
        """Take over the statistics of speech (B, S)."""
        keep_statistics(self, self.logarithms(waves))


def windowed_waves() -> Tensor:
    """Cosines and sines of a Fourier transform in a Hann window, (2 F, window)."""
    sample = torch.arange(MEL_WINDOW_SAMPLES, dtype=torch.float64)
    turns = torch.arange(MEL_WINDOW_SAMPLES // 2 + 1)[:, None] * sample / MEL_WINDOW_SAMPLES
    angle = 2 * math.pi * turns
    return (torch.cat([angle.cos(), angle.sin()]) * torch.hann_window(MEL_WINDOW_SAMPLES, dtype=torch.float64)).float()


def mel_filters(bins: int) -> Tensor:
    """Triangles over frequencies, of equal area and evenly apart on Slaney's mel scale: (M, F).

    The scale is that of Slaney's Auditory Toolbox (1998): linear to 1 kHz, 15 mel there, then logarithmic, 27 mel for
    a factor of 6.4.
    """
    nyquist_mel = 15 + 27 * math.log(SAMPLE_RATE / 2 / 1000) / math.log(6.4)
    mel = torch.linspace(0, nyquist_mel, bins + 2, dtype=torch.float64)
    edges = torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * math.log(6.4) / 27))
    frequency = torch.linspace(0, SAMPLE_RATE / 2, MEL_WINDOW_SAMPLES // 2 + 1, dtype=torch.float64)
    low, middle, high = (edges[start : start + bins, None] for start in range(3))
    rising, falling = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
    return (torch.minimum(rising, falling).clamp(min=0) * 2 / (high - low)).float()


class ConvLayer(nn.Module):
    """One strided convolution of the front end, its norm and GELU: (B, C_in, S) -> (B, C_out, S')."""

    def __init__(self, config: EncoderConfig, index: int) -> None:
        super().__init__()
        channels = config.conv_channels[index]
        inputs = config.conv_channels[index - 1] if index else config.front_inputs
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
    """The convolutions over the waveform or its spectrogram: (B, S) -> (B, T, C)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.log_mel = LogMel(config.mel_bins) if config.front_end == "mel" else None
        self.conv_layers = nn.ModuleList(ConvLayer(config, i) for i in range(len(config.conv_channels)))

    @property
    def first(self) -> ConvLayer:
        layer = self.conv_layers[0]
        assert isinstance(layer, ConvLayer)
        return layer

    def forward(self, waves: Tensor) -> Tensor:
        x = self.heard(waves)
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)

    def heard(self, waves: Tensor) -> Tensor:
        """What the first convolution takes: (B, S) -> (B, 1 or M, S or T)."""
        return waves[:, None] if self.log_mel is None else self.log_mel(waves)


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
