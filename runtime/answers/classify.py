"""One answer for the last seconds, or for a clip: a sliding mean of logits. See docs/answers.md.

Shapes: n frames, N frames of the window, C classes.
"""

from dataclasses import dataclass

import numpy as np

from ..schema import Flag, Kind, Maybe, Real, Text
from .event import Event
from .head_spec import HeadSpec
from .parts import (
    DecoderState,
    Outputs,
    Wait,
    advanced,
    check_labels,
    event,
    options,
    passes,
    rows,
    softmax,
    to_frames,
    to_ms,
)

FIELDS: dict[str, Kind] = {
    "window_s": Real(0, 60, above=0),
    "every_s": Maybe(Real(0, 3600, above=0)),
    "score": Text(choices=("softmax", "logit")),
    "clip": Flag(),
}


@dataclass(frozen=True)
class Options:
    """Parameters of the decoder.

    Attributes:
        window_s: seconds that are averaged, above 0 and at most 60; nothing is said before there are so many.
        every_s: seconds from answer to answer, above 0 and at most 3600; null: an answer for each stretch of one label.
        score: "softmax", the probability of the label, or "logit", its mean logit.
        clip: whether the end of the stream brings an answer about all of it, the last one.
    """

    window_s: float = 1.0
    every_s: float | None = None
    score: str = "softmax"
    clip: bool = True


class ClassifyDecoder:
    """See `decode.Decoder`."""

    def __init__(self, spec: HeadSpec) -> None:
        check_labels(spec, 1)
        self.spec, self.options = spec, Options(**options(spec, FIELDS))
        self.window = to_frames(spec, self.options.window_s, 1)
        every_s = self.options.every_s
        self.every = 0 if every_s is None else to_frames(spec, every_s, 1)

    def initial_state(self) -> DecoderState:
        classes = len(self.spec.labels)
        return {
            "frames": 0,
            "number": 0,
            "ring": np.zeros((self.window, classes)),
            "sum": np.zeros(classes),
            "all": np.zeros(classes),
            "run": None,  # [label, first frame, last frame, sum of scores, count]
        }

    def wait(self) -> Wait:
        window = to_ms(self.spec, self.window)
        return Wait(window, to_ms(self.spec, self.every) if self.every else window)

    def step(self, outputs: Outputs, first: int, state: DecoderState) -> tuple[list[Event], DecoderState]:
        logits, state = rows(self.spec, outputs, "logits"), advanced(state, first)
        state |= {name: state[name].copy() for name in ("ring", "sum", "all")}
        events: list[Event] = []
        for row in logits:
            self._hear(row, state)
            if state["frames"] >= self.window:
                label, score = self._best(state["sum"] / self.window)
                events += self._every(label, score, state) if self.every else self._change(label, score, state)
        return events, state

    def finish(self, state: DecoderState) -> list[Event]:
        state = dict(state)
        events = self._close(state)
        if self.options.clip and state["frames"]:
            label, score = self._best(state["all"] / state["frames"])
            if passes(self.spec, score):
                events.append(self._event(state["number"], label, 0, state["frames"] - 1, score))
        return events

    def _hear(self, row: np.ndarray, state: DecoderState) -> None:
        ring, slot = state["ring"], state["frames"] % self.window
        # In this order in every language; a slot that was never used holds zeros.
        state["sum"] = state["sum"] - ring[slot] + row
        ring[slot] = row
        if slot == self.window - 1:
            # Anew once a window, so that rounding cannot add up over hours.
            state["sum"] = np.add.accumulate(ring, 0)[-1]
        state["all"] = state["all"] + row
        state["frames"] += 1

    def _best(self, mean: np.ndarray) -> tuple[int, float]:
        label = int(mean.argmax())
        return label, float(softmax(mean[None])[0, label] if self.options.score == "softmax" else mean[label])

    def _every(self, label: int, score: float, state: DecoderState) -> list[Event]:
        frames = state["frames"]
        if (frames - self.window) % self.every or not passes(self.spec, score):
            return []
        state["number"] += 1
        return [self._event(state["number"] - 1, label, frames - self.window, frames - 1, score)]

    def _change(self, label: int, score: float, state: DecoderState) -> list[Event]:
        run, last = state["run"], state["frames"] - 1
        answers = passes(self.spec, score)
        if run is not None and answers and run[0] == label:
            state["run"] = [label, run[1], last, run[3] + score, run[4] + 1]
            return []
        events = self._close(state)
        if answers:
            state["run"] = [label, last + 1 - self.window, last, score, 1]
            events.append(self._event(state["number"], label, last + 1 - self.window, last, score, final=False))
        return events

    def _close(self, state: DecoderState) -> list[Event]:
        if state["run"] is None:
            return []
        label, first, last, total, count = state["run"]
        state["run"], state["number"] = None, state["number"] + 1
        return [self._event(state["number"] - 1, label, first, last, total / count)]

    def _event(self, number: int, label: int, first: int, last: int, score: float, final: bool = True) -> Event:
        return event(self.spec, number, self.spec.labels[label], (first, last), score, final)
