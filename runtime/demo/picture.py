"""The scrolling map of features as terminal cells, and under it a lane for each head of the bundle.

In the map, colour is what the features are and height is the loudness; without colours, shades take their place. Time
runs from left to right in columns of two frames, on the lanes as well.

Shapes: n frames.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from ..answers.event import Event
from ..answers.head_spec import HeadSpec
from ..escape import counted
from .lanes import Lanes, Rows, shown
from .strips import (
    BOLD,
    EMPTY,
    MOST_SHIFT,
    PARTIAL,
    SHADES,
    Line,
    Window,
    blank_line,
    drawn_by,
    put,
    segments,
)
from .worker import Chunk

FRAMES_PER_COLUMN = 2
# More than any terminal is wide; older ones are forgotten.
MOST_COLUMNS = 400
FLOOR_DB, TOP_DB = -62.0, -8.0
DIM = 0.20  # brightness of the map where it is not the loudness
LEAST_ROWS = 3
SHADED = (0.32, 0.80)  # brightness of a colour from the lightest to the densest shade
GUTTER = 10  # as wide as the names of the other figures


def height_of(level_db: float) -> float:
    """Loudness as a share of the height, 0 to 1."""
    # Never 0, so that the colour of silence can be seen too.
    return float(np.clip((level_db - FLOOR_DB) / (TOP_DB - FLOOR_DB), 0.04, 1.0))


def shaded(console: Console) -> bool:
    """Whether there are no colours to draw with, as with NO_COLOR or on a terminal that has none."""
    return console.no_color or console.color_system is None


class Picture:
    """The last seconds of the stream; the map is drawn with two pixels per cell.

    Args:
        rows: of cells of the map; less when there is no room for them.
        frame_s: seconds from frame to frame.
        heads: each gets its lane.
    """

    def __init__(self, rows: int, frame_s: float, heads: Sequence[HeadSpec] = ()) -> None:
        self.rows, self.column_s = rows, FRAMES_PER_COLUMN * frame_s
        self.lanes = Lanes(heads)
        self._drawn = {lane.name: drawn_by(lane) for lane in self.lanes if lane.look.draw != "map"}
        self._words = Rows(1, 1, MOST_SHIFT)
        self._columns: deque[_Column] = deque(maxlen=MOST_COLUMNS)
        self._count = 0  # of columns since the stream began
        self._colours, self._levels_db = np.zeros((0, 3), np.uint8), np.zeros(0, np.float32)

    def add(self, chunk: Chunk) -> list[Event]:
        """Append a chunk's frames on the right; the words that were found in it."""
        self._colours = np.concatenate([self._colours, chunk.colours])
        self._levels_db = np.concatenate([self._levels_db, chunk.levels_db])
        # An odd frame waits for its partner of the next chunk.
        whole = len(self._colours) // FRAMES_PER_COLUMN * FRAMES_PER_COLUMN
        for first in range(0, whole, FRAMES_PER_COLUMN):
            part = slice(first, first + FRAMES_PER_COLUMN)
            self._columns.append(_Column(self._colours[part].mean(0), float(self._levels_db[part].max())))
        self._count += whole // FRAMES_PER_COLUMN
        self._colours, self._levels_db = self._colours[whole:], self._levels_db[whole:]
        found = self.lanes.add(chunk.events, chunk.words)
        if chunk.last:
            self.lanes.end()
        return found

    def height(self) -> int:
        """Rows that everything takes."""
        return self.rows + 1 + sum(drawn.rows for drawn in self._drawn.values())

    def fit(self, height: int | None) -> "Fitted":
        """The same in a height: fewer rows of the map first, then fewer lanes; None is as much as it likes."""
        lanes = sum(drawn.rows for drawn in self._drawn.values())
        rows = self.rows if height is None else max(min(LEAST_ROWS, self.rows), min(self.rows, height - 1 - lanes))
        return Fitted(self, rows, None if height is None else max(0, height - 1 - rows))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.fit(None)


