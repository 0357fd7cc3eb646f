"""The lanes of heads as terminal cells: one function for each way of drawing, see `lanes.LOOKS`."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from ..answers.event import Event
from .colours import to_rgb
from .lanes import Lane, Rows, answer, shown

SHADES = "░▒▓█"
MOST_SHIFT = 10  # columns: 0.4 s
BOLD, PARTIAL, EMPTY = Style(bold=True), Style(dim=True, italic=True), Style(color="grey37")
SPEECH, OTHER = Style(color="green"), Style(color="cyan")


@dataclass(frozen=True)
class Window:
    """The part of the stream that is seen: its first column, counted since the stream began, and how many."""

    first: int
    width: int
    column_s: float

    def span(self, event: Event) -> tuple[int, int]:
        """First column of an event, and the one after its last."""
        # 1e-6: 0.12 / 0.04 is a little less than 3.
        first = math.floor(event.start_s / self.column_s + 1e-6)
        return first, max(first + 1, math.ceil(event.end_s / self.column_s - 1e-6))

    def seen(self, event: Event) -> range:
        """The columns of it that are seen, counted from the left edge; of one that goes on, up to now."""
        first, end = self.span(event)
        end = end if event.final else self.first + self.width
        return range(max(0, first - self.first), min(self.width, end - self.first))


Line = list[tuple[str, Style]]  # a cell each; the second half of a wide character is empty


def blank_line(width: int, cell: str = " ", style: Style = EMPTY) -> Line:
    return [(cell, style)] * width


def put(line: Line, column: int, text: str, style: Style) -> None:
    """Write a text into a line, unless a part of it would be cut off."""
    if column < 0 or column + cell_len(text) > len(line):
        return
    at = column
    for character in text:
        width = cell_len(character)
        if not width and at > column:
            line[at - 1] = (line[at - 1][0] + character, style)
            continue
        line[at : at + width] = [(character, style), ("", style)][:width]
        at += width


def segments(line: Line) -> list[Segment]:
    runs = itertools.groupby(line, lambda cell: cell[1])
    return [Segment("".join(text for text, _ in cells), style) for style, cells in runs]


class Drawn:
    """How one lane is drawn, and how many rows it takes."""

    def __init__(self, rows: int, draw: Callable[[Lane, Window], list[Line]]) -> None:
        self.rows, self.draw = rows, draw


def drawn_by(lane: Lane) -> Drawn:
    return DRAWINGS[lane.look.draw](lane)


def _bar(lane: Lane) -> Drawn:
    """Blocks from when to when, of half a row each where two may be true at once."""
    blocks = " █" if lane.look.tracks == 1 else " ▀▄█"

    def draw(lane: Lane, window: Window) -> list[Line]:
        tracks, partial = np.zeros(window.width, int), np.zeros(window.width, bool)
        for event in lane.events.values():
            columns = window.seen(event)
            tracks[columns.start : columns.stop] |= 1 << lane.track(event)
            partial[columns.start : columns.stop] |= not event.final
        line = blank_line(window.width, "─")
        for column in np.flatnonzero(tracks):
            style = PARTIAL if partial[column] else SPEECH if tracks[column] == 1 else OTHER
            line[column] = ("▒" if partial[column] else blocks[tracks[column]], style)
        return [line]

    return Drawn(1, draw)


def _text(lane: Lane) -> Drawn:
    """Labels at their time: letters as one text, longer ones on two rows with a gap between them."""
    rows = Rows(1, 0, MOST_SHIFT) if lane.letters else Rows(2, 1, MOST_SHIFT)

    def draw(lane: Lane, window: Window) -> list[Line]:
        lines = [blank_line(window.width) for _ in range(rows.rows)]
        events = [event for _, event in sorted(lane.events.items()) if event.label]
        labels = [(event, window.span(event)[0], cell_len(shown(event.label))) for event in events]
        for event, row, column, _ in rows.places(labels):
            put(lines[row], column - window.first, shown(event.label), BOLD if event.final else PARTIAL)
        return lines

    return Drawn(rows.rows, draw)


def _latest(lane: Lane) -> Drawn:
    """The newest answer, and the ones before it as far as there is room."""

    def draw(lane: Lane, window: Window) -> list[Line]:
        line, at = blank_line(window.width), 0
        for event in reversed(lane.events.values()):
            text = answer(event)
            if at + cell_len(text) > window.width:
                break
            put(line, at, text, PARTIAL if not event.final else BOLD if not at else EMPTY)
            at += cell_len(text) + 3
        return [line]

    return Drawn(1, draw)


def _ribbon(lane: Lane) -> Drawn:
    """A colour for each label, and a shade where there are no colours."""

    def draw(lane: Lane, window: Window) -> list[Line]:
        line = blank_line(window.width)
        for event in lane.events.values():
            columns = window.seen(event)
            if columns:
                number = _number(event.label)
                line[columns.start : columns.stop] = [
                    (SHADES[number % len(SHADES)], _unit_style(number, event.final))
                ] * len(columns)
        return [line]

    return Drawn(1, draw)


def _number(label: str) -> int:
    return int(label) if label.isdecimal() else sum(map(ord, label))


# Each picture has hundreds of them, and 20 pictures are drawn a second.
@lru_cache(maxsize=4096)
def _unit_style(number: int, final: bool) -> Style:
    """By the golden angle around OKLab's circle, so that neighbours in number are unlike."""
    angle = 2.39996 * number
    colour = to_rgb(np.array([[0.3, 0.8 * math.cos(angle), 0.8 * math.sin(angle)]]))[0]
    return Style(color=Color.from_rgb(*colour), dim=not final)


DRAWINGS: dict[str, Callable[[Lane], Drawn]] = {"bar": _bar, "text": _text, "latest": _latest, "ribbon": _ribbon}
