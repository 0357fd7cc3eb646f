"""A study in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from speechpress.runtime.escape import counted

from .report import study_view


def study_tables(document: Mapping[str, Any]) -> list[RenderableType]:
    """Each layer, the floors, students, the suggestion with its reasons, and what has to be said."""
    view, suggestion, comparison = study_view(document), document["suggestion"], document["comparison"]
    shown: list[RenderableType] = [
        _table(
            "test accuracy of probes on each layer alone (* best on val), weights of the learned sum", view["layers"]
        ),
        _table("beside it", view["floors"]),
    ]
    if view["students"] and not comparison:
        shown.append(_table("students", view["students"]))
    if comparison:
        title = f"students at {counted(comparison['steps'], 'step')} each, recipe {comparison['recipe']}"
        shown.append(_table(title, view["arms"], words=2))
    shown += [Text(f"{n}. {step['reason']}") for n, step in enumerate(suggestion["steps"], 1)]
    shown.append(Text(suggestion["reason"], style="bold"))
    if comparison:
        shown += [
            Text(line, style="bold" if n == len(comparison["verdict"]) else "") for n, line in _numbered(comparison)
        ]
    return [*shown, *(Text(f"note: {note}") for note in view["notes"])]


def _numbered(comparison: Mapping[str, Any]) -> list[tuple[int, str]]:
    return list(enumerate(comparison["verdict"], 1))


def _table(title: str, content: tuple[list[str], list[list[str]]], words: int = 1) -> Table:
    heads, rows = content
    table = Table(title=title, title_justify="left")
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index < words else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
