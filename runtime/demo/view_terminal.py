"""The live view in a terminal: level, map of the features, time per chunk against its budget, taught words."""

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..answers.head_spec import HeadSpec
from .keyboard import BACKSPACE, ENTER, ESCAPE, HeldKey, keys, read_keys
from .picture import FLOOR_DB, Picture, height_of, shaded
from .spotting import Spotter
from .summary import summary
from .teaching import EXAMPLES, Teaching
from .worker import SILENCE_DB, Chunk, Stats

# 20 pictures a second; drawing costs time that the model needs as well.
DRAW_S = 0.05
MAP_ROWS = 8
FULL, EMPTY = "━", "─"


@dataclass(frozen=True)
class Facts:
    """What does not change while the demo runs."""

    source: str
    model: str
    latency_ms: float
    chunk_ms: float
    frame_s: float
    heads: tuple[HeadSpec, ...] = ()


@dataclass
class Screen:
    """Everything that is on the screen; `add` takes a chunk, `rich` draws it."""

    facts: Facts
    stats: Stats
    spotter: Spotter | None = None
    teaching: Teaching | None = None
    level_db: float = SILENCE_DB
    typed: str | None = None  # the name that is being typed
    picture: Picture = field(init=False)
    heard: deque[tuple[str, float]] = field(default_factory=lambda: deque(maxlen=4))

    def __post_init__(self) -> None:
        self.picture = Picture(MAP_ROWS, self.facts.frame_s, self.facts.heads)

    def add(self, chunk: Chunk) -> None:
        self.stats.add(chunk)
        self.heard.extend((event.label, event.score) for event in self.picture.add(chunk))
        # Falls slowly, as level meters do, so that the eye can follow.
        self.level_db = max(chunk.level_db, self.level_db - 30 * self.facts.chunk_ms / 1000)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        title = Text.assemble((" speechpress ", "bold"), (f"{self.facts.model} ", "cyan"))
        inner = options.update(width=max(1, options.max_width - 4), height=None)
        level, below = self.level(), self.below(inner.max_width, "shade:" if shaded(console) else "colour:")
        # What is left of the window's height is the picture's; 2 are the frame's own.
        taken = len(console.render_lines(Group(level, *below), inner)) + 2
        picture = self.picture.fit(options.height - taken if options.height else None)
        yield Panel(
            Group(level, picture, *below),
            title=title,
            title_align="left",
            subtitle=self.hint(inner.max_width),
            border_style="grey39",
        )

    def below(self, width: int, colour: str) -> list[RenderableType]:
        """What stands under the picture; `colour` is what the map has instead where there are none."""
        means = ((colour, "how it sounds"), ("height:", "how loud"), ("dim:", "may still change"))
        legend = [Text.assemble((name, "grey62"), f" {what}") for name, what in means]
        parts: list[RenderableType] = [self.figures(width)]
        if self.teaching is not None:
            parts.append(self.lesson())
        return [*parts, flow(legend if self.facts.heads else legend[:2], width)]

    def level(self) -> RenderableType:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(ratio=1)
        table.add_column(justify="right", width=9)
        table.add_column(justify="right")
        loud = "red" if self.level_db > -3 else "green" if self.level_db > FLOOR_DB + 20 else "grey50"
        words = f"{self.level_db:.0f} dBFS" if self.level_db > SILENCE_DB else "silence"
        table.add_row(Bar(height_of(self.level_db), loud), words, Text(self.facts.source, "grey62"))
        return table

    def figures(self, width: int) -> RenderableType:
        """Time per chunk as a bar whose full length is the chunk, and the other figures."""
        stats, budget_ms = self.stats, self.facts.chunk_ms
        p50, p99 = stats.percentile_ms(50), stats.percentile_ms(99)
        # Beyond half of the budget, another program on the machine is enough to lose audio.
        colour = "green" if p99 < 0.5 * budget_ms else "yellow" if p99 < budget_ms else "red"
        times = Table.grid(padding=(0, 1), expand=True)
        times.add_column(width=10)
        times.add_column(ratio=1)
        times.add_column(justify="right")
        times.add_row(
            "chunk time",
            Bar(p50 / budget_ms, colour, p99 / budget_ms),
            Text.assemble(
                ("p50 ", "grey62"),
                f"{p50:5.1f} ms  ",
                ("p99 ", "grey62"),
                f"{p99:5.1f} ms  ",
                ("of ", "grey62"),
                f"{budget_ms:g} ms",
            ),
        )
        return Group(times, flow(self._facts(), width))

    def _facts(self) -> list[Text]:
        stats, late_ms = self.stats, self.stats.answer_ms()
        lost = ("bold red", "bold red") if stats.dropped else ("grey62", "bold")
        facts = [
            Text.assemble(("real-time factor ", "grey62"), (f"{stats.real_time_factor:.3f}", "bold")),
            Text.assemble(("dropped blocks ", lost[0]), (f"{stats.dropped}", lost[1])),
            Text.assemble(("latency ", "grey62"), (f"{self.facts.latency_ms:.0f} ms", "bold")),
        ]
        if late_ms is not None:
            facts.append(Text.assemble(("answers ", "grey62"), (f"+{late_ms:.0f} ms", "bold")))
        return facts

    def lesson(self) -> RenderableType:
        assert self.teaching is not None
        lesson = self.teaching.lesson
        known = [word.name for word in self.spotter.words] if self.spotter else []
        dots = "●" * lesson.said + "○" * (EXAMPLES - lesson.said)
        if self.typed is not None:
            ask = Text.assemble("name of the word: ", (self.typed + "▏", "bold"), ("  Enter", "grey62"))
        elif lesson.recording:
            what = f"what is not “{lesson.word}”" if lesson.against else f"“{lesson.word}”"
            ask = Text.assemble(("● recording ", "bold red"), f"say {what} ", (dots, "yellow"))
        else:
            ask = Text.assemble("hold ", ("SPACE", "reverse"), f" and say “{lesson.word}” ", (dots, "yellow"))
        heard = ", ".join(f"{word} {score:.1f}" for word, score in reversed(self.heard))
        lines = Table.grid(padding=(0, 1), expand=True)
        lines.add_column(width=10)
        lines.add_column(ratio=1)
        lines.add_row("teach", Text.assemble(ask, ("   " + lesson.note, "cyan")))
        lines.add_row(
            "words", Text.assemble((", ".join(known) or "none yet", ""), (f"   heard: {heard}", "bold green"))
        )
        return lines

    def hint(self, width: int) -> Text:
        keys = ["SPACE teach", "N not this one", "n name", "x forget"] if self.teaching else []
        # Whole keys only; how to leave comes first in importance, so it is the last to go.
        while keys and len("   ".join([*keys, "q quit"])) + 4 > width:
            keys.pop()
        return Text(f" {'   '.join([*keys, 'q quit'])} ", "grey62")


