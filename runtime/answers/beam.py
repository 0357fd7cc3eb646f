"""CTC prefix beam search over an endless stream: what all sequences share is told, and forgotten.

Shapes: n frames, C labels, of which 0 is the blank.

A sequence is a list [labels, blank, label, blank marks, label marks]: the labels that are not final yet; the natural
logarithm of its probability with a blank as the last frame, and with its last label; and for both the marks
[first frame, last frame, sum of probabilities, frames] of each label on the likeliest way there. Graves' algorithm in
the form of Hannun et al., 2014 (arXiv:1408.2873), without a language model.
"""

import math
from typing import Any

import numpy as np

from .event import Event
from .head_spec import HeadSpec
from .parts import DecoderState, event, passes, softmax

NEVER = -1e30  # the logarithm of 0: infinity is no JSON
LABELS, BLANK, LABEL, BLANK_MARKS, LABEL_MARKS = range(5)
Beam = list[Any]  # a sequence
Mark = list[Any]


class Search:
    """Its state is JSON: frames, number, the last final label, the sequences by falling probability, what was told.

    Args:
        spec: of the head.
        beam: sequences that are kept.
        least: probability from which on a label is tried.
        wait: frames after its start by when a label is decided.
    """

    def __init__(self, spec: HeadSpec, beam: int, least: float, wait: int) -> None:
        self.spec, self.beam, self.least, self.wait = spec, beam, least, wait

    def initial_state(self) -> DecoderState:
        return {"frames": 0, "number": 0, "last": -1, "beams": [[[], 0.0, NEVER, [], []]], "told": []}

    def step(self, logits: np.ndarray, state: DecoderState) -> list[Event]:
        """(n, C) -> events, at most one partial for each label that is not final; the state is changed."""
        events: list[Event] = []
        for row in softmax(logits).tolist():
            self._hear(row, state)
            self._decide(state)
            events += self._settle(state)
            state["frames"] += 1
        return events + self._partial(state)

    def finish(self, state: DecoderState) -> list[Event]:
        best = state["beams"][0]
        return self._tell(best[LABELS], _marks(best), state)

    def _hear(self, row: list[float], state: DecoderState) -> None:
        """One frame: every sequence stays, repeats its last label, or grows by one."""
        found: dict[tuple[int, ...], Beam] = {}
        top = row.index(max(row))
        tried = [c for c in range(1, len(row)) if row[c] >= self.least or c == top]
        for beam in state["beams"]:
            _extend(found, beam, row, tried, state)
        ranked = sorted(found.values(), key=lambda beam: (-_total(beam), beam[LABELS]))[: self.beam]
        best = _total(ranked[0])
        for beam in ranked:
            # Relative to the best, or an hour would leave no digits.
            beam[BLANK] = max(NEVER, beam[BLANK] - best)
            beam[LABEL] = max(NEVER, beam[LABEL] - best)
        state["beams"] = ranked

    def _decide(self, state: DecoderState) -> None:
        """Drop the sequences that contradict the best one about labels that began `wait` frames ago or earlier."""
        best, *others = state["beams"]
        limit = state["frames"] - self.wait
        old = _old(best, limit)
        kept = [beam for beam in others if _begins(beam, old) and _begins(best, _old(beam, limit))]
        state["beams"] = [best, *kept]

    def _settle(self, state: DecoderState) -> list[Event]:
        """The labels that all sequences share, and that have ended in each: they are final, and leave the search."""
        best, shared = state["beams"][0], 0
        while all(_ended(beam, shared) and beam[LABELS][shared] == best[LABELS][shared] for beam in state["beams"]):
            shared += 1
        if not shared:
            return []
        labels, marks = best[LABELS][:shared], _marks(best)[:shared]
        for beam in state["beams"]:
            for place in (LABELS, BLANK_MARKS, LABEL_MARKS):
                beam[place] = beam[place][shared:]
        state["last"] = labels[-1]
        return self._tell(labels, marks, state)

    def _tell(self, labels: list[int], marks: list[Mark], state: DecoderState) -> list[Event]:
        events = self._events(labels, marks, state["number"], final=True)
        state["number"] += len(events)
        return events

    def _partial(self, state: DecoderState) -> list[Event]:
        """The open labels of the best sequence that are new, or other than they were told."""
        best = state["beams"][0]
        events = self._events(best[LABELS], _marks(best), state["number"], final=False)
        told = [[found.number, found.label, found.start_s, found.end_s] for found in events]
        new = [found for found, line in zip(events, told, strict=True) if line not in state["told"]]
        state["told"] = told
        return new

    def _events(self, labels: list[int], marks: list[Mark], number: int, final: bool) -> list[Event]:
        events: list[Event] = []
        for label, (first, last, total, count) in zip(labels, marks, strict=True):
            if passes(self.spec, total / count):
                name = self.spec.labels[label]
                events.append(event(self.spec, number + len(events), name, (first, last), total / count, final))
        return events


def _extend(
    found: dict[tuple[int, ...], Beam], beam: Beam, row: list[float], tried: list[int], state: DecoderState
) -> None:
    labels, frame = tuple(beam[LABELS]), state["frames"]
    last, total = labels[-1] if labels else state["last"], _total(beam)
    _join(found, labels, BLANK, total, row[0], _marks(beam))
    if last > 0:
        _join(found, labels, LABEL, beam[LABEL], row[last], _longer(beam[LABEL_MARKS], frame, row[last]))
    for c in tried:
        # Right after itself a label goes on; only behind a blank it is a new one.
        before, marks = (beam[BLANK], beam[BLANK_MARKS]) if c == last else (total, _marks(beam))
        _join(found, (*labels, c), LABEL, before, row[c], [*marks, [frame, frame, row[c], 1]])


def _join(
    found: dict[tuple[int, ...], Beam], labels: tuple[int, ...], end: int, before: float, p: float, marks: list[Mark]
) -> None:
    """Add one way to a sequence; the marks are those of a way that is likelier than all before it together."""
    if before <= NEVER or p <= 0:
        return
    log = before + math.log(p)
    beam = found.setdefault(labels, [list(labels), NEVER, NEVER, [], []])
    if log > beam[end]:
        beam[end + BLANK_MARKS - BLANK] = marks
    beam[end] = _add(beam[end], log)


def _longer(marks: list[Mark], frame: int, p: float) -> list[Mark]:
    """With one more frame of the last label; a label that is final already stays as it was told."""
    if not marks:
        return []
    first, _, total, count = marks[-1]
    return [*marks[:-1], [first, frame, total + p, count + 1]]


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    high, low = max(a, b), min(a, b)
    return high if low <= NEVER else high + math.log1p(math.exp(low - high))


def _total(beam: Beam) -> float:
    return _add(beam[BLANK], beam[LABEL])


def _marks(beam: Beam) -> list[Mark]:
    """Of the likelier end; of the blank when they tie."""
    return beam[BLANK_MARKS] if beam[BLANK] >= beam[LABEL] else beam[LABEL_MARKS]


def _ended(beam: Beam, place: int) -> bool:
    """Whether there is such a label, and another one or, more likely than not, a blank came after it."""
    after = len(beam[LABELS]) - 1 - place
    return after > 0 or (after == 0 and beam[BLANK] >= beam[LABEL])


def _old(beam: Beam, limit: int) -> list[int]:
    """The labels that began at the frame `limit` or earlier."""
    return beam[LABELS][: sum(mark[0] <= limit for mark in _marks(beam))]


def _begins(beam: Beam, labels: list[int]) -> bool:
    return beam[LABELS][: len(labels)] == labels
