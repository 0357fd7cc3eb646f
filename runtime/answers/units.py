"""Discrete units: the nearest centre of each frame, by its number. See docs/answers.md.

Shapes: n frames, K units.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import SpeechpressError
from ..schema import Flag, Kind
from .event import Event
from .head_spec import HeadSpec
from .parts import DecoderState, Outputs, Wait, advanced, options, rows, to_ms
from .runs import NO_RUN, Runs

FIELDS: dict[str, Kind] = {"dedup": Flag()}


@dataclass(frozen=True)
class Options:
    """Parameters of the decoder.

    Attributes:
        dedup: whether neighbouring frames of one unit are one event, as long as they last.
    """

    dedup: bool = True


class UnitsDecoder:
    """See `decode.Decoder`. A score is 1 / (1 + mean distance): 1 at the centre, towards 0 far from it."""

    def __init__(self, spec: HeadSpec) -> None:
        self.spec, self.options = spec, Options(**options(spec, FIELDS))
        self.runs = Runs(spec, str, lambda distance: 1 / (1 + distance), -1, self.options.dedup)

    def initial_state(self) -> DecoderState:
        return dict(NO_RUN)

    def wait(self) -> Wait:
        return Wait(0.0, to_ms(self.spec, 1) if self.options.dedup else 0.0)

    def step(self, outputs: Outputs, first: int, state: DecoderState) -> tuple[list[Event], DecoderState]:
        distances, ids = rows(self.spec, outputs, "distances"), rows(self.spec, outputs, "ids")
        state = advanced(state, first)
        return self.runs.step(self._pairs(distances, ids[:, 0]), state), state

    def finish(self, state: DecoderState) -> list[Event]:
        return self.runs.close(dict(state))

    def _pairs(self, distances: np.ndarray, ids: np.ndarray) -> list[tuple[int, float]]:
        if len(ids) != len(distances) or ((ids < 0) | (ids >= distances.shape[1]) | (ids != np.floor(ids))).any():
            raise SpeechpressError(
                f"head {self.spec.name} (units): its ids are not one for each frame, from 0 to "
                f"{distances.shape[1] - 1}; check the bundle with `compress verify`"
            )
        # Rounding can leave a squared distance slightly below 0.
        return [(int(unit), max(0.0, float(row[int(unit)]))) for unit, row in zip(ids, distances, strict=True)]
