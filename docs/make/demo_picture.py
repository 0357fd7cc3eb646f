"""The picture of the terminal demo: `python docs/make/demo_picture.py` writes docs/demo.svg.

The built-in bundle hears clips of the starter's speech, with a word taught as `--teach` teaches it, and the demo's own
screen is drawn after every chunk. The lines of text are the screen's; the map is the screen's last columns after each
chunk, put side by side and moved as the screen moves them. Times per chunk are those of the machine that made it.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np
import soundfile
from rich.color import ColorTriplet
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import DIMMED_MONOKAI as THEME

from speechpress.compressor.cli.demo_open import Taught, latency_of, open_model
from speechpress.compressor.data.audio import read_audio
from speechpress.compressor.starter import SPEECH
from speechpress.compressor.views.screen import Screen as Talk
from speechpress.runtime.choice import built_in
from speechpress.runtime.demo.sources import WavSource
from speechpress.runtime.demo.view_terminal import MAP_ROWS, Facts, Screen
from speechpress.runtime.demo.worker import Stats, listen

PICTURE = Path(__file__).parents[1] / "demo.svg"
CLIPS = ("number-not-answering", "vm-deleted", "vm-msgsaved")
TAUGHT = "vm-message"
COLUMNS, PAUSE_S = 80, 0.35
CELL, ROW, TOP = 9.0, 19.0, 14.0  # of a character, in pixels
CHUNK_S = 0.08  # of the built-in bundle
EVERY, EVERY_LANE = 3, 2  # chunks from one drawing of the text to the next, and of what moves with the map
PAPER, INK = "#11151c", "#d6dae2"


@dataclass(frozen=True)
class Run:
    """Characters of one style in a row; `column` is of the first."""

    column: int
    words: str
    style: Style | None


def recording(folder: Path) -> Path:
    pause = np.zeros(round(16_000 * PAUSE_S), np.float32)
    parts = [part for clip in CLIPS for part in (pause, read_audio(SPEECH / f"audio/en/{clip}.opus"))]
    path = folder / "messages.wav"
    soundfile.write(path, np.concatenate([*parts, pause]), 16_000)
    return path


def drawings() -> Iterator[tuple[list[list[Run]], int]]:
    """The screen's rows after each chunk, and how many columns the map has had by then."""
    talk = Talk(True)
    opened = open_model(built_in(), None, talk)
    taught = Taught.of(opened, None, [f"message={SPEECH / f'audio/en/{TAUGHT}.opus'}"], talk)
    spec = opened.engine.spec
    with tempfile.TemporaryDirectory() as folder:
        source = WavSource(recording(Path(folder)))
        frame_s = spec.hop_samples / spec.sample_rate
        latency_ms, heads = latency_of(opened.engine, 16_000), opened.engine.heads
        facts = Facts(source.name, opened.name, latency_ms, spec.chunk_ms, frame_s, heads)
        screen = Screen(facts, Stats(spec.chunk_ms), taught.spotter, taught.teaching)
        console = Console(width=COLUMNS, color_system="truecolor", force_terminal=True, legacy_windows=False)
        for chunk in listen(source, opened.engine, taught.spotter, taught.teaching):
            screen.add(chunk)
            yield [runs(line) for line in console.render_lines(screen, console.options)], screen.picture._count


def runs(line: list[Segment]) -> list[Run]:
    found, column = [], 0
    for segment in line:
        found.append(Run(column, segment.text, segment.style))
        column += segment.cell_length
    return found


def colour(style: Style | None, back: bool = False) -> str | None:
    chosen = None if style is None else style.bgcolor if back else style.color
    if chosen is None or chosen.is_default:
        return None
    triplet: ColorTriplet = chosen.get_truecolor(THEME, foreground=not back)
    return triplet.hex


def text(row: int, run: Run, extra: str = "") -> str:
    """A run as SVG, stretched to its cells so that no font moves it."""
    words = run.words.rstrip()
    lead = len(words) - len(words.lstrip())
    words = words.lstrip()
    if not words:
        return ""
    fill = f' fill="{colour(run.style)}"' if colour(run.style) else ""
    bold = ' font-weight="bold"' if run.style and run.style.bold else ""
    x, y = (run.column + lead) * CELL, TOP + row * ROW + 14
    return f'<text x="{x:g}" y="{y:g}" textLength="{len(words) * CELL:g}"{fill}{bold}{extra}>{escape(words)}</text>'


def columns_of(rows: list[list[Run]], first: int, count: int) -> list[list[tuple[str, str]]]:
    """The last columns of the map, each from top to bottom: colours of the upper and the lower half of a cell."""
    cells = []
    for row in rows[first : first + MAP_ROWS]:
        flat = [(character, run.style) for run in row for character in run.words]
        inner = flat[2 : COLUMNS - 2][-count:]
        cells.append([(colour(style) or PAPER, colour(style, True) or PAPER) for _, style in inner])
    return [list(column) for column in zip(*cells, strict=True)]


def strip(columns: list[list[tuple[str, str]]]) -> str:
    """All columns of the map side by side; pixels of one colour above each other are one rectangle."""
    parts = []
    for number, column in enumerate(columns):
        row = 0
        for shade, group in groupby(pixel for cell in column for pixel in cell):
            size = len(list(group))
            # A little wider than a cell: no seams.
            x, y, wide, tall = number * CELL, row * ROW / 2, CELL + 0.4, size * ROW / 2 + 0.4
            parts.append(f'<path fill="{shade}" d="M{x:g} {y:g}h{wide:g}v{tall:g}h-{wide:g}z"/>')
            row += size
    return "".join(parts)


