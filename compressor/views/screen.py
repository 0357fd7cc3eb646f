"""What a person sees in the terminal: progress of a run, tables of results. Takes plain dicts, prints with rich."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
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
from rich.table import Column, Table
from rich.text import Text

from speechpress.runtime.json_file import json_text

from .fit import fitted


@dataclass
class Screen:
    """Where words go: people's text to stdout, or to stderr when stdout carries one JSON document."""

    json: bool = False
    console: Console = field(init=False)

    def __post_init__(self) -> None:
        silent = int(os.environ.get("RANK", "0")) > 0  # under torchrun the first process speaks
        # No highlighting, which colours numbers inside of names.
        self.console = Console(stderr=self.json, highlight=False, quiet=silent)

    def say(self, *words: RenderableType) -> None:
        """Each on lines of its own: broken between words on a terminal, and not at all in a pipe."""
        for part in fitted(self.console, *words):
            self.console.print(part, overflow="ignore", crop=False, no_wrap=isinstance(part, Text))

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[Callable[[str], None]]:
        """Work of several stages: yields what a stage is announced with, which turns and counts on a terminal."""
        # In a log file, a line per stage; a bar that turns would fill it.
        if not self.console.is_terminal:
            yield self.say
            return
        stage_words = TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold"))
        columns = SpinnerColumn(), TextColumn(f"[bold]{what}"), stage_words, TimeElapsedColumn()
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task("", total=None)
            yield lambda stage: progress.update(task, description=stage)

    def result(self, document: dict[str, Any], *shown: RenderableType) -> None:
        """The outcome of a command: a JSON document with --json, something to look at without."""
        if self.json and not self.console.quiet:
            sys.stdout.write(json_text(document) + "\n")
        else:
            self.say(*shown)


def progress_bar(
    screen: Screen,
    what: str,
    counted: ProgressColumn | None = None,
    *,
    elapsed: bool = False,
    transient: bool = False,
) -> Progress:
    """The bar of a long job: its name, how far it is in two ways, how long it will take or took, its task's `state`."""
    return Bar(
        TextColumn(f"[bold]{what}"),
        # As wide as there is room: it is the first to shrink.
        BarColumn(bar_width=None),
        *([counted] if counted else []),
        TimeElapsedColumn() if elapsed else TimeRemainingColumn(compact=True),
        console=screen.console,
        expand=True,
        transient=transient,
        # In a file or a log, a bar is a line for each of its pictures.
        disable=not screen.console.is_terminal,
    )


class Bar(Progress):
    """A bar with the state of its task under it, which may take several lines."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if state := task.fields.get("state"):
                yield Text(f"  {state}", overflow="fold")


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
    table = Table(show_header=False, box=None)
    for check in checks:
        marks = {True: "[green]ok[/]", False: "[red]fails[/]", None: "[yellow]not run here[/]"}
        # Text: never markup.
        fix = Text(f"\n→ {check['fix']}" if check["fix"] else "", "bold")
        table.add_row(marks[check["ok"]], Text(check["name"]), Text(check["detail"]) + fix)
    return table
