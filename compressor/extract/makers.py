"""From what a model gives of a recording to what is written of it: its layers, or what its heads say.

Shapes: S samples, T frames, L layers (0 included), D width, N units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from speechpress.runtime.answers.decode import decoder_of, whole
from speechpress.runtime.answers.event import Event
from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.stream import State, Step, StreamingExtractor

from ..data.audio import UnreadableAudio, cut_place
from ..heads.files import KeptHead, head_path, read_heads
from ..models.checkpoint import sha256
from .options import ExtractOptions, parse_layers
from .plan import Item
from .source import Listener
from .writers import Result, layer_name

UNITS, DURATIONS = "units", "durations"


class Maker(Protocol):
    """What is wanted of each recording."""

    about: dict[str, Any]  # what of it decides the content of the files: for extract.json

    def hear(self, waves: Sequence[Tensor]) -> list[Any]:
        """Waves (S,) -> what `make` takes of each."""

    def make(self, item: Item, heard: Any) -> Result:
        """What is written of one recording; raises UnreadableAudio for numbers that are none."""


def maker_of(listener: Listener, source: str, options: ExtractOptions) -> Maker:
    """Raises SpeechpressError for layers or heads that are not there."""
    if options.what == "features":
        return Features(listener, parse_layers(options.layers, listener.layers, listener.name), options.dtype)
    if listener.engine is not None:
        return BundleHeads(listener, options)
    return CheckpointHeads(listener, source, options)


class Features:
    """Layers as they are, in float32 or float16."""

    def __init__(self, listener: Listener, layers: tuple[int, ...], dtype: str) -> None:
        self.listener, self.layers, self.dtype = listener, layers, dtype
        self.about = {"layers": list(layers), "dtype": dtype}

    def hear(self, waves: Sequence[Tensor]) -> list[Any]:
        return heard_layers(self.listener, waves, self.layers)

    def make(self, item: Item, heard: Any) -> Result:
        arrays = {layer_name(n): self._cast(item, n, layer) for n, layer in zip(self.layers, heard, strict=True)}
        return Result(arrays, len(heard[0]))

    def _cast(self, item: Item, number: int, layer: Tensor) -> np.ndarray:
        values = finite(item, f"layer {number}", layer)
        # Values beyond the range become infinite, which is told below.
        with np.errstate(over="ignore"):
            cast = values.astype(self.dtype)
        if not np.isfinite(cast).all():
            raise SpeechpressError(
                f"{item.name}: layer {number} has values up to {np.abs(values).max():.0f}, beyond what float16 holds; "
                "use --dtype float32"
            )
        return cast


def heard_layers(listener: Listener, waves: Sequence[Tensor], layers: Sequence[int]) -> list[list[Tensor]]:
    """Waves (S,) -> for each the wanted layers, (T, D) on the CPU, in the order of `layers`."""
    lengths = [len(wave) for wave in waves]
    padded = torch.nn.utils.rnn.pad_sequence(list(waves), batch_first=True).to(listener.device)
    equal, count = min(lengths) == max(lengths), listener.frames
    given = None if equal else torch.tensor(lengths, device=padded.device)
    found = [layer.cpu() for layer in listener.hear(padded, given, layers)]
    ends = [None if equal or count is None else count(length) for length in lengths]
    return [[layer[row, :end] for layer in found] for row, end in enumerate(ends)]


def finite(item: Item, what: str, layer: Tensor) -> np.ndarray:
    values = layer.float().numpy()
    if not np.isfinite(values).all():
        raise UnreadableAudio(cut_place(item.cut), f"{what} comes out as NaN or infinite")
    return values


class CheckpointHeads:
    """The heads of a checkpoint folder, over the layers of the whole recording."""

    def __init__(self, listener: Listener, source: str, options: ExtractOptions) -> None:
        if listener.encoder is None:
            raise SpeechpressError(
                f"--what {options.what}: {source} has no heads; name a checkpoint or bundle that has"
            )
        kept = read_heads(Path(source), options.heads or None)
        specs = {name: head.spec(listener.encoder.config) for name, head in kept.items()}
        self.specs = chosen(specs, options, source)
        self.listener, self.options = listener, options
        self.heads: dict[str, KeptHead] = {name: kept[name] for name in self.specs}
        told = {
            name: {**spec.to_dict(), "sha256": sha256(head_path(Path(source), name))}
            for name, spec in self.specs.items()
        }
        self.about = {"heads": told, **_unit_form(options)}

    def hear(self, waves: Sequence[Tensor]) -> list[Any]:
        return heard_layers(self.listener, waves, self.listener.layers)

    def make(self, item: Item, heard: Any) -> Result:
        encoder = self.listener.encoder
        assert encoder is not None
        # Heads are trained on what is deployed: the last layer after its norm.
        device = next(encoder.parameters()).device
        layers = [*heard[:-1], encoder.encoder.last(heard[-1].to(device)).cpu()]
        for number, layer in enumerate(layers):
            finite(item, f"layer {number}", layer)
        x = torch.stack(layers, 1)[None].float()
        exists = torch.ones(x.shape[:2], dtype=torch.bool)
        outputs: dict[str, dict[str, np.ndarray]] = {}
        for name, head in self.heads.items():
            values, _ = head.module(x, exists, head.module.initial_state())
            outputs[name] = {key: value[0].numpy() for key, value in zip(self.specs[name].outputs, values, strict=True)}
        frames = x.shape[1]
        if self.options.what == "units":
            (ids,) = outputs.values()
            return units_result(ids["ids"][:, 0], self.options.dedup)
        events = [event for name, spec in self.specs.items() for event in _decoded(spec, outputs[name], frames)]
        return Result({}, frames, [event.to_dict() for event in sorted(events, key=_in_time)])


def _decoded(spec: HeadSpec, outputs: Mapping[str, np.ndarray], frames: int) -> list[Event]:
    """The final events of a whole recording."""
    # An output about all that was heard is told how much that is; frames are counted by the decoder itself.
    return whole(decoder_of(spec), outputs, frames if "chunk" in spec.outputs.values() else 0)


class BundleHeads:
    """The heads of a bundle, as its program answers chunk by chunk on a device."""

    def __init__(self, listener: Listener, options: ExtractOptions) -> None:
        engine = listener.engine
        assert engine is not None
        if not listener.streams:
            raise SpeechpressError(f"--what {options.what}: heads of a bundle answer in chunks; leave out --offline")
        self.specs = chosen({spec.name: spec for spec in engine.heads}, options, listener.name)
        self.engine, self.options = engine, options
        self.about = {"heads": {name: spec.to_dict() for name, spec in self.specs.items()}, **_unit_form(options)}

    def hear(self, waves: Sequence[Tensor]) -> list[Any]:
        return [self._hear(wave.numpy()) for wave in waves]

    def _hear(self, wave: np.ndarray) -> tuple[np.ndarray, list[Any]]:
        units = self.options.what == "units"
        stream = StreamingExtractor(_Ids(self.engine, next(iter(self.specs))) if units else self.engine)
        heard, rest = stream.push(wave), stream.flush()
        return np.concatenate([heard.frames, rest.frames]), [*heard.events, *rest.events]

    def make(self, item: Item, heard: Any) -> Result:
        frames, events = heard
        if self.options.what == "units":
            return units_result(frames[:, 0].astype(np.int64), self.options.dedup)
        told = [event.to_dict() for event in sorted(events, key=_in_time) if event.final and event.head in self.specs]
        return Result({}, len(frames), told)


class _Ids:
    """An engine whose frames are the numbers of units: so the stream cuts off what is not audio, as for any frames."""

    heads: tuple[HeadSpec, ...] = ()

    def __init__(self, engine: Any, head: str) -> None:
        self.engine, self.head, self.spec = engine, head, replace(engine.spec, width=1)

    def initial_state(self) -> State:
        return self.engine.initial_state()

    def step(self, chunk: np.ndarray, state: State) -> Step:
        _, state, answers = self.engine.step(chunk, state)
        # Exact: a head has fewer units than float32 has whole numbers.
        return Step(answers[self.head]["ids"].astype(np.float32), state)


def chosen(there: Mapping[str, HeadSpec], options: ExtractOptions, where: str) -> dict[str, HeadSpec]:
    """The heads that were named, or all that fit; for units exactly one.

    Raises SpeechpressError when there is none, or one is not there.
    """
    units = options.what == "units"
    fitting = {name: spec for name, spec in there.items() if not units or spec.kind == "units"}
    names = options.heads or tuple(fitting)
    have = ", ".join(f"{name} ({spec.kind})" for name, spec in there.items()) or "none"
    if gone := [name for name in names if name not in fitting]:
        kind = " of units" if units else ""
        raise SpeechpressError(f"--heads {gone[0]}: {where} has no such head{kind}; it has {have}")
    if not names or (units and len(names) > 1):
        wanted = "one head of kind units; name it with --heads" if units else "a head; `compress head` trains one"
        raise SpeechpressError(f"--what {options.what}: needs {wanted}; {where} has {have}")
    return {name: fitting[name] for name in names}


def units_result(ids: np.ndarray, dedup: bool) -> Result:
    """Units (T,), or each run of one once (N,) beside how many frames it lasts."""
    frames, ids = len(ids), ids.astype(np.int32)
    if not dedup:
        return Result({UNITS: ids}, frames)
    starts = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 1))
    return Result({UNITS: ids[starts], DURATIONS: np.diff(starts, append=frames).astype(np.int32)}, frames)


def _unit_form(options: ExtractOptions) -> dict[str, Any]:
    return {"dedup": options.dedup, "dtype": "int32"} if options.what == "units" else {}


def _in_time(event: Event) -> tuple[float, float, str, int]:
    return event.start_s, event.end_s, event.head, event.number
