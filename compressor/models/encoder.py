"""The student: one waveform encoder described by plain numbers, with the tensor names of `transformers`' HubertModel.

Shapes: B batch, S samples, T frames, L layers, D width, C channels of the front end.

Layer k is the output of Transformer layer k; layer 0 is the input of the first Transformer layer. The final LayerNorm
of a pre-norm encoder belongs to no layer.

One encoder runs in two ways: over a whole recording, where every frame attends to every other, and in chunks, where a
frame attends to its own chunk and to `left_context` frames before it. `streaming` runs the same layers step by step.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Attention, Cache, FeedForward, TransformerLayer
from .config import EncoderConfig
from .front_end import FeatureExtractor, FeatureProjection, StaticNorm
from .input_norm import normalize, running_normalize
from .norms import norm_of

__all__ = [
    "Attention",
    "Cache",
    "ConvPositionalEmbedding",
    "Encoder",
    "FeedForward",
    "TransformerEncoder",
    "TransformerLayer",
]


class ConvPositionalEmbedding(nn.Module):
    """Grouped convolution over time whose output is added to its input: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        kernel, width = config.pos_conv_kernel, config.width
        self.future = config.future_frames
        self.past = kernel - 1 - self.future
        self.conv = nn.Conv1d(width, width, kernel, groups=config.pos_conv_groups)
        nn.init.normal_(self.conv.weight, std=2 * math.sqrt(1 / (kernel * width)))
        nn.init.constant_(self.conv.get_parameter("bias"), 0)
        # HubertModel's form: dim=2 is one length per tap of the kernel, not per output channel.
        nn.utils.parametrizations.weight_norm(self.conv, name="weight", dim=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(F.pad(x, (0, 0, self.past, self.future)))

    def inside(self, x: Tensor) -> Tensor:
        """Only the frames that have all their neighbours: (B, T + past + future, D) -> (B, T, D)."""
        x = x.transpose(1, 2)
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # oneDNN's bfloat16 gets groups of 8 and 12 channels wrong on processors with AMX (torch 2.13): nothing of
            # it is right, and a student that was trained that way is of no use in float32.
            with torch.autocast("cpu", enabled=False):
                return F.gelu(self.conv(x.float())).transpose(1, 2)
        return F.gelu(self.conv(x)).transpose(1, 2)


class TimeReduction(nn.Module):
    """Each n frames become one, by a convolution of kernel and stride n: (B, n T, D) -> (B, T, D).

    FitHuBERT's (arXiv:2207.00555, "time-reduction layer"), which stands before the first Transformer layer.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.factor = config.time_reduction
        self.conv = nn.Conv1d(config.width, config.width, self.factor, stride=self.factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


class TransformerEncoder(nn.Module):
    """Position convolution, Transformer layers and their norm (`encoder.*` in HubertModel's names)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pre_norm, self.depth = config.pre_norm, config.num_layers
        self.scale_layer_grads = False
        self.pos_conv_embed = ConvPositionalEmbedding(config)
        self.layer_norm = norm_of(config)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(config, i) for i in range(config.distinct_layers or config.num_layers)
        )
        self.time_reduction = TimeReduction(config) if config.time_reduction > 1 else None

    def in_order(self) -> list[nn.Module]:
        """Layers 1..L as a signal passes them; those that share weights occur several times."""
        return [self.layers[index % len(self.layers)] for index in range(self.depth)]

    def forward(self, x: Tensor, valid: Tensor | None, mask: Tensor | None, last: int | None = None) -> list[Tensor]:
        """Hidden states of layers 0 to `last` (None: L), each (B, T, D), from projected features of the front end.

        `valid` is False on padding, one entry per frame of the front end; `mask` (T, T) is True where a frame may
        attend to another.
        """
        if self.time_reduction is not None:  # frames that do not fill up one are heard by nobody, as in a stream
            whole = x.shape[1] // self.time_reduction.factor * self.time_reduction.factor
            x, valid = x[:, :whole], None if valid is None else valid[:, :whole]
        if valid is not None:
            x = x * valid[..., None]
            if self.time_reduction is not None:
                # A reduced frame is heard only if the last of the frames that it is made of is.
                valid = valid[:, self.time_reduction.factor - 1 :: self.time_reduction.factor]
            mask = valid[:, None, None] if mask is None else valid[:, None, None] & mask
            # A frame of padding may see nothing at all. Softmax over nothing is NaN, and the layers above would take
            # 0 x NaN into valid frames; so it sees everything instead, and nobody looks at what it makes of that.
            mask = mask | ~mask.any(-1, keepdim=True)
        x = self.reduced(self.dropout(self.first(x + self.pos_conv_embed(x))))
        states, weights = [x], None
        for index, layer in enumerate(self.in_order()[:last]):
            x, _, weights = layer(x, mask, None, weights)
            state = x
            if self.scale_layer_grads and x.requires_grad:
                # `layer_grad_scale` of ARMHuBERT's published code (arXiv:2305.11685; github.com/sungnyun/ARMHuBERT,
                # `extract_features` of the encoder): the gradient from the layers above is scaled by this share, that
                # of the layer's own match by the share and by what is left of it.
                share = (self.depth - index) / (self.depth - index + 1)
                x = _ScaleGrad.apply(x, share)
                state = _ScaleGrad.apply(x, 1 - share)
            states.append(state)
        return states

    def reduced(self, x: Tensor) -> Tensor:
        """Frames of the front end at the rate of the layers."""
        return x if self.time_reduction is None else self.time_reduction(x)

    def first(self, x: Tensor) -> Tensor:
        """Layer 0 from the sum of the projected features and their position convolution."""
        return x if self.pre_norm else self.layer_norm(x)

    def outputs(self, states: Sequence[Tensor], layers: Sequence[int] = ()) -> Tensor:
        """The features that a deployed encoder yields: K of its layers side by side, (..., D) -> (..., K x D).

        None named is the last one. Layer L of a pre-norm encoder comes after the final norm.
        """
        chosen = [
            self.last(states[layer]) if layer == self.depth else states[layer] for layer in layers or [self.depth]
        ]
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen, -1)

    def last(self, x: Tensor) -> Tensor:
        """Layer L as it is deployed."""
        return self.layer_norm(x) if self.pre_norm else x


