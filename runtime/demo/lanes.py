"""Which lane each kind of head gets in the demo's views, and what is on the lanes now.

A new kind of head is one row of `LOOKS`. A new way of drawing is one function in each view: `picture.DRAWINGS`,
`view_lines.DIGESTS`, and `DRAWINGS` of page/lanes.js.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from ..answers.event import Event
from ..answers.head_spec import HeadSpec
from .names import REFUSED, TURNING
from .spotting import Hit

KEPT_S = 20.0  # more than any view shows


@dataclass(frozen=True)
class Look:
    """How a kind of head is drawn.

    Attributes:
        draw: "bar": from when to when; "text": labels under the map at their time; "latest": the newest answer and its
            score; "ribbon": a colour for each label; "map": over the map itself, as taught words are.
        legend: what people should know to read it.
        tracks: of a bar, how many labels may be true at the same time.
        ordered: whether no event begins before the one of the number before has ended.
    """

    draw: str
    legend: str
    tracks: int = 1
    ordered: bool = True


LOOKS: dict[str, Look] = {
    "vad": Look("bar", "filled while somebody speaks"),
    "segment": Look("bar", "upper half: the first speaker, lower half: the second", tracks=2, ordered=False),
    "ctc": Look("text", "each sound where it was heard"),
    "classify": Look("latest", "newest answer, with its score"),
    "speaker": Look("latest", "how much of it the vector is about"),
    "units": Look("ribbon", "the same unit has the same colour"),
    "words": Look("map", "marked where it was said"),
}


# Words that were taught in the demo are drawn as those of a head; no head of a bundle has an empty name.
TAUGHT = HeadSpec("", "words")


class Lane:
    """One head's events, the newest version of each."""

    def __init__(self, head: HeadSpec) -> None:
        self.head, self.name, self.look = head.name, shown(head.name), LOOKS[head.kind]
        self.labels = tuple(head.labels)
        self.events: dict[int, Event] = {}
        self.latest: Event | None = None

    @property
    def letters(self) -> bool:
        """Whether its labels are single characters, which are read as one text."""
        return bool(self.labels) and all(len(label) <= 1 for label in self.labels)

    def add(self, event: Event) -> None:
        """A new event, or a newer version of one that was only partial."""
        self.events[event.number] = event
        self.latest = event
        for number, other in list(self.events.items()):
            # A search that changed its mind tells fewer labels than before; nothing else says that those are gone.
            gone = self.look.ordered and number > event.number and other.start_s < event.end_s
            # An open one may have begun long ago.
            old = other.end_s < event.end_s - KEPT_S
            if (gone and not other.final) or (old and other.final):
                del self.events[number]

    def end(self) -> None:
        """The stream is over: what is not final now was withdrawn."""
        self.events = {number: event for number, event in self.events.items() if event.final}

    def track(self, event: Event) -> int:
        """Which of its tracks an event of a bar lies on."""
        return self.labels.index(event.label) % self.look.tracks if event.label in self.labels else 0

    def to_dict(self) -> dict[str, Any]:
        """What the page needs to draw it."""
        look = self.look
        return {
            **{"head": self.head, "name": self.name, "draw": look.draw, "legend": look.legend},
            **{"tracks": look.tracks, "ordered": look.ordered},
            **{"labels": [shown(label) for label in self.labels], "letters": self.letters},
        }


class Lanes:
    """The lanes of all heads, in the bundle's order."""

    def __init__(self, heads: Iterable[HeadSpec] = ()) -> None:
        self._by_head = {head.name: Lane(head) for head in (*heads, TAUGHT)}
        self._taught = 0

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._by_head.values())

    def to_list(self) -> list[dict[str, Any]]:
        """What the page needs to draw those of the heads."""
        return [lane.to_dict() for lane in self if lane.head]

    def end(self) -> None:
        """The stream is over."""
        for lane in self:
            lane.end()

    def add(self, events: Iterable[Event], taught: Iterable[Hit] = ()) -> list[Event]:
        """What the heads say, and taught words that were found; the final ones among them that are drawn as words."""
        found = [*events]
        for hit in taught:
            times = (hit.start_s, hit.end_s)
            found.append(Event(TAUGHT.name, TAUGHT.kind, self._taught, hit.word, *times, hit.score))
            self._taught += 1
        for event in found:
            self._by_head[event.head].add(event)
        return [event for event in found if event.final and LOOKS[event.kind].draw == "map"]


def page_event(event: Event) -> dict[str, Any]:
    """What the page needs to draw an event."""
    told = {**event.to_dict(), "label": shown(event.label), "answer": answer(event)}
    return {name: value for name, value in told.items() if name != "vector"}


def answer(event: Event) -> str:
    """A line for people: the label and its score, or of a vector what there is to say of it."""
    if event.label:
        return f"{shown(event.label)} {event.score:.2f}"
    return f"{len(event.vector)} numbers about {event.end_s:.1f} s"


class Place(NamedTuple):
    """Where a label stands: its row, its first column since the stream began, and how wide it is."""

    event: Event
    row: int
    column: int
    width: int


class Rows:
    """Places for labels of different widths near their times, so that none overlaps another and none jumps.

    Args:
        rows: how many lines there are.
        gap: columns between two labels of a line.
        most_shift: columns that a label may stand too far right; what would be farther is left out.
    """

    def __init__(self, rows: int, gap: int, most_shift: int) -> None:
        self.rows, self._gap, self._most_shift = rows, gap, most_shift
        # Of final events that only follow final ones; the rest may change, and is placed anew each time.
        self._settled: dict[tuple[str, int], Place | None] = {}
        self._ends = [0] * rows

    def places(self, labels: Sequence[tuple[Event, int, int]]) -> list[Place]:
        """Where to draw (event, column of its start, width), in order."""
        ends, settling, found = list(self._ends), True, []
        for event, column, width in labels:
            key = (event.head, event.number)
            if key in self._settled:
                place = self._settled[key]
            else:
                settling = settling and event.final
                place = self._place(event, column, width, ends)
                if settling:
                    self._settled[key], self._ends = place, list(ends)
            if place is not None:
                found.append(place)
        known = {(event.head, event.number) for event, *_ in labels}
        self._settled = {key: place for key, place in self._settled.items() if key in known}
        return found

    def _place(self, event: Event, column: int, width: int, ends: list[int]) -> Place | None:
        row = min(range(self.rows), key=lambda row: (max(column, ends[row]), row))
        start = max(column, ends[row])
        if start - column > self._most_shift:
            return None
        ends[row] = start + width + self._gap
        return Place(event, row, start, width)


@lru_cache(maxsize=4096)
def shown(text: str) -> str:
    """A label as it may stand in a terminal or a page: what cannot be shown is the replacement character."""
    bad = {character for character in text if character in TURNING or unicodedata.category(character) in REFUSED}
    return "".join("\ufffd" if character in bad else character for character in text)
