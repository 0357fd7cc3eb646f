"""What a person sees in the terminal: progress of a run, tables of results. Takes plain dicts, prints with rich."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from speechpress.runtime.json_file import json_text


@dataclass
class Screen:
    """Where words go: people's text to stdout, or to stderr when stdout carries one JSON document."""

    json: bool = False
    console: Console = field(init=False)

    def __post_init__(self) -> None:
        silent = int(os.environ.get("RANK", "0")) > 0  # under torchrun the first process speaks
        # No highlighting, which colours numbers inside of names; soft wrap keeps a long path in one piece.
        self.console = Console(stderr=self.json, highlight=False, soft_wrap=True, quiet=silent)

    def say(self, *words: RenderableType) -> None:
        self.console.print(*words)

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[Callable[[str], None]]:
        """Work of several stages: yields what a stage is announced with, which turns and counts on a terminal."""
        # In a log file, a line per stage; a bar that turns would fill it.
        if not self.console.is_terminal:
            yield self.say
            return
        columns = SpinnerColumn(), TextColumn(f"[bold]{what}"), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task("", total=None)
            yield lambda stage: progress.update(task, description=stage)

    def result(self, document: dict[str, Any], *shown: RenderableType) -> None:
        """The outcome of a command: a JSON document with --json, something to look at without."""
        if self.json and not self.console.quiet:
            sys.stdout.write(json_text(document) + "\n")
        else:
            self.console.print(*shown)


def progress_bar(screen: Screen, what: str, counted: ProgressColumn) -> Progress:
    """The bar of a long job: its name, how far it is in two ways, its task's `state`, and how long it will take."""
    return Progress(
        TextColumn(f"[bold]{what}"),
        BarColumn(),
        counted,
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(compact=True),
        console=screen.console,
        disable=not screen.console.is_terminal,
    )


class BarView:
    """Hears events and shows a bar meanwhile; an event "x" goes to the method `_x`."""

    bar: Progress

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        getattr(self, f"_{event['event']}")(event)


def checks_table(checks: list[dict[str, Any]]) -> Table:
    """Checks with what to do about those that fail."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for check in checks:
        marks = {True: "[green]ok[/]", False: "[red]fails[/]", None: "[yellow]not run here[/]"}
        mark = marks[check["ok"]]
        table.add_row(mark, *(Text(check[key]) for key in ("name", "detail", "fix")))  # Text: never markup
    return table
