"""The decoder of each kind of head. A decoder is a pure function over chunks, as the encoder is: its state is explicit.

Every runtime has the same ones; `tests/fixtures/answers` holds the vectors that all of them must pass.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from .event import Event
from .head_spec import HeadSpec

DecoderState = dict[str, Any]  # JSON values and arrays: it can be kept and taken up again
Outputs = Mapping[str, np.ndarray]  # (n, W) by the name of the output, see `head_spec.KINDS`


class Decoder(Protocol):
    """Of one head; it keeps nothing between calls, so one decoder serves any number of streams."""

    spec: HeadSpec

    def initial_state(self) -> DecoderState:
        """The state of a stream that has heard nothing."""

    def step(self, outputs: Outputs, first: int, state: DecoderState) -> tuple[list[Event], DecoderState]:
        """The outputs of frames `first` and on -> the events that they bring, and the next state.

        Frames come in order and without gaps, in any number at a time; the events of all steps and of `finish` do not
        depend on how they were cut, but that a partial event may be skipped.
        """

    def finish(self, state: DecoderState) -> list[Event]:
        """The stream has ended: the events that only waited for more."""


def whole(decoder: Decoder, outputs: Outputs) -> list[Event]:
    """The final events of a whole recording at once."""
    events, state = decoder.step(outputs, 0, decoder.initial_state())
    return [event for event in (*events, *decoder.finish(state)) if event.final]


def final(events: Sequence[Event]) -> list[Event]:
    """Those that cannot change any more."""
    return [event for event in events if event.final]
