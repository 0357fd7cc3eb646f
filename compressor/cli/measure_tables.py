"""What a person sees of profiles: progress while they are made, and tables."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from speechpress.devices.etdump import HEAD, SHARED
from speechpress.devices.record import Record
from speechpress.runtime.escape import counted

from ..views.numbers import megabytes
from ..views.screen import BarView, Screen, progress_bar

PACE_WORDS = {"real": "at the pace of audio", "flat": "flat out"}


class ProfileView(BarView):
    """Listens to a profile's events: a live bar on a terminal, a line for each phase elsewhere."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.bar = progress_bar(screen, "{task.description}", elapsed=True, transient=True)
        self.task = self.bar.add_task("reaching the device", total=None, state="")
        self.settings: dict[str, Any] = {}
        self.done, self.elapsed_s = 0, 0.0

    def __call__(self, event: dict[str, Any]) -> None:
        # Not as in BarView: the far side also tells what has no picture, such as samples of the machine.
        act = getattr(self, f"_{event['event']}", None)
        if act is not None:
            act(event)

    def _begin(self, event: dict[str, Any]) -> None:
        record = event["record"]
        self.settings, device = record["settings"], record["device"]
        model = device["model"] or device["chipset"] or "an unknown device"
        known = f", known as {device['known']}" if device["known"] else ""
        self.screen.say(Text(f"device: {device['address']}, {model}{known}"))

    def _say(self, event: dict[str, Any]) -> None:
        self.screen.say(Text(f"note: {event['text']}", style="yellow"))

    def _push(self, event: dict[str, Any]) -> None:
        self._phase(f"copying {megabytes(event['size_bytes'])}")

    def _start(self, event: dict[str, Any]) -> None:
        words = {"golden": "checking the golden clip", "time": "loading", "trace": "tracing operators"}
        self._phase(words[event["phase"]])

    def _golden(self, event: dict[str, Any]) -> None:
        if event["ok"]:
            self.screen.say(f"golden clip: matches on the device (SNR {event['snr_db']:.1f} dB)")

    def _pace(self, event: dict[str, Any]) -> None:
        self.done, self.elapsed_s = 0, 0.0
        duration_s = self.settings["duration_s"]
        total = duration_s if duration_s is not None else self.settings["chunks"][event["pace"]]
        self._phase(f"timing {PACE_WORDS[event['pace']]}", total)

    def _chunks(self, event: dict[str, Any]) -> None:
        self.done += len(event["ms"])
        self.elapsed_s = event["start_s"][-1]
        # In seconds where a duration was asked for: how many chunks fit is only known afterwards.
        completed = self.done if self.settings["duration_s"] is None else self.elapsed_s
        self.bar.update(
            self.task, completed=completed, state=f"{counted(self.done, 'chunk')}, latest {event['ms'][-1]:.2f} ms"
        )

    def _stopping(self, event: dict[str, Any]) -> None:
        self.screen.say("stopping; what was measured is kept")

    def _phase(self, words: str, total: float | None = None) -> None:
        self.bar.reset(self.task, description=words, total=total, state="")
        if not self.screen.console.is_terminal:
            self.screen.say(words)


def summary(record: Record, out: Path) -> dict[str, Any]:
    """What `compress profile --json` prints; the raw values are in the record."""
    settings, operators = record["settings"], record["operators"]
    stopped = {"error": record["stopped"]["message"]} if record["stopped"] else {}
    return {
        "out": str(out),
        "device": record["device"]["address"],
        "bundle": record["bundle"]["name"],
        "quantize": record["bundle"]["quantize"],
        "threads": settings["threads"],
        "chunk_ms": settings["chunk_ms"],
        **record["result"],
        "golden": record["golden"],
        "engine": record["device"].get("engine"),
        "outside_share": operators["outside_share"] if operators else None,
        "warnings": record["warnings"],
        "finished": record["finished"],
        **stopped,
    }


