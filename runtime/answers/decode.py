"""The decoder of each kind of head. A decoder is a pure function over chunks, as the encoder is: its state is explicit.

Every runtime has the same ones; `tests/fixtures/answers` holds the vectors that all of them must pass.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import SpeechpressError
from .classify import ClassifyDecoder
from .ctc import CtcDecoder
from .event import Event
from .head_spec import HeadSpec
from .parts import DecoderState as DecoderState
from .parts import Outputs as Outputs
from .parts import Wait as Wait
from .segment import SegmentDecoder
from .speaker import SpeakerDecoder
from .units import UnitsDecoder
from .vad import VadDecoder
from .words import WordsDecoder


class Decoder(Protocol):
    """Of one head; it keeps nothing between calls, so one decoder serves any number of streams."""

    spec: HeadSpec

    def initial_state(self) -> DecoderState:
        """The state of a stream that has heard nothing."""

    def step(self, outputs: Outputs, first: int, state: DecoderState) -> tuple[list[Event], DecoderState]:
        """The outputs of frames `first` and on -> the events that they bring, and the next state.

        Frames come in order and without gaps, in any number at a time; the final events of all steps and of `finish`
        do not depend on how they were cut. Rows of an output that is about all that was heard ("chunk" in `KINDS`)
        come one at a time, and `first` is then the number of frames that were heard.
        """

    def finish(self, state: DecoderState) -> list[Event]:
        """The stream has ended: the events that only waited for more."""

    def wait(self) -> Wait:
        """How much later than its frames an event comes at worst, by this decoder's own doing."""


# A further kind is a file beside these, and a row.
DECODERS: dict[str, Callable[[HeadSpec], Decoder]] = {
    "classify": ClassifyDecoder,
    "ctc": CtcDecoder,
    "units": UnitsDecoder,
    "speaker": SpeakerDecoder,
    "vad": VadDecoder,
    "words": WordsDecoder,
    "segment": SegmentDecoder,
}


def decoder_of(spec: HeadSpec) -> Decoder:
    """The decoder of a head.

    Raises:
        SpeechpressError: there is none of its kind, a parameter of it is unknown or out of its range, or its labels
            do not fit its columns.
    """
    if spec.kind not in DECODERS:
        raise SpeechpressError(
            f"head {spec.name}: there is no decoder for the kind {spec.kind!r}, only for {', '.join(DECODERS)}; "
            "it was exported by a newer version"
        )
    return DECODERS[spec.kind](spec)


def whole(decoder: Decoder, outputs: Outputs, frames: int = 0) -> list[Event]:
    """The final events of a whole recording at once; `frames` of it, where an output is about all of them together."""
    events, state = decoder.step(outputs, frames, decoder.initial_state())
    return final([*events, *decoder.finish(state)])


def final(events: Sequence[Event]) -> list[Event]:
    """Those that cannot change any more."""
    return [event for event in events if event.final]
