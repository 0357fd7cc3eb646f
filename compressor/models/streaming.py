"""The student as a pure function over chunks: `step(chunk, state) -> (frames, state)`, in fixed shapes.

Shapes: B batch, C frames of a chunk, hop samples of a frame, K kernel of the position convolution, N frames of left
context, H heads, D width.

A stream starts with silence that fills up its first hop, and with frames (`lead_frames` and the look-ahead) for which
there is no audio; they carry negative positions, are hidden from all others and dropped by whoever reads the frames.
So the first chunk is like every other one, and `Encoder.hidden_states(..., chunk_frames=C)` gives the same frames.

The state, a dict of tensors in this order:
    count     (B,) int64            position of the first frame that the next chunk adds
    end       (B,) int64            frames of the whole stream; NO_END until it is known
    audio     (B, receptive - hop)  the last samples
    sums      (B, 3)                of a running input norm (absent without one)
    features  (B, K - 1, D)         projected features of the last frames of the front end
    key_i, value_i  (B, H, N, head_dim)  of layer i; no keys where a layer reuses the attention of the one before it
    NAME/STATE      of the heads that the encoder carries (`answering.with_heads`)

With a time reduction, frames are those of the layers; a step takes so many frames of the front end for each.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.spec import NO_END
from speechpress.runtime.stream import State as ArrayState
from speechpress.runtime.stream import Step

from .answering import Answers, Kept, flat, heads_of, layers_of, specs_of, with_heads
from .answering import initial_state as heads_state
from .config import SAMPLE_RATE, EncoderConfig
from .encoder import Encoder
from .front_end import StaticNorm, StridedConv
from .input_norm import initial_sums, real_samples, running_blocks

State = dict[str, Tensor]
Conv = TypeVar("Conv", bound=nn.Conv1d)
HIDDEN = -1e4  # added to the scores of keys that are not there; finite, because a row may have no other


def chunk_frames_of(config: EncoderConfig, chunk_ms: float) -> int:
    """The frames of a chunk; raises SpeechpressError when it is not made of whole ones."""
    hop_ms = 1000 * config.hop_samples / SAMPLE_RATE
    frames = round(chunk_ms / hop_ms)
    # A hop need not be a whole number of milliseconds, so both sides are rounded floats.
    if frames < 1 or not math.isclose(frames * hop_ms, chunk_ms):
        raise SpeechpressError(
            f"a chunk of {chunk_ms:g} ms is not made of whole frames of {hop_ms:g} ms; "
            f"the nearest that is takes {max(1, frames) * hop_ms:g} ms"
        )
    return frames


def folded(encoder: Encoder) -> Encoder:
    """A copy for inference: the static norm and the position convolution's weight norm are part of the weights."""
    encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
    position, first = encoder.encoder.pos_conv_embed, encoder.feature_extractor.first
    # Not remove_parametrizations: copies share the class that it changes, so it would break the original.
    position.conv = _plain_conv(nn.Conv1d, position.conv, position.conv.weight, position.conv.bias)
    if isinstance(first.layer_norm, StaticNorm):
        first.conv = _plain_conv(StridedConv, first.conv, *first.layer_norm.folded(first.conv))
        first.layer_norm = None
    return encoder


def _plain_conv(kind: type[Conv], like: nn.Conv1d, weight: Tensor, bias: Tensor | None) -> Conv:
    """A convolution of a kind with these numbers as plain parameters."""
    outputs, inputs, kernel = weight.shape
    groups, biased = like.groups, bias is not None
    conv = kind(inputs * groups, outputs, kernel, stride=like.stride[0], groups=groups, bias=biased)
    conv.load_state_dict({"weight": weight.detach()} | ({} if bias is None else {"bias": bias.detach()}))
    return conv.requires_grad_(False)


