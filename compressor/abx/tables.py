"""Results of `compress eval --tasks abx` for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .cells import MODES

Errors = Sequence[float]


def abx_tables(result: Mapping[str, Any]) -> list[RenderableType]:
    """A row for each upstream with the best layer's errors and intervals; then every layer's, also of units."""
    items = result["items"]
    title = f"ABX error in percent, {items['used']} of {items['tokens']} tokens of {items['path']}"
    table = Table(title=f"{title}: {result['checkpoint']}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    modes = [mode for mode in MODES if f"abx-{mode}" in result["tasks"]]
    for column in (*(word for mode in modes for word in (f"{mode} speakers", "minus student")), "best layer"):
        table.add_column(column, justify="right")
    for name, detail in result["abx"].items():
        cells = (cell for mode in modes for cell in _cells(result["tasks"][f"abx-{mode}"], name))
        table.add_row(name, *cells, f"{detail['best']} of {detail['layers'] - 1}")
    notes = [f"note: {note}" for note in result["notes"]]
    return [table, _by_layer(result), Text("\n".join([*notes, f"took {result['seconds']['all'] / 60:.1f} min"]))]


def _cells(task: Mapping[str, Any], name: str) -> Iterator[str]:
    low, high = task["ci95"][name]
    yield f"{percent(task[name])}\n{percent(low)}–{percent(high)}"
    apart = task["minus_student"].get(name)
    yield "" if apart is None else "{}\n{} to {}".format(*map(_signed, (apart["difference"], *apart["ci95"])))


def _by_layer(result: Mapping[str, Any]) -> Table:
    table = Table(title="by layer", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("speakers")
    for layer in range(max(detail["layers"] for detail in result["abx"].values())):
        table.add_column(str(layer), justify="right")
    for name, detail in result["abx"].items():
        for said, mode, errors in _rows(name, detail):
            table.add_row(said, mode, *map(percent, errors))
    return table


def _rows(name: str, detail: Mapping[str, Any]) -> Iterator[tuple[str, str, Errors]]:
    yield from ((name, mode, detail[mode]) for mode in MODES if mode in detail)
    units = dict(detail.get("units", {}))
    count = units.pop("count", 0)
    for way, by_mode in units.items():
        yield from ((f"  in {count} units, {way}", mode, errors) for mode, errors in by_mode.items())


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _signed(value: float) -> str:
    return f"{100 * value:+.2f}"
