"""What the decoders share: their parameters and outputs, checked; rounding to frames; probabilities; events.

Shapes: n frames, W columns of an output. All arithmetic is in float64, and sums go from the first to the last.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..errors import SpeechpressError
from ..schema import Fields, Kind, check
from .event import Event
from .head_spec import HeadSpec

DecoderState = dict[str, Any]  # JSON values and arrays: it can be kept and taken up again
Outputs = Mapping[str, np.ndarray]  # (n, W) by the name of the output, see `head_spec.KINDS`


class Wait(NamedTuple):
    """How long a decoder itself waits at worst, in frames' time, before its partial and its final events.

    Attributes:
        partial_ms: from the end of the first frame that a label is about to its first event.
        final_ms: from the end of the last one to the event that cannot change.
    """

    partial_ms: float
    final_ms: float


def options(spec: HeadSpec, fields: Mapping[str, Kind]) -> dict[str, Any]:
    """The decoder's parameters that a head names; raises SpeechpressError for unknown keys and unfit values."""
    found = dict(spec.decoder)
    check(found, Fields({}, fields, closed=True), f"head {spec.name} ({spec.kind}): decoder", "export it again")
    return found


def check_labels(spec: HeadSpec, least: int) -> None:
    """Raises SpeechpressError unless there is a label for each column of the first output, and at least so many."""
    width = spec.widths[0] if spec.widths else len(spec.labels)
    if len(spec.labels) != width or width < least:
        raise SpeechpressError(
            f"head {spec.name} ({spec.kind}): has {len(spec.labels)} labels for {width} columns, but must have one "
            f"for each, and at least {least}; export it again"
        )


def check_threshold(spec: HeadSpec) -> None:
    """Raises SpeechpressError when the threshold is no probability."""
    if spec.threshold is not None and not 0 <= spec.threshold <= 1:
        raise SpeechpressError(
            f"head {spec.name} ({spec.kind}): threshold is {spec.threshold}, but must be from 0 to 1; export it again"
        )


def rows(spec: HeadSpec, outputs: Outputs, name: str) -> np.ndarray:
    """One output (n, W) in float64; raises SpeechpressError when it is missing, of another width, or not finite."""
    found = outputs.get(name)
    width = spec.widths[list(spec.outputs).index(name)] if spec.widths else None
    if found is None or found.ndim != 2 or width not in (None, found.shape[1]):
        shape = "missing" if found is None else f"of shape {found.shape}"
        raise SpeechpressError(
            f"head {spec.name} ({spec.kind}): its output {name} is {shape}, but must be (frames, {width or 'any'}); "
            "the engine does not fit the head"
        )
    values = np.asarray(found, np.float64)
    if not np.isfinite(values).all():
        raise SpeechpressError(
            f"head {spec.name} ({spec.kind}): its output {name} holds values that are not finite; "
            "check the bundle with `compress verify`"
        )
    return values


def to_frames(spec: HeadSpec, duration_s: float, least: int = 0) -> int:
    """The nearest number of frames, a half rounded up."""
    return max(least, math.floor(duration_s * spec.sample_rate / spec.hop_samples + 0.5))


def to_ms(spec: HeadSpec, frames: int) -> float:
    return 1000 * frames * spec.hop_samples / spec.sample_rate


def softmax(x: np.ndarray) -> np.ndarray:
    """(n, W) -> (n, W), each row of sum 1."""
    powers = np.exp(x - x.max(1, keepdims=True))
    # Not `sum`, whose order depends on the number of columns.
    return powers / np.add.accumulate(powers, 1)[:, -1:]


def sigmoid(x: np.ndarray) -> np.ndarray:
    # exp of what is never positive cannot overflow.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def event(
    spec: HeadSpec, number: int, label: str, frames: tuple[int, int], score: float, final: bool = True, **more: Any
) -> Event:
    """An event about the frames from the first to the last one, both included."""
    start_s, end_s = spec.start_s(frames[0]), spec.end_s(frames[1])
    return Event(spec.name, spec.kind, number, label, start_s, end_s, float(score), final, **more)


def passes(spec: HeadSpec, score: float) -> bool:
    """Whether it is an answer: a score at the threshold is one."""
    return spec.threshold is None or score >= spec.threshold


def advanced(state: DecoderState, first: int) -> DecoderState:
    """A copy of the state that may be changed; frames must come in order and without gaps."""
    assert first == state["frames"], f"frame {first} comes after {state['frames']} frames"
    return dict(state)