def flow(items: list[Text], width: int, gap: str = "   ") -> Text:
    """Items beside each other; a line is broken between items only."""
    lines = Text(overflow="ignore", no_wrap=True)
    used = 0
    for item in items:
        if used and used + len(gap) + item.cell_len > width:
            lines.append("\n")
            used = 0
        lines += Text(gap if used else "") + item
        used += (len(gap) if used else 0) + item.cell_len
    return lines


class Bar:
    """A bar as wide as there is room, filled to a share, with a mark at another one."""

    def __init__(self, share: float, colour: str, mark: float | None = None) -> None:
        self.share, self.colour, self.mark = share, colour, mark

    def __rich_console__(self, console: Console, options: object) -> Iterable[RenderableType]:
        width = options.max_width  # type: ignore[attr-defined]
        full = round(min(1.0, self.share) * width)
        text = Text(FULL * full, self.colour) + Text(EMPTY * (width - full), "grey30")
        if self.mark is not None:
            place = min(width - 1, round(self.mark * width))
            text = text[:place] + Text("┃", self.colour) + text[place + 1 :]
        yield text

    def __rich_measure__(self, console: Console, options: object) -> object:
        from rich.measure import Measurement

        return Measurement(4, options.max_width)  # type: ignore[attr-defined]


def watch(chunks: Iterable[Chunk], screen: Screen, console: Console) -> None:
    """Show a stream until it ends or `q` is pressed; a thread infers, this one draws.

    Raises what the stream raises, after the terminal is as it was.
    """
    feed = _Feed(chunks)
    try:
        with (
            contextlib.suppress(KeyboardInterrupt),
            keys() as terminal,
            # No refresh by rich's own thread: it would draw while a chunk is being added.
            Live(screen, console=console, screen=True, auto_refresh=False) as live,
        ):
            hands = _Hands(screen)
            feed.start()
            while feed.going() and not hands.quit:
                select.select([feed.bell] + ([terminal] if terminal is not None else []), [], [], DRAW_S)
                for chunk in feed.take():
                    screen.add(chunk)
                # Also without a key: that a held key was let go is only seen by time passing.
                hands.move(read_keys(terminal) if terminal is not None else "", time.monotonic())
                live.update(screen, refresh=True)
    finally:
        feed.stop()
    # The other screen is gone with Live; the last picture stays in the scrollback.
    console.print(screen)
    lines = summary(screen.stats, screen.facts.heads, console.width)
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    if feed.error is not None:
        raise feed.error