def labels(rows: list[list[Run]], row: int, count: int) -> Iterator[Run]:
    """What stands under the map, in columns since the stream began."""
    line = "".join(run.words for run in rows[row])[2 : COLUMNS - 2]
    for filled, group in groupby(enumerate(line), lambda cell: cell[1] != " "):
        cells = list(group)
        if filled:
            yield Run(count - len(line) + cells[0][0], "".join(cell for _, cell in cells), None)


class Film:
    """The drawings as parts of one SVG, each seen for its part of the loop."""

    def __init__(self, drawn: list[tuple[list[list[Run]], int]]) -> None:
        self.drawn, self.whole_s, self.lengths = drawn, len(drawn) * CHUNK_S, set[int]()
        rows = drawn[-1][0]  # the first chunks of a student that answers late have no frames
        heights = {len(now) for now, _ in drawn}
        assert len(heights) == 1, f"a line that breaks moves what is below it: {heights}"
        self.first = next(number for number, row in enumerate(rows) if any("▀" in run.words for run in row))
        self.under = self.first + MAP_ROWS  # the row with the words
        words = next(number for number, row in enumerate(rows) if any("chunk time" in run.words for run in row))
        self.lanes = range(self.under + 1, words)

    def part(self, inner: str, from_s: float, to_s: float) -> str:
        """Something that is seen for a part of the loop only."""
        if from_s == 0 and to_s >= self.whole_s:
            return inner
        length = round((to_s - from_s) * 100)
        self.lengths.add(length)
        last = " end" if to_s >= self.whole_s else ""
        return f'<g class="p k{length}{last}" style="animation-delay:{from_s - self.whole_s:.2f}s">{inner}</g>'

    def lines(self) -> Iterator[str]:
        """The rows around the map; of the map's own rows the frame."""
        for row in range(len(self.drawn[0][0])):
            if self.first <= row <= self.under:
                yield "".join(text(row, run) for run in self.drawn[-1][0][row] if run.words.strip() == "│")
                continue
            every = EVERY_LANE if row in self.lanes else EVERY
            samples = [
                (number * CHUNK_S, now[row]) for number, (now, _) in enumerate(self.drawn) if number % every == 0
            ]
            for content, group in groupby(samples, lambda sample: sample[1]):
                times = [at for at, _ in group]
                inner = "".join(text(row, run) for run in content)
                yield self.part(inner, times[0], min(times[-1] + every * CHUNK_S, self.whole_s))

    def map(self) -> tuple[str, int]:
        """All columns, and how many they are."""
        columns: list[list[tuple[str, str]]] = []
        for now, count in self.drawn:
            columns += columns_of(now, self.first, count - len(columns)) if count > len(columns) else []
        return strip(columns), len(columns)

    def words(self) -> Iterator[str]:
        """Each word under the map, from when it was found."""
        seen: dict[Run, int] = {}
        for number, (now, count) in enumerate(self.drawn):
            for run in labels(now, self.under, count):
                seen.setdefault(run, number)
        for run, number in seen.items():
            yield self.part(text(0, Run(run.column, run.words, Style(bold=True))), number * CHUNK_S, self.whole_s)

    def style(self, end: float) -> str:
        keys = "".join(
            f"@keyframes k{n}{{0%{{visibility:visible}}{n / self.whole_s - 0.02:.3f}%{{visibility:hidden}}}}"
            f".k{n}{{animation-name:k{n}}}"
            for n in sorted(self.lengths)
        )
        start = (COLUMNS - 4) * CELL
        return (
            "text{font:14px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre}"
            f".p{{visibility:hidden;animation:{self.whole_s:.2f}s step-end infinite}}{keys}"
            f"@keyframes go{{from{{transform:translateX({start:g}px)}}to{{transform:translateX({end:g}px)}}}}"
            f".go{{animation:go {self.whole_s:.2f}s steps({len(self.drawn)}) infinite}}"
            "@media(prefers-reduced-motion:reduce){.p,.go{animation:none}.end{visibility:visible}"
            f".go{{transform:translateX({end:g}px)}}}}"
        )

    def svg(self) -> str:
        inner, wide = (COLUMNS - 4) * CELL, COLUMNS * CELL
        tall = len(self.drawn[0][0]) * ROW + 2 * TOP
        lines, words = "".join(self.lines()), "".join(self.words())
        columns, count = self.map()
        return "".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {tall:g}" role="img" fill="{INK}">',
                "<title>The terminal demo on a recording in which the taught word “message” is found</title>",
                f"<style>{self.style(inner - count * CELL)}</style>",
                f'<rect width="{wide:g}" height="{tall:g}" rx="8" fill="{PAPER}"/><clipPath id="m">',
                f'<rect x="{2 * CELL:g}" y="0" width="{inner:g}" height="{tall:g}"/></clipPath>{lines}',
                f'<g clip-path="url(#m)"><g transform="translate({2 * CELL:g} {TOP + self.first * ROW:g})">',
                f'<g class="go">{columns}<g transform="translate(0 {MAP_ROWS * ROW - TOP:g})">',
                f"{words}</g></g></g></g></svg>",
            )
        )


if __name__ == "__main__":
    PICTURE.write_text(Film(list(drawings())).svg() + "\n", encoding="utf-8")
