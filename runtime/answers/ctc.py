"""Labels over time by CTC: the best label of each frame, or a search over prefixes. See docs/answers.md.

Shapes: n frames, C labels, of which 0 is the blank.
"""

from dataclasses import dataclass

import numpy as np

from ..schema import Kind, Real, Text, Whole
from .beam import Search
from .event import Event
from .head_spec import HeadSpec
from .parts import (
    DecoderState,
    Outputs,
    Wait,
    advanced,
    check_labels,
    check_threshold,
    options,
    rows,
    softmax,
    to_frames,
    to_ms,
)
from .runs import NO_RUN, Runs

BLANK = 0
FIELDS: dict[str, Kind] = {
    "method": Text(choices=("greedy", "beam")),
    "beam": Whole(1, 100),
    "least": Real(0, 1),
    "wait_s": Real(0, 60, above=0),
}


@dataclass(frozen=True)
class Options:
    """Parameters of the decoder.

    Attributes:
        method: "greedy", the best label of each frame, or "beam", the best sequence of a prefix search.
        beam: sequences that the search keeps, 1 to 100.
        least: probability from which on the search tries a label, 0 to 1; a frame's best label is always tried.
        wait_s: seconds after the start of a label by when the search decides it, above 0 and at most 60.
    """

    method: str = "greedy"
    beam: int = 8
    least: float = 0.001
    wait_s: float = 1.0


class CtcDecoder:
    """See `decode.Decoder`. A score is the mean probability of the label over its frames."""

    def __init__(self, spec: HeadSpec) -> None:
        check_labels(spec, 2)
        check_threshold(spec)
        self.spec, self.options = spec, Options(**options(spec, FIELDS))
        name = spec.labels.__getitem__
        self.runs = Runs(spec, name, lambda score: score, BLANK, merge=True)
        wait = to_frames(spec, self.options.wait_s, 1)
        self.search = Search(spec, self.options.beam, self.options.least, wait)
        self.greedy = self.options.method == "greedy"

    def initial_state(self) -> DecoderState:
        return dict(NO_RUN) if self.greedy else self.search.initial_state()

    def wait(self) -> Wait:
        return Wait(0.0, to_ms(self.spec, 1 if self.greedy else self.search.wait + 1))

    def step(self, outputs: Outputs, first: int, state: DecoderState) -> tuple[list[Event], DecoderState]:
        logits, state = rows(self.spec, outputs, "logits"), advanced(state, first)
        if not len(logits):
            return [], state
        if not self.greedy:
            return self.search.step(logits, state), state
        best = logits.argmax(1)
        found = softmax(logits)[np.arange(len(best)), best]
        return self.runs.step(zip(best.tolist(), found.tolist(), strict=True), state), state

    def finish(self, state: DecoderState) -> list[Event]:
        return self.runs.close(dict(state)) if self.greedy else self.search.finish(dict(state))
