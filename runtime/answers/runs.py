"""Stretches of frames with one label: what greedy CTC and units are made of."""

from collections.abc import Callable, Iterable

from .event import Event
from .head_spec import HeadSpec
from .parts import DecoderState, event, passes

NO_RUN = {"frames": 0, "number": 0, "run": None}  # a run: [label, first frame, last frame, sum of values, count]


class Runs:
    """Turns a label and a value per frame into events, one for each run of a label.

    Args:
        spec: of the head.
        name: of a label.
        score: of a run, from the mean of its values.
        blank: the label of frames without an answer.
        merge: whether neighbours of one label are one run.
    """

    def __init__(
        self, spec: HeadSpec, name: Callable[[int], str], score: Callable[[float], float], blank: int, merge: bool
    ) -> None:
        self.spec, self.name, self.score, self.blank, self.merge = spec, name, score, blank, merge

    def step(self, pairs: Iterable[tuple[int, float]], state: DecoderState) -> list[Event]:
        """Hear (label, value) of the next frames; the state is changed."""
        events: list[Event] = []
        before = state["frames"]
        for label, value in pairs:
            run, frame = state["run"], state["frames"]
            state["frames"] += 1
            if run is not None and run[0] == label and self.merge:
                state["run"] = [label, run[1], frame, run[3] + value, run[4] + 1]
                continue
            events += self.close(state)
            state["run"] = None if label == self.blank else [label, frame, frame, value, 1]
        if state["run"] is not None and state["frames"] > before:
            events += self._event(state, final=False) if self.merge else self.close(state)
        return events

    def close(self, state: DecoderState) -> list[Event]:
        """End the run that is open, if there is one; the state is changed."""
        if state["run"] is None:
            return []
        events = self._event(state, final=True)
        state["run"], state["number"] = None, state["number"] + len(events)
        return events

    def _event(self, state: DecoderState, final: bool) -> list[Event]:
        label, first, last, total, count = state["run"]
        score = self.score(total / count)
        # A partial event below the threshold may still rise above it, but it is no answer yet.
        if not passes(self.spec, score):
            return []
        return [event(self.spec, state["number"], self.name(label), (first, last), score, final)]
