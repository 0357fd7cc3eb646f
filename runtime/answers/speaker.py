"""The vector of who speaks, over everything heard so far. See docs/answers.md.

Shapes: W width of the vector.
"""

from dataclasses import dataclass

import numpy as np

from ..schema import Flag, Kind, Maybe, Real
from .event import Event
from .head_spec import HeadSpec
from .parts import DecoderState, Outputs, Wait, event, options, rows, to_frames, to_ms

FIELDS: dict[str, Kind] = {"every_s": Maybe(Real(0, 3600, above=0)), "normalise": Flag()}


@dataclass(frozen=True)
class Options:
    """Parameters of the decoder.

    Attributes:
        every_s: seconds from one partial vector to the next, above 0 and at most 3600; null: only the final one.
        normalise: whether a vector is scaled to length 1.
    """

    every_s: float | None = 1.0
    normalise: bool = True


class SpeakerDecoder:
    """See `decode.Decoder`. One event, number 0, that is replaced until the stream ends; its score is the length
    of the vector before it was scaled.
    """

    def __init__(self, spec: HeadSpec) -> None:
        self.spec, self.options = spec, Options(**options(spec, FIELDS))
        every_s = self.options.every_s
        self.every = 0 if every_s is None else to_frames(spec, every_s, 1)

    def initial_state(self) -> DecoderState:
        return {"frames": 0, "told": 0, "vector": None}

    def wait(self) -> Wait:
        return Wait(to_ms(self.spec, self.every), 0.0)

    def step(self, outputs: Outputs, first: int, state: DecoderState) -> tuple[list[Event], DecoderState]:
        """`first` is the number of frames that the last row is about: all that were heard."""
        vectors = rows(self.spec, outputs, "vector")
        if not first or not len(vectors):
            return [], state
        state = {"frames": first, "told": state["told"], "vector": vectors[-1].copy()}
        if not self.every or first // self.every == state["told"]:
            return [], state
        state["told"] = first // self.every
        return [self._event(state, final=False)], state

    def finish(self, state: DecoderState) -> list[Event]:
        return [] if state["vector"] is None else [self._event(state, final=True)]

    def _event(self, state: DecoderState, final: bool) -> Event:
        vector = state["vector"]
        length = float(np.sqrt(np.add.accumulate(vector * vector)[-1]))
        if self.options.normalise and length > 0:
            vector = vector / length
        return event(self.spec, 0, "", (0, state["frames"] - 1), length, final, vector=tuple(map(float, vector)))
