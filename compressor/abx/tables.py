"""Results of `compress eval --tasks abx` for people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..evaluate.tables import probe_tables
from .asked import UNTRAINED, VOICES
from .cells import MODES

Errors = Sequence[float]
ROWS = {
    "student": "student",
    UNTRAINED: "itself before training",
    "logmel": "log-mel",
    "random": "random weights",
    "teacher": "teacher",
}


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


def quick_tables(result: Mapping[str, Any]) -> list[RenderableType]:
    """The quick measure: what stands in `voices`, then probes and fidelity as `probe_tables` shows them."""
    entry = result["tasks"].get(VOICES)
    rest = {name: task for name, task in result["tasks"].items() if name != VOICES}
    return [*([] if entry is None else voices_tables(entry)), *probe_tables({**result, "tasks": rest})]


def voices_tables(entry: Mapping[str, Any]) -> list[RenderableType]:
    """The student beside log-mel, random weights and the teacher, and what the figures mean."""
    table = Table(title="phones across two voices: ABX error in percent, 50 is chance", title_justify="left")
    for column in ("", "error", "95 %", "minus student", "95 %"):
        table.add_column(column, justify="right" if column else "left")
    for name, title in ROWS.items():
        if entry.get(name) is not None:
            table.add_row(title, *_error(entry[name], entry["ci95"][name]), *_apart(entry, name))
    facts = f"{entry['tokens']} tokens of {entry['phones']} English phones in {entry['recordings']} prompts"
    lines = [verdict(entry), f"{facts}, last layers", *(f"note: {note}" for note in entry["notes"])]
    return [table, Text("\n".join(lines))]


FLOORS = ("logmel", "random", UNTRAINED)


def verdict(entry: Mapping[str, Any]) -> str:
    """Whether the student is better or worse than what needs no training, by the paired intervals."""
    floors = {name: entry["minus_student"][name]["ci95"] for name in FLOORS if entry.get(name) is not None}
    return "the student is " + ", ".join(
        f"{_apart_by(ends)} {ROWS[name]} ({_signed(ends[0])} to {_signed(ends[1])})" for name, ends in floors.items()
    )


def _apart_by(ends: Errors) -> str:
    """In words, from the interval of another's error minus the student's."""
    low, high = ends
    if low > 0:
        return "clearly better than"
    return "clearly worse than" if high < 0 else "not clearly better than"


def _error(value: float, ends: Errors) -> tuple[str, str]:
    return f"{100 * value:.1f}", f"{100 * ends[0]:.1f}–{100 * ends[1]:.1f}"


def _apart(entry: Mapping[str, Any], name: str) -> tuple[str, str]:
    apart = entry["minus_student"].get(name)
    if apart is None:
        return "", ""
    low, high = apart["ci95"]
    return f"{100 * apart['difference']:+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}"


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
