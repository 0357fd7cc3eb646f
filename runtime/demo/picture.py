"""The scrolling map of features as terminal cells: colour from the features, height from the loudness.

Shapes: n frames.
"""

from collections import deque

import numpy as np
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from .spotting import Hit
from .worker import Chunk

FRAMES_PER_COLUMN = 2
# More than any terminal is wide; older ones are forgotten.
MOST_COLUMNS = 400
FLOOR_DB, TOP_DB = -62.0, -8.0
DIM = 0.20  # brightness of the map where it is not the loudness


def height_of(level_db: float) -> float:
    """Loudness as a share of the height, 0 to 1."""
    # Never 0, so that the colour of silence can be seen too.
    return float(np.clip((level_db - FLOOR_DB) / (TOP_DB - FLOOR_DB), 0.04, 1.0))


class Picture:
    """The last seconds of the stream; drawn with two pixels per cell.

    Args:
        rows: of cells, the line with the words not counted.
        frame_s: seconds from frame to frame.
    """

    def __init__(self, rows: int, frame_s: float) -> None:
        self.rows, self.column_s = rows, FRAMES_PER_COLUMN * frame_s
        self._columns: deque[list[Segment]] = deque(maxlen=MOST_COLUMNS)
        self._hits: deque[Hit] = deque(maxlen=40)
        self._colours, self._levels_db = np.zeros((0, 3), np.uint8), np.zeros(0, np.float32)
        self._t_s = 0.0

    def add(self, chunk: Chunk) -> None:
        """Append a chunk's frames on the right."""
        self._colours = np.concatenate([self._colours, chunk.colours])
        self._levels_db = np.concatenate([self._levels_db, chunk.levels_db])
        # An odd frame waits for its partner of the next chunk.
        whole = len(self._colours) // FRAMES_PER_COLUMN * FRAMES_PER_COLUMN
        for first in range(0, whole, FRAMES_PER_COLUMN):
            part = slice(first, first + FRAMES_PER_COLUMN)
            self._columns.append(self._column(self._colours[part].mean(0), float(self._levels_db[part].max())))
        self._colours, self._levels_db = self._colours[whole:], self._levels_db[whole:]
        self._hits.extend(chunk.words)
        self._t_s = chunk.t_s

    def _column(self, colour: np.ndarray, level_db: float) -> list[Segment]:
        """The cells of one column, from top to bottom; made once and drawn until they have left."""
        # A cell shows an upper half block: one pixel in its colour, one in its background.
        pixels = 2 * self.rows
        away = np.abs(np.arange(pixels) + 0.5 - pixels / 2) / (pixels / 2)
        bright = np.where(away <= height_of(level_db), 1.0, DIM)
        shown = [Color.from_rgb(*(colour * share)) for share in bright]
        return [Segment("▀", Style(color=shown[2 * row], bgcolor=shown[2 * row + 1])) for row in range(self.rows)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        shown = list(self._columns)[-width:]
        left = Segment(" " * (width - len(shown)))
        for row in range(self.rows):
            yield left
            yield from (column[row] for column in shown)
            yield Segment.line()
        yield Segment(self._words(width), Style(bold=True))
        yield Segment.line()

    def _words(self, width: int) -> str:
        """A line with every word under the place where it was said."""
        line = [" "] * width
        for hit in self._hits:
            last = width - 1 - round((self._t_s - hit.end_s) / self.column_s)
            first = width - 1 - round((self._t_s - hit.start_s) / self.column_s)
            label = f"╰{hit.word:─^{max(0, last - first - 1)}}╯"
            for place, letter in enumerate(label, first):
                if 0 <= place < width:
                    line[place] = letter
        return "".join(line)