class Encoder(nn.Module):
    """Waveform in, hidden states out. Teacher-sized, distilled and pruned encoders differ only in their config."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end_grad = 1.0
        self.masked_spec_embed = nn.Parameter(torch.rand(config.width), requires_grad=False)
        self.feature_extractor = FeatureExtractor(config)
        self.feature_projection = FeatureProjection(config)
        self.encoder = TransformerEncoder(config)
        self._initialize()

    def _initialize(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv1d) and "pos_conv" not in name:
                nn.init.kaiming_normal_(module.weight)

    def hidden_states(
        self,
        waves: Tensor,
        lengths: Tensor | None = None,
        chunk_frames: int | None = None,
        masked: Tensor | None = None,
        last: int | None = None,
    ) -> list[Tensor]:
        """Hidden states of layers 0 to `last` (None: L), each (B, T, D).

        Args:
            waves: (B, S) float, 16 kHz, as the audio file has it (`input_norm` is applied here).
            lengths: (B,) valid samples of each row, or None when no row is padded.
            chunk_frames: as if the audio came in chunks of so many frames; None is the whole recording at once.
            masked: True on frames of the front end that are hidden behind the mask vector, (B, front end's frames).
            last: the highest layer that is computed.
        """
        features = self.feature_extractor(self._scaled(waves, lengths))
        if self.front_end_grad != 1.0 and features.requires_grad:
            features = _ScaleGrad.apply(features, self.front_end_grad)
        valid = None
        if lengths is not None:
            ends = self.config.frames(lengths) * self.config.time_reduction
            valid = torch.arange(features.shape[1], device=waves.device) < ends[:, None]
        mask = None
        if chunk_frames is not None:
            frames = features.shape[1] // self.config.time_reduction
            mask = chunk_mask(self.config, frames, chunk_frames, waves.device)
        features = self.feature_projection(features)
        if masked is not None:
            masked = F.pad(masked, (0, features.shape[1] - masked.shape[1]))  # a teacher may make a frame more or less
            features = torch.where(masked[..., None], self.masked_spec_embed.to(features.dtype), features)
        return self.encoder(features, valid, mask, last)

    def _scaled(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        if self.config.input_norm == "utterance":
            return normalize(waves, lengths, self.config.input_norm_eps)
        return running_normalize(waves, self.config.stream_spec(1)) if self.config.input_norm == "running" else waves

    def forward(
        self,
        waves: Tensor,
        lengths: Tensor | None = None,
        chunk_frames: int | None = None,
        layers: Sequence[int] = (),
    ) -> Tensor:
        """Features of a deployed student: (B, T, D), of the last layer, or of K (`TransformerEncoder.outputs`)."""
        return self.encoder.outputs(self.hidden_states(waves, lengths, chunk_frames), layers)

    @property
    def static_norm(self) -> StaticNorm | None:
        """The norm whose statistics must be measured before training, if there is one."""
        norm = self.feature_extractor.first.layer_norm
        return norm if isinstance(norm, StaticNorm) else None

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the statistics that must be measured on speech before training."""
        norms = {
            "log_mel": self.feature_extractor.log_mel,
            "conv_layers.0.layer_norm": self.static_norm,
        }
        parts = [name for name, norm in norms.items() if norm is not None]
        return tuple(f"feature_extractor.{part}.{kind}" for part in parts for kind in ("mean", "variance"))

    @torch.no_grad()
    def measure_statistics(self, waves: Tensor) -> None:
        """Fit the fixed statistics of the front end, if it has any, to speech (B, S)."""
        front, waves = self.feature_extractor, self._scaled(waves)
        if front.log_mel is not None:
            front.log_mel.measure(waves)
        if self.static_norm is not None:
            self.static_norm.measure(front.first.conv(front.heard(waves)))


def chunk_mask(config: EncoderConfig, frames: int, chunk_frames: int, device: torch.device | str = "cpu") -> Tensor:
    """(T, T), True where a frame (row) attends to another (column) when audio comes in chunks.

    A stream starts with `first_frame` (negative), for whose like there is no audio (see `streaming`), so that the first
    chunk holds fewer frames than the others.
    """
    position = torch.arange(frames, device=device) - config.stream_spec(chunk_frames).first_frame
    start = position // chunk_frames * chunk_frames
    earliest = start - (config.left_context or frames)
    return (position < start[:, None] + chunk_frames) & (position >= earliest[:, None])


class _ScaleGrad(torch.autograd.Function):
    """Identity forward, scaled gradient backward (fairseq's `feature_grad_mult`)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None