def profile_table(record: Record) -> RenderableType:
    """The figures of one record, for a terminal."""
    settings, result, bundle = record["settings"], record["result"], record["bundle"]
    title = (
        f"{bundle['name']}, {bundle['quantize']}, {settings['chunk_ms']:g} ms, {counted(settings['threads'], 'thread')}"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("pace")
    for name in ("chunks", "p50 ms", "p90 ms", "p99 ms", "max ms"):
        table.add_column(name, justify="right")
    for name, pace in record["paces"].items():
        if pace["ms"]:
            figures = (f"{pace[key]:.2f}" for key in ("p50_ms", "p90_ms", "p99_ms", "max_ms"))
            table.add_row(PACE_WORDS[name], str(len(pace["ms"])), *figures)
    # Text, not str: rich would take brackets in a message for markup.
    lines = [Text(line) for line in _lines(result)] if result["p50_ms"] is not None else []
    engine = record["device"].get("engine")  # older records have none
    lines += [Text(f"engine: {engine['about']}")] if engine else []
    warnings = [Text(f"warning: {item['text']}", style="yellow") for item in record["warnings"]]
    return Group(table, *lines, *_operator_tables(record["operators"]), *warnings)


def _lines(result: dict[str, Any]) -> list[str]:
    peak = result["peak_rss_bytes"]
    memory = f", peak memory {megabytes(peak)}" if peak else ""
    streams, energy = result["streams_per_core"], result.get("joules_per_h")
    return [
        f"p99 is {result['budget_share']:.1%} of the budget of {result['budget_ms']:g} ms; real-time factor "
        f"{result['rtf']:.4f} by the clock"
        + (f", {1 / streams:.4f} of CPU time; {streams:.0f} streams keep one core busy" if streams else ""),
        *([f"{energy:.0f} J for an hour of audio, of the whole machine"] if energy else []),
        f"loaded in {result['load_ms']:.0f} ms, first chunk {result['first_chunk_ms']:.1f} ms{memory}",
    ]


def _operator_tables(operators: dict[str, Any] | None) -> list[RenderableType]:
    if operators is None:
        return []
    by_operator = Table(title="by operator", title_justify="left", box=box.SIMPLE_HEAD)
    by_layer = Table(title="by layer", title_justify="left", box=box.SIMPLE_HEAD)
    for table, names in ((by_operator, ("operator", "runs")), (by_layer, ("layer",))):
        for name in names:
            table.add_column(name)
        for name in ("ms", "share"):
            table.add_column(name, justify="right")
    # The costliest; the record and the report have the others.
    for row in operators["by_operator"][:8]:
        by_operator.add_row(row["operator"], row["where"], f"{row['ms']:.3f}", f"{row['share']:.1%}")
    for row in operators["by_layer"][:12]:
        by_layer.add_row(row["layer"], f"{row['ms']:.3f}", f"{row['share']:.1%}")
    outside = Text(f"not delegated: {operators['outside_share']:.1%} of the time")
    return [by_operator, by_layer, outside, *_head_lines(operators["by_layer"])]


def _head_lines(rows: list[dict[str, Any]]) -> list[Text]:
    """The share of a chunk's time that each head takes, and what they have in common."""
    shares = [f"{row['layer']} {row['share']:.1%}" for row in rows if row["layer"].startswith((f"{HEAD} ", SHARED))]
    return [Text(f"heads: {', '.join(shares)} of the time of a chunk")] if shares else []


def report_table(document: dict[str, Any]) -> Table:
    """One line for each record of a report."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("bundle", "device"):
        table.add_column(name)
    for name in ("chunk ms", "p50 ms", "p99 ms", "rtf", "against baseline"):
        table.add_column(name, justify="right")
    for row in document["results"]:
        figures = (_number(row[key], digits) for key, digits in (("p50_ms", 2), ("p99_ms", 2), ("rtf", 4)))
        table.add_row(row["title"], row["device"], f"{row['chunk_ms']:g}", *figures, row["verdict"] or "")
    return table


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
