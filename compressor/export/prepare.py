"""An encoder rewritten for a compiler: the same numbers from operations that a backend runs fast.

Shapes: S samples, T frames, C channels or frames of a chunk, H heads, D width, N frames of left context. One recording
or one stream at a time.

What training needs and what a backend runs fast are not the same. Here weight norm and static norm are folded into the
weights, convolutions over time are two-dimensional with kernels (k, 1), which XNNPACK runs without transposing, a
GroupNorm is made of means, and attention is written out as softmax(q k^T) v, with the scale in the weights of q. Every
part keeps the interface of the one that it takes the place of, so the streaming step and the forward pass are those of
`streaming` and `encoder`, and a test holds them equal.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.answering import flat, heads_of, layers_of
from ..models.attention import Attention, Cache
from ..models.config import EncoderConfig
from ..models.encoder import ConvPositionalEmbedding, Encoder, TimeReduction
from ..models.front_end import ConvLayer, FeatureExtractor
from ..models.input_norm import initial_sums, real_samples, running_blocks
from ..models.norms import RmsNorm
from ..models.streaming import folded
from .prepare_front import PatchFrontEnd, WrittenMel
from .prepare_heads import INNER, FrameNorm, FrameRms, prepared_heads, two_dimensional


def prepared(encoder: Encoder, own_norms: bool = False, whole: bool = False) -> Encoder:
    """A copy for inference with every part rewritten; LayerNorms over frames stay for a backend with `own_norms`.

    `whole`: for recordings of any length, of which torch.export cannot cut patches.
    """
    encoder = folded(encoder)
    context = encoder.encoder
    for parent, name, norm in [] if own_norms else _layer_norms(encoder):
        swap(parent, name, FrameRms(norm) if isinstance(norm, RmsNorm) else FrameNorm(norm))
    front = encoder.feature_extractor
    patches = encoder.config.front_end == "patch" and not whole
    swap(encoder, "feature_extractor", PatchFrontEnd(front) if patches else TimeMajorFrontEnd(front, whole))
    swap(context, "pos_conv_embed", FlatPositionConv(context.pos_conv_embed))
    for layer in context.layers:
        swap(layer, "attention", WrittenAttention(layer.get_submodule("attention")))  # type: ignore[arg-type]
    if context.time_reduction is not None:
        swap(context, "time_reduction", FlatTimeReduction(context.time_reduction))
    heads = heads_of(encoder)
    if heads is not None:
        swap(encoder, "heads", prepared_heads(heads, own_norms))
    return encoder.eval().requires_grad_(False)


def query_scale(head_dim: int) -> float:
    """What the weights of queries are multiplied by, so that scores need not be scaled."""
    return 1 / math.sqrt(head_dim)


def checkpoint_name(path: str) -> str:
    """The name in the checkpoint of a convolution or linear layer that lies at `path` in a prepared encoder."""
    if path.startswith("heads."):
        return path.removesuffix(f".{INNER}")
    # A layer of the front end is a Sequential here, and its convolution comes first.
    if path.endswith(".0.conv"):
        return path.replace(".0.conv", ".conv")
    return path.replace(".conv.conv", ".conv").replace("time_reduction.linear", "time_reduction.conv")


def swap(parent: nn.Module, name: str, part: nn.Module) -> None:
    """Put `part` in the place of a submodule of another class."""
    parent.register_module(name, part)


class Offline(nn.Module):
    """A whole recording (1, S) of any length -> frames (1, T, D) of the last layer, or of K layers side by side.

    Where the encoder carries heads, their outputs come after the frames.
    """

    def __init__(self, encoder: Encoder, layers: Sequence[int] = (), own_norms: bool = False) -> None:
        super().__init__()
        self.encoder = prepared(encoder, own_norms, whole=True)
        self.config, self.layers = encoder.config, tuple(layers)

    def forward(self, waves: Tensor) -> Tensor | tuple[Tensor, ...]:
        context = self.encoder.encoder
        x = self.encoder.feature_projection(self.encoder.feature_extractor(self._scaled(waves))[0])
        if context.time_reduction is not None:
            # Not a slice: that it lies inside is more than torch.export can prove.
            whole = x.shape[0] // self.config.time_reduction * self.config.time_reduction
            x = x.index_select(0, torch.arange(whole))
        x, weights = context.reduced(context.first(x + context.pos_conv_embed(x[None])[0])), None
        states = [x]
        for layer in context.in_order():
            x, _, weights = layer(x, None, None, weights)
            states.append(x)
        frames, heads = context.outputs(states, self.layers)[None], heads_of(self.encoder)
        if heads is None:
            return frames
        exists = torch.ones_like(frames[:, :, 0], dtype=torch.bool)
        layers = [state[None] for state in layers_of(context, states)]
        return (frames, *flat(heads(layers, exists, heads.initial_state())[0]))

    def _scaled(self, waves: Tensor) -> Tensor:
        if self.config.input_norm == "utterance":
            # XNNPACK takes means over the last two of four dimensions only.
            x = waves[:, None, :, None]
            x = x - x.mean((2, 3), keepdim=True)
            return (x * (x.square().mean((2, 3), keepdim=True) + self.config.input_norm_eps).rsqrt())[:, 0, :, 0]
        return running(waves, self.config) if self.config.input_norm == "running" else waves


def running(waves: Tensor, config: EncoderConfig) -> Tensor:
    """`input_norm.running_normalize` of a recording of any length in one piece: a compiler cannot unroll its loop."""
    spec = config.stream_spec(1)
    hop, silence, samples = spec.hop_samples, spec.silence_samples, waves.shape[1]
    blocks = (silence + samples + hop - 1) // hop
    padded = F.pad(waves[0], (silence, blocks * hop - silence - samples)).view(-1, hop)
    real = real_samples(torch.zeros(1, dtype=torch.long), blocks, spec)[0]
    scaled, _ = running_blocks(padded, real, initial_sums(1)[0])
    # Not a slice: that it lies inside is more than torch.export can prove.
    return scaled.flatten().index_select(0, torch.arange(silence, silence + samples))[None]


class TimeMajorConv(nn.Module):
    """A convolution over time as a two-dimensional one: (1, C_in, T, 1) -> (1, C_out, T', 1)."""

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        self.conv = two_dimensional(conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class WrittenGroupNorm(nn.Module):
    """GroupNorm with one channel per group, over time, made of means: (1, C, T, 1) -> the same."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight = nn.Parameter(norm.weight.detach()[None, :, None, None].clone())
        self.bias = nn.Parameter(norm.bias.detach()[None, :, None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean((2, 3), keepdim=True)
        deviation = (x * x).mean((2, 3), keepdim=True) + self.eps
        return x * (deviation.rsqrt() * self.weight) + self.bias


class ChannelNorm(nn.Module):
    """LayerNorm over channels, whose means are convolutions: (1, C, T, 1) -> the same.

    XNNPACK has no LayerNorm, and outside of it the layout changes twice.
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        channels = norm.weight.numel()
        self.eps = norm.eps
        self.weight = nn.Parameter(norm.weight.detach()[None, :, None, None].clone())
        self.bias = nn.Parameter(norm.bias.detach()[None, :, None, None].clone())
        self.register_buffer("mean", torch.full((1, channels, 1, 1), 1 / channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.get_buffer("mean")
        x = x - F.conv2d(x, mean)
        deviation = F.conv2d(x * x, mean) + self.eps
        return x * deviation.rsqrt() * self.weight + self.bias


def _layer_norms(encoder: Encoder) -> list[tuple[nn.Module, str, nn.LayerNorm | RmsNorm]]:
    """Those over frames that have statistics: (parent, name, norm)."""
    parents = [encoder.feature_projection, encoder.encoder, *encoder.encoder.layers]
    named = ((parent, *child) for parent in parents for child in parent.named_children())
    return [(parent, name, norm) for parent, name, norm in named if isinstance(norm, nn.LayerNorm | RmsNorm)]


class TimeMajorFrontEnd(nn.Module):
    """The convolutions over the waveform or its spectrogram: (1, S) -> (1, T, C)."""

    def __init__(self, front: FeatureExtractor, whole: bool = False) -> None:
        super().__init__()
        self.log_mel = None if front.log_mel is None else WrittenMel(front.log_mel, whole)
        self.conv_layers = nn.ModuleList(map(_front_layer, front.conv_layers))

    def forward(self, waves: Tensor) -> Tensor:
        x = waves.view(1, 1, -1, 1) if self.log_mel is None else self.log_mel(waves)
        for layer in self.conv_layers:
            x = layer(x)
        return channels_last(x)


def _front_layer(layer: nn.Module) -> nn.Sequential:
    assert isinstance(layer, ConvLayer)
    parts: list[nn.Module] = [TimeMajorConv(layer.conv)]
    if isinstance(layer.layer_norm, nn.GroupNorm):
        parts.append(WrittenGroupNorm(layer.layer_norm))
    elif isinstance(layer.layer_norm, nn.LayerNorm):
        parts.append(ChannelNorm(layer.layer_norm))
    return nn.Sequential(*parts, nn.GELU())


class FlatPositionConv(nn.Module):
    """The position convolution, two-dimensional: (1, T, D) -> (1, T, D).

    Its input always comes out of a concatenation: where a quantised convolution's does not, XNNPACK's change of layout
    is put in front of whatever the input was made from, and fails when that has another number of dimensions.
    """

    def __init__(self, position: ConvPositionalEmbedding) -> None:
        super().__init__()
        self.past, self.future = position.past, position.future
        self.conv = TimeMajorConv(position.conv)

    def forward(self, x: Tensor) -> Tensor:
        around = self.past + self.future
        return self.inside(F.pad(x, (0, 0, self.past, self.future))) if around else self._convolved(channels_first(x))

    def inside(self, x: Tensor) -> Tensor:
        """Only the frames that have all their neighbours: (1, T + past + future, D) -> (1, T, D)."""
        y = channels_first(x)
        return self._convolved(torch.cat([y[:, :, :1], y[:, :, 1:]], 2) if y.shape[2] > 1 else y)

    def _convolved(self, x: Tensor) -> Tensor:
        return channels_last(F.gelu(self.conv(x)))


def channels_first(x: Tensor) -> Tensor:
    """(1, T, D) -> (1, D, T, 1)."""
    return x.transpose(1, 2).unsqueeze(-1)


def channels_last(x: Tensor) -> Tensor:
    """(1, C, T, 1) -> (1, T, C).

    A change of shape and not a squeeze, which XNNPACK does not take: it would end one call of the backend and start
    another. -1 for the frames, because it takes no computed sizes either.
    """
    return x.view(1, x.shape[1], -1).transpose(1, 2)


class FlatTimeReduction(nn.Module):
    """The time reduction as one product: (n T, D) or (1, n T, D) -> (T, D) or (1, T, D)."""

    def __init__(self, reduction: TimeReduction) -> None:
        super().__init__()
        outputs, inputs, self.factor = reduction.conv.weight.shape
        self.linear = nn.Linear(self.factor * inputs, outputs)
        # The rows that go in are whole frames one after the other, so taps come before channels.
        self.linear.weight.data.copy_(reduction.conv.weight.transpose(1, 2).flatten(1))
        self.linear.bias.data.copy_(reduction.conv.get_parameter("bias"))

    def forward(self, x: Tensor) -> Tensor:
        flat = self.linear(x.contiguous().view(-1, self.linear.in_features))
        return flat if x.dim() == 2 else flat.view(1, -1, self.linear.out_features)


class WrittenAttention(nn.Module):
    """Self-attention of one recording, (1, T, D) -> (1, T, D), as two products and a softmax.

    With a cache, keys and values each (1, H, N, head_dim), and the weights of the layer before it where they are
    reused, as in `attention.Attention`.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.reuses, self.kept = attention.heads, attention.reuses, attention.kept
        self.v_proj, self.out_proj = attention.v_proj, attention.out_proj
        if not self.reuses:
            self.q_proj, self.k_proj = attention.q_proj, attention.k_proj
            scale = query_scale(self.q_proj.out_features // self.heads)
            # In place, because `prepared` works on a copy.
            self.q_proj.weight.data.mul_(scale)
            self.q_proj.bias.data.mul_(scale)

    def forward(
        self, x: Tensor, mask: Tensor | None, cache: Cache | None = None, weights: Tensor | None = None
    ) -> tuple[Tensor, Cache | None, Tensor | None]:
        projections = (self.v_proj,) if self.reuses else (self.q_proj, self.k_proj, self.v_proj)
        *queries, values = (self._by_head(project(x), project.out_features) for project in projections)
        rest = [*queries[1:], values]
        if cache is not None:
            # Put together with their axis of one stream, so that what comes out as the next cache needs no copy for it.
            past, whole = cache[0].shape[2], (self.heads, cache[0].shape[2] + values.shape[1])
            rest = [torch.cat([old, new.view(1, *new.shape)], 2) for old, new in zip(cache, rest, strict=True)]
            cache = tuple(new[:, :, -past:] for new in rest)
            rest = [new.view(*whole, -1) for new in rest]
        if not self.reuses:
            scores = torch.bmm(queries[0], rest[0].transpose(1, 2))
            if mask is not None:
                scores = scores + mask
            weights = scores.softmax(-1)
        assert weights is not None
        y = torch.bmm(weights, rest[-1]).transpose(0, 1)
        # Not y[None]: to XNNPACK a change of shape is no reason to end a call, but a new axis in front is.
        y = y.contiguous().view(*(1,) * (x.dim() - 2), -1, self.out_proj.in_features)
        return self.out_proj(y), cache, weights if self.reuses or self.kept else None

    def _by_head(self, x: Tensor, inner: int) -> Tensor:
        """(1, T, inner) or (T, inner) -> (H, T, head_dim)."""
        # -1 for the frames: XNNPACK takes no computed sizes.
        return x.view(-1, self.heads, inner // self.heads).transpose(0, 1)
