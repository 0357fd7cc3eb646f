"""Heads that an encoder carries: what they hear of it, and what they answer, chunk by chunk or of a whole recording.

Shapes: B streams, T frames, L layers (0 included), D width, W columns of an output.

An encoder that carries heads (`with_heads`) has them as its part `heads`. Whatever looks at the parts of an encoder
then finds those of its heads as well, such as calibration, the simulation of 8 bits, and the export.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.errors import SpeechpressError

from .config import EncoderConfig
from .encoder import Encoder, TransformerEncoder

State = dict[str, Tensor]
Answers = dict[str, dict[str, Tensor]]  # by head, and by output of its kind


class Kept(Protocol):
    """A head that can be carried, see `heads.files.KeptHead`."""

    @property
    def module(self) -> nn.Module: ...

    def spec(self, config: EncoderConfig) -> HeadSpec: ...


class Heads(nn.ModuleDict):
    """Heads by name, in the order of their outputs, and what each is. Their state has the names NAME/STATE."""

    def __init__(self, heads: Mapping[str, nn.Module], specs: Mapping[str, HeadSpec]) -> None:
        super().__init__(heads)
        self.specs = dict(specs)

    def stack(self, states: Sequence[Tensor]) -> Any:
        """What a head takes: (B, T, D) of each layer -> (B, T, L, D)."""
        return torch.stack(list(states), 2)

    def initial_state(self, batch: int = 1) -> State:
        """Of `batch` streams that have heard nothing."""
        found = ((name, part.initial_state(batch)) for name, part in self.items())
        return {f"{name}/{key}": tensor for name, state in found for key, tensor in state.items()}

    def forward(self, states: Sequence[Tensor], exists: Tensor, state: Mapping[str, Tensor]) -> tuple[Answers, State]:
        """Layers as `layers_of` gives them, whether there is audio (B, T), and the state -> answers, next state."""
        layers = self.stack(states)
        answers: Answers = {}
        new: State = {}
        for name, head in self.items():
            own = {key.removeprefix(f"{name}/"): value for key, value in state.items() if key.startswith(f"{name}/")}
            outputs, after = head(layers, exists, own)
            answers[name] = dict(zip(self.specs[name].outputs, outputs, strict=True))
            new |= {f"{name}/{key}": after[key] for key in own}
        return answers, new


def with_heads(encoder: Encoder, heads: Mapping[str, Kept]) -> Encoder:
    """A copy of an encoder that carries copies of these heads, for inference; with none, the encoder itself.

    Raises SpeechpressError for a head that was trained on an encoder of another shape, or whose name cannot be had.
    """
    if not heads:
        return encoder
    for name, head in heads.items():
        _check(name, head.module, encoder.config)
    modules = {name: copy.deepcopy(head.module).eval().requires_grad_(False) for name, head in heads.items()}
    encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
    encoder.add_module("heads", Heads(modules, {name: head.spec(encoder.config) for name, head in heads.items()}))
    return encoder


def _check(name: str, head: nn.Module, config: EncoderConfig) -> None:
    layers = config.num_layers + 1
    if (head.layers, head.width) != (layers, config.width):
        raise SpeechpressError(
            f"the head {name!r} hears {head.layers} layers of width {head.width}, but this encoder has {layers} of "
            f"width {config.width}: it was trained on another student. Train one on this: compress head"
        )
    if hasattr(nn.ModuleDict, name):
        raise SpeechpressError(f"a head cannot be called {name!r}, which PyTorch calls something else; rename its file")


def heads_of(encoder: Encoder) -> Heads | None:
    """The heads that an encoder carries, if any."""
    return getattr(encoder, "heads", None)


def specs_of(encoder: Encoder) -> tuple[HeadSpec, ...]:
    """What the heads of an encoder are, in order."""
    heads = heads_of(encoder)
    return () if heads is None else tuple(heads.specs.values())


def initial_state(encoder: Encoder, batch: int = 1) -> State:
    """The state of its heads."""
    heads = heads_of(encoder)
    return {} if heads is None else heads.initial_state(batch)


def layers_of(context: TransformerEncoder, states: Sequence[Tensor]) -> list[Tensor]:
    """What heads hear: all layers, the last one as it is deployed."""
    return [*states[:-1], context.last(states[-1])]


def hear(
    encoder: Encoder, waves: Tensor, chunk_frames: int | None = None, layers: Sequence[int] = ()
) -> tuple[Tensor, Answers]:
    """Frames (B, T, K x D) of whole recordings (B, S), as `Encoder.forward` gives them, and what its heads answer."""
    states, heads = encoder.hidden_states(waves, chunk_frames=chunk_frames), heads_of(encoder)
    frames = encoder.encoder.outputs(states, layers)
    if heads is None:
        return frames, {}
    exists = torch.ones(frames.shape[:2], dtype=torch.bool, device=frames.device)
    return frames, heads(layers_of(encoder.encoder, states), exists, heads.initial_state(len(waves)))[0]


def flat(answers: Answers) -> list[Tensor]:
    """In the order of a program's outputs."""
    return [tensor for outputs in answers.values() for tensor in outputs.values()]