class _Feed:
    """The worker's thread, and a pipe that rings when it has something."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._chunks = chunks
        self.error: BaseException | None = None
        self._waiting: deque[Chunk] = deque()
        self.bell, self._ring = os.pipe()
        # The worker must never wait for whoever draws.
        os.set_blocking(self._ring, False)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def going(self) -> bool:
        return self._thread.is_alive() or bool(self._waiting)

    def take(self) -> list[Chunk]:
        while select.select([self.bell], [], [], 0)[0]:
            os.read(self.bell, 64)
        # By count: the worker appends meanwhile.
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def stop(self) -> None:
        self._stopped = True
        if self._thread.ident is not None:
            # Two seconds: a source that hangs must not keep the user from leaving.
            self._thread.join(timeout=2)

    def _run(self) -> None:
        try:
            for chunk in self._chunks:
                self._waiting.append(chunk)
                os.write(self._ring, b".")
                if self._stopped:
                    return
        except BaseException as error:  # it is raised again in the thread that draws
            self.error = error


class _Hands:
    """What the keys do."""

    def __init__(self, screen: Screen) -> None:
        self._screen, self._space, self.quit = screen, HeldKey(), False
        self._held = ""  # which key that is

    def move(self, pressed: str, now_s: float) -> None:
        for key in pressed:
            if self._screen.typed is not None:
                self._type(key)
            else:
                self._press(key, now_s)
        if self._space.poll(now_s) and self._screen.teaching is not None:
            self._held = ""
            self._screen.teaching.end()

    def _press(self, key: str, now_s: float) -> None:
        teaching = self._screen.teaching
        self.quit = self.quit or key == "q"
        if teaching is None:
            return
        # One key at a time can be held; the other one while it is means nothing.
        if key in (" ", "N") and key == (self._held or key) and self._space.press(now_s):
            self._held = key
            teaching.begin(*([True] if key == "N" else []))
        elif key == "n":
            self._screen.typed = ""
        elif key == "x":
            teaching.forget()

    def _type(self, key: str) -> None:
        typed, teaching = self._screen.typed or "", self._screen.teaching
        if key in ENTER and teaching is not None:
            teaching.name(typed)
        if key in ENTER or key == ESCAPE:
            self._screen.typed = None
        elif key in BACKSPACE:
            self._screen.typed = typed[:-1]
        elif key.isprintable():
            self._screen.typed = typed + key