@dataclass(frozen=True)
class Fitted:
    """A picture with so many rows of map, and at most so many of lanes."""

    picture: Picture
    rows: int
    lane_rows: int | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        picture, drawn = self.picture, self.picture._drawn
        gutter = max([GUTTER, *(cell_len(name) for name in drawn)]) + 1 if drawn else 0
        width = max(1, options.max_width - gutter)
        window = Window(picture._count - width, width, picture.column_s)
        columns = list(picture._columns)[-width:]
        left, blank = Segment(" " * (width - len(columns))), Segment(" " * gutter)
        shades = shaded(console)
        for row in range(self.rows):
            yield from (blank, left)
            yield from (column.cells(self.rows, shades)[row] for column in columns)
            yield Segment.line()
        yield from (blank, *segments(_map_words(picture, window)), Segment.line())
        for name, lines in self._lanes(window):
            for number, line in enumerate(lines):
                yield Segment((name if not number else "").ljust(gutter), None)
                yield from segments(line)
                yield Segment.line()

    def _lanes(self, window: Window) -> list[tuple[str, list[Line]]]:
        """Name and lines of each lane that there is room for; the last line says how many there is none for."""
        lanes = [lane for lane in self.picture.lanes if lane.name in self.picture._drawn]
        found: list[tuple[str, list[Line]]] = []
        used = 0
        for number, lane in enumerate(lanes):
            drawn, rest = self.picture._drawn[lane.name], len(lanes) - number
            # One row is kept for saying so, unless it is the last lane.
            if self.lane_rows is not None and used + drawn.rows + (rest > 1) > self.lane_rows:
                line = blank_line(window.width)
                put(line, 0, f"+ {counted(rest, 'more head')}", EMPTY)
                return [*found, ("", [line])] if used < self.lane_rows else found
            found.append((lane.name, drawn.draw(lane, window)))
            used += drawn.rows
        return found


class _Column:
    """Two frames of the map; its cells are made once for each height and drawn until they have left."""

    def __init__(self, colour: np.ndarray, level_db: float) -> None:
        self._colour, self._height = colour, height_of(level_db)
        self._cells: list[Segment] = []
        self._made = (0, False)

    def cells(self, rows: int, shades: bool) -> list[Segment]:
        """From top to bottom."""
        if self._made != (rows, shades):
            self._made = (rows, shades)
            self._cells = self._shaded(rows) if shades else self._coloured(rows)
        return self._cells

    def _coloured(self, rows: int) -> list[Segment]:
        # A cell shows an upper half block: one pixel in its colour, one in its background.
        bright = np.where(_away(2 * rows) <= self._height, 1.0, DIM)
        pixels = [Color.from_rgb(*(self._colour * share)) for share in bright]
        return [Segment("▀", Style(color=pixels[2 * row], bgcolor=pixels[2 * row + 1])) for row in range(rows)]

    def _shaded(self, rows: int) -> list[Segment]:
        """Without colours: a shade by the brightness that the colour would have, blank beyond the loudness."""
        low, high = SHADED
        share = (float(self._colour @ (0.2126, 0.7152, 0.0722)) / 255 - low) / (high - low)
        shade = SHADES[int(np.clip(len(SHADES) * share, 0, len(SHADES) - 1))]
        return [Segment(shade if away <= self._height else " ") for away in _away(rows)]


def _away(pixels: int) -> np.ndarray:
    """How far each pixel of a column is from the middle, as a share of the height."""
    return np.abs(np.arange(pixels) + 0.5 - pixels / 2) / (pixels / 2)


def _map_words(picture: Picture, window: Window) -> Line:
    """A line with every word under the place where it was said."""
    line, labels = blank_line(window.width), []
    events = [event for lane in picture.lanes if lane.look.draw == "map" for event in lane.events.values()]
    for event in sorted(events, key=lambda event: event.end_s):
        first, end = window.span(event)
        labels.append((event, first, max(end - first, cell_len(shown(event.label)) + 2)))
    for event, _, column, width in picture._words.places(labels):
        word = shown(event.label)
        around = width - 2 - cell_len(word)
        text = "╰" + "─" * (around // 2) + word + "─" * (around - around // 2) + "╯"
        put(line, column - window.first, text, BOLD if event.final else PARTIAL)
    return line