class StreamingEncoder(nn.Module):
    """An encoder that runs chunk by chunk; it holds weights only.

    Its frames are those of the last layer, or of the K `layers` side by side: D is K widths then.

    Raises SpeechpressError for an encoder that cannot stream.
    """

    def __init__(self, encoder: Encoder, chunk_frames: int, layers: Sequence[int] = ()) -> None:
        super().__init__()
        if encoder.config.blockers:
            raise SpeechpressError(
                f"this encoder cannot stream: {'; '.join(encoder.config.blockers)}. "
                "Distil a streaming student from it: compress distill --recipe distilhubert-streaming"
            )
        if chunk_frames < 1:
            raise SpeechpressError(f"a chunk has {chunk_frames} frames, but must have at least 1")
        self.encoder = folded(encoder)
        self.layers = tuple(layers)
        spec = encoder.config.stream_spec(chunk_frames)
        self.spec = replace(spec, width=spec.width * max(1, len(layers)))

    @property
    def config(self) -> EncoderConfig:
        return self.encoder.config

    def initial_state(self, batch: int = 1) -> State:
        """The state of `batch` streams that have heard nothing."""
        config = self.config
        state = {
            "count": torch.full((batch,), -self.spec.lead_frames),
            "end": torch.full((batch,), NO_END),
            "audio": torch.zeros(batch, self.spec.tail_samples),
        }
        if config.input_norm == "running":
            state["sums"] = initial_sums(batch)
        if config.pos_conv_kernel > 1:  # ExecuTorch takes no tensor without elements
            state["features"] = torch.zeros(batch, config.pos_conv_kernel - 1, config.width)
        for index, heads in enumerate(config.num_heads):
            shape = (batch, heads, config.left_context or 0, config.head_dim)
            state |= {name: torch.zeros(shape) for name in self._cache_names(index)}
        return state | heads_state(self.encoder, batch)

    def _cache_names(self, index: int) -> tuple[str, ...]:
        own = (f"value_{index}",)
        return own if self.config.reuses(index) else (f"key_{index}", *own)

    def step(self, chunk: Tensor, state: State) -> tuple[Tensor, State]:
        """As `hear`, without the answers."""
        frames, _, new = self.hear(chunk, state)
        return frames, new

    def hear(self, chunk: Tensor, state: State) -> tuple[Tensor, Answers, State]:
        """One chunk (B, C x hop) -> the next frames (B, C, D), what heads answer to them, and the state after it.

        Frames come out `lookahead_frames` after their audio; those before the first and after the last are garbage,
        which heads are told.
        """
        # A copy: a step is pure, and what it does not renew (`end`) it hands through.
        config, new = self.config, dict(state)
        if "sums" in state:
            chunk, new["sums"] = self._scale(chunk, state["sums"], state["count"])
        audio = torch.cat([state["audio"], chunk], 1)
        new["audio"] = audio[:, chunk.shape[1] :]
        x = self.encoder.feature_projection(self.encoder.feature_extractor(audio))
        heard, exists, mask = self.presence(state)
        # Biases and norms make numbers of silence; before the first sample there are zeros, as a recording's padding.
        x = x * heard.to(x.dtype)  # in halves it may come in floats
        features = x
        if "features" in state:
            features = torch.cat([state["features"], x], 1)
            new["features"] = features[:, x.shape[1] :]
        context = self.encoder.encoder
        past = context.pos_conv_embed.past
        # Of frame `past` all neighbours on both sides are there by now; the later ones wait for the next chunk.
        x = context.first(features[:, past : past + x.shape[1]] + context.pos_conv_embed.inside(features))
        x, left, weights = context.reduced(x), config.left_context or 0, None
        states = [x]
        for index, layer in enumerate(context.in_order()):
            names = self._cache_names(index)
            x, cache, weights = layer(x, mask, tuple(state[name] for name in names), weights)
            states.append(x)
            new |= dict(zip(names, cache, strict=True))
        new["count"] = state["count"] + self.spec.chunk_frames
        answers: Answers = {}
        heads = heads_of(self.encoder)
        if heads is not None:
            answers, after = heads(layers_of(context, states), exists[:, left:], state)
            new |= after
        return context.outputs(states, self.layers), answers, new

    def presence(self, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Where there is audio.

        Returns:
            numbers (B, C x time_reduction, 1) that are 1 for frames of the front end with audio and 0 for others,
            booleans (B, N + C) for all frames that a frame may attend to, and what is added to their scores.
        """
        config, chunk, left = self.config, self.spec.chunk_frames, self.config.left_context or 0
        heard = self._exists(state, 0, chunk * config.time_reduction, config.time_reduction)
        # Frames come out late by the look-ahead, and the cache holds `left` older ones in front of them.
        exists = self._exists(state, -self.spec.lookahead_frames - left, left + chunk)
        return heard[..., None], exists, torch.where(exists, 0.0, HIDDEN)[:, None, None]

    def _exists(self, state: State, offset: int, frames: int, rate: int = 1) -> Tensor:
        """(B, frames): whether there is audio for the frames from `rate * count + offset` on."""
        count = state["count"][:, None]
        position = rate * count + torch.arange(offset, offset + frames, device=count.device)
        return (position >= 0) & (position < rate * state["end"][:, None])

    def _scale(self, chunk: Tensor, sums: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        blocks = chunk.unflatten(1, (self.spec.chunk_frames, self.spec.hop_samples))
        real = real_samples(count + self.spec.lead_frames, self.spec.chunk_frames, self.spec)
        blocks, sums = running_blocks(blocks, real, sums)
        return blocks.flatten(1), sums

    def forward(self, chunk: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """`hear` with flat answers and a flat state, in the order of `initial_state`: what torch.export takes."""
        frames, answers, new = self.hear(chunk, dict(zip(self.state_names, state, strict=True)))
        return (frames, *flat(answers), *(new[name] for name in self.state_names))

    @property
    def state_names(self) -> tuple[str, ...]:
        return tuple(self.initial_state())


class TorchEngine:
    """Runs a StreamingEncoder for `speechpress.runtime.stream`: arrays in, arrays out, nothing kept.

    Raises SpeechpressError for an encoder that cannot stream, or heads that do not fit it.
    """

    def __init__(
        self,
        encoder: Encoder,
        chunk_frames: int,
        layers: Sequence[int] = (),
        heads: Mapping[str, Kept] | None = None,
    ) -> None:
        self.model = StreamingEncoder(with_heads(encoder, heads or {}), chunk_frames, layers)
        self.spec, self.heads = self.model.spec, specs_of(self.model.encoder)

    def initial_state(self) -> ArrayState:
        return {name: tensor.numpy() for name, tensor in self.model.initial_state().items()}

    @torch.inference_mode()
    def step(self, chunk: np.ndarray, state: ArrayState) -> Step:
        """See `runtime.stream.Engine`."""
        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
        frames, answers, new = self.model.hear(torch.from_numpy(chunk), tensors)
        # What a step hands through would be wrapped once more by every step, and each wrapper keeps the one before.
        same = {name: state[name] for name in new if new[name] is tensors[name]}
        said = {name: {key: x.numpy() for key, x in outputs.items()} for name, outputs in answers.items()}
        return Step(frames.numpy(), {name: tensor.numpy() for name, tensor in new.items()} | same, said)
