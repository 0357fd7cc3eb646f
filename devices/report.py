"""Profiles side by side: one page that needs no network, and the same figures in Markdown and CSV."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..runtime.atomic import write_text
from ..runtime.errors import SpeechpressError
from ..runtime.escape import counted, csv_cell, markdown_text
from .baseline import Change, changes
from .record import Record, read_record
from .report_charts import COLOURS, Bar, Point, bars, histogram, scatter, timeline
from .scores import common_tasks, mean_quality, words

COLUMNS = {
    "p50_ms": ("p50", "ms", 2),
    "p90_ms": ("p90", "ms", 2),
    "p99_ms": ("p99", "ms", 2),
    "max_ms": ("max", "ms", 2),
    "budget_share": ("of budget", "%", 1),
    "rtf": ("RTF, wall", "", 4),
    "cpu_rtf": ("RTF, CPU", "", 4),
    "streams_per_core": ("streams per core", "", 0),
    "joules_per_h": ("energy", "J/h", 0),
    "load_ms": ("load", "ms", 0),
    "first_chunk_ms": ("first chunk", "ms", 1),
    "peak_rss_bytes": ("peak memory", "MB", 0),
}
OPERATORS_SHOWN, LAYERS_SHOWN = 10, 32
MOST_NAMED = 3  # bundles, in the title


@dataclass(frozen=True)
class Row:
    """One record as the report tells it."""

    letter: str
    colour: int
    title: str
    record: Record
    changes: list[Change] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, str]:
        """Texts by column, with units."""
        return {name: shown(self.record["result"].get(name), name) for name in COLUMNS}

    @property
    def numbers(self) -> dict[str, str]:
        """Texts by column, without units."""
        return {name: text.split(" ")[0] for name, text in self.figures.items()}

    @property
    def verdict(self) -> str | None:
        """worse, better or same as the baseline; None without one."""
        if not self.changes:
            return None
        found = {change.verdict for change in self.changes}
        return next((word for word in ("worse", "better") if word in found), "same")

    @property
    def fidelity(self) -> float | None:
        """Mean held-out cosine of the checkpoint to its teacher; None when its card does not say."""
        layers = self.record["accuracy"]["fidelity"]
        return sum(layer["cosine"] for layer in layers.values()) / len(layers) if layers else None

    @property
    def snr_db(self) -> float | None:
        """Of the program against its checkpoint, as exported; else as found on the device."""
        parity = self.record["accuracy"]["parity"] or self.record["golden"] or {}
        found = parity.get("snr_db")
        return found if found is not None and math.isfinite(found) else None

    def document(self) -> dict[str, Any]:
        """As `compress report --json` tells it."""
        record = self.record
        told = [{"figure": c.figure, "before": c.before, "now": c.now, "noise": c.noise} for c in self.changes]
        return {
            "title": self.title,
            "bundle": record["bundle"]["name"],
            "quantize": record["bundle"]["quantize"],
            "device": record["device"]["address"],
            "chunk_ms": record["settings"]["chunk_ms"],
            "threads": record["settings"]["threads"],
            **{name: record["result"].get(name) for name in COLUMNS},
            "size_bytes": record["bundle"]["size_bytes"],
            "fidelity": self.fidelity,
            "score": mean_quality(record, sorted((record["accuracy"].get("scores") or {}).get("qualities", {}))),
            "snr_db": self.snr_db,
            "warnings": [item["text"] for item in record["warnings"]],
            "finished": record["finished"],
            "verdict": self.verdict,
            "changes": told,
        }


@dataclass(frozen=True)
class View:
    """All that a report shows."""

    rows: list[Row]

    @property
    def title(self) -> str:
        """The bundles by name, each once."""
        names = list(dict.fromkeys(row.record["bundle"]["name"] for row in self.rows))
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        return ", ".join(names[:MOST_NAMED]) + more

    @property
    def regressions(self) -> list[str]:
        return [
            f"{row.title}: {change.words()}" for row in self.rows for change in row.changes if change.verdict == "worse"
        ]

    def document(self) -> dict[str, Any]:
        """What `compress report --json` prints."""
        return {"results": [row.document() for row in self.rows], "regressions": self.regressions}


def find_records(paths: list[Path]) -> list[Record]:
    """Records of files and folders; raises SpeechpressError when there are none, or a file is none."""
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise SpeechpressError(
                f"{path}: there is no such file or folder; `compress profile BUNDLE` makes a record, in ./profiles "
                "unless --out says otherwise"
            )
        files += sorted(path.glob("**/*.json")) if path.is_dir() else [path]
    if not files:
        names = ", ".join(map(str, paths))
        raise SpeechpressError(f"{names}: there are no profiles; make one with `compress profile`")
    return [read_record(path) for path in files]


def build(records: list[Record], baselines: list[Record]) -> View:
    """Give every record its letter, colour and title, and compare it with the baseline."""
    rows = []
    for index, (record, title) in enumerate(zip(records, titles(records), strict=True)):
        rows.append(Row(_letter(index), index % COLOURS, title, record, changes(record, baselines)))
    return View(rows)


def titles(records: list[Record]) -> list[str]:
    """The bundle's name, and as much more as tells the records apart."""
    tellers: list[Callable[[Record], str]] = [
        lambda record: record["bundle"]["name"],
        lambda record: {"none": "fp32"}.get(record["bundle"]["quantize"], record["bundle"]["quantize"]),
        lambda record: record["device"]["model"] or record["device"]["address"],
        lambda record: f"{record['settings']['chunk_ms']:g} ms",
        lambda record: counted(record["settings"]["threads"], "thread"),
        lambda record: record["created"],
    ]
    parts = [[tell(record) for record in records] for tell in tellers]
    used = [column for index, column in enumerate(parts) if index < 2 or len(set(column)) > 1]
    # From the end: what differs but is not needed to tell records apart only makes titles long.
    while len(used) > 2 and len({tuple(row) for row in zip(*used[:-1], strict=True)}) == len(records):
        used.pop()
    return [", ".join(row) for row in zip(*used, strict=True)]


def shown(value: float | None, name: str) -> str:
    """A figure with its unit, or a dash."""
    if value is None:
        return "–"
    _, unit, digits = COLUMNS[name]
    scale = {"%": 100.0, "MB": 1e-6}.get(unit, 1.0)
    return f"{value * scale:.{digits}f}" + (f" {unit}" if unit else "")


def write_html(path: Path, view: View) -> None:
    """One self-contained page: nothing is loaded from anywhere."""
    import jinja2

    # The stylesheet is that of the demo's page.
    places = ("speechpress.devices", "."), ("speechpress.runtime.demo", "page")
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(*place) for place in places])
    # autoescape: names and notes in records are other people's.
    pages = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = pages.get_template("report.html.j2")
    made = datetime.now(UTC).isoformat(sep=" ", timespec="minutes")[:16]
    write_text(path, page.render(view=view, charts=_charts(view), columns=COLUMNS, made=made, tiles=_tiles(view)))


def write_markdown(path: Path, view: View) -> None:
    heads = ["", "bundle", "device", *(title for title, _, _ in COLUMNS.values()), "size", "against baseline"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * 3 + "--:|" * (len(heads) - 4) + "---|"]
    for row in view.rows:
        size = f"{row.record['bundle']['size_bytes'] / 1e6:.1f} MB"
        words = [
            row.letter,
            row.title,
            row.record["device"]["address"],
            *row.figures.values(),
            size,
            row.verdict or "–",
        ]
        lines.append("| " + " | ".join(markdown_text(word) for word in words) + " |")
    for row in view.rows:
        found = [item["text"] for item in row.record["warnings"]]
        found += [f"{change.words()}: {change.verdict}" for change in row.changes]
        lines += [f"\n{row.letter}, {markdown_text(row.title)}: {markdown_text(text)}" for text in found]
    write_text(path, "\n".join(lines) + "\n")


def write_csv(path: Path, view: View) -> None:
    """One line for each record, numbers without units; their units are in the names of the columns."""
    rows = [row.document() for row in view.rows]
    for row in rows:
        row["warnings"] = "; ".join(row["warnings"])
        del row["changes"]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    write_text(path, out.getvalue())


def _letter(index: int) -> str:
    return chr(65 + index) if index < 26 else f"{chr(64 + index // 26)}{chr(65 + index % 26)}"


def _tiles(view: View) -> list[tuple[str, str, str]]:
    """(what, value, which) of the best in each respect."""
    rows = [row for row in view.rows if row.record["result"].get("p50_ms") is not None]
    if not rows:
        return []
    fast = min(rows, key=lambda row: row.record["result"]["p50_ms"])
    small = min(rows, key=lambda row: row.record["bundle"]["size_bytes"])
    fit = sum(not row.record["result"]["over_budget"] for row in rows)
    found = [
        ("fastest chunk, p50", fast.figures["p50_ms"], f"{fast.letter} · {fast.title}"),
        ("smallest program", f"{small.record['bundle']['size_bytes'] / 1e6:.1f} MB", f"{small.letter} · {small.title}"),
        ("p99 within budget", f"{fit} of {len(rows)}", "profiles that keep up with live audio"),
    ]
    known = [row for row in rows if row.fidelity is not None]
    if known:
        best = max(known, key=lambda row: row.fidelity or 0.0)
        found.append(("closest to its teacher", f"{best.fidelity:.3f}", f"{best.letter} · {best.title}, cosine"))
    return found


def _charts(view: View) -> dict[str, Any]:
    timed = [row for row in view.rows if row.record["result"].get("p50_ms") is not None]
    return {
        "scores": _scored(timed),
        "fidelity": _scatter(timed, lambda row: row.fidelity, "cosine to the teacher, held-out speech"),
        "snr": _scatter(timed, lambda row: row.snr_db, "SNR against the checkpoint, dB"),
        "size": bars([_bar(row, row.record["bundle"]["size_bytes"]) for row in view.rows]),
        "memory": bars([_bar(row, row.record["result"]["peak_rss_bytes"]) for row in _with_memory(timed)]),
        "latency": {row.letter: _latency(row) for row in timed},
        "operators": {row.letter: _operators(row) for row in view.rows if row.record["operators"]},
    }


def _scored(rows: list[Row]) -> dict[str, Any] | None:
    """The plot of scores, the tasks in it, and where each record's come from."""
    tasks = common_tasks([row.record for row in rows])
    plot = _scatter(rows, lambda row: mean_quality(row.record, tasks), "mean score, 1 is perfect")
    if plot is None:
        return None
    told = [f"{row.letter}: {words(scores)}" for row in rows if (scores := row.record["accuracy"].get("scores"))]
    return {"plot": plot, "tasks": ", ".join(tasks), "told": told}


def _scatter(rows: list[Row], accuracy: Callable[[Row], float | None], title: str) -> str | None:
    chunks_ms = {row.record["settings"]["chunk_ms"] for row in rows}
    points = []
    for row in rows:
        value, p50_ms = accuracy(row), row.record["result"]["p50_ms"]
        # Chunks of several sizes are only alike as a share of the time that they have.
        x = p50_ms if len(chunks_ms) == 1 else 100 * p50_ms / row.record["settings"]["chunk_ms"]
        if value is not None:
            points.append(Point(row.letter, row.colour, x, value, f"{row.title}: {p50_ms:.2f} ms, {value:.3f}"))
    return (
        scatter(points, "p50 per chunk, ms" if len(chunks_ms) == 1 else "p50, % of the chunk size", title)
        if points
        else None
    )


def _with_memory(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.record["result"]["peak_rss_bytes"]]


def _bar(row: Row, size_bytes: float) -> Bar:
    return Bar(f"{row.letter} · {row.title}", size_bytes, f"{size_bytes / 1e6:.1f} MB", colour=row.colour)


def _latency(row: Row) -> dict[str, str]:
    paces, budget_ms = row.record["paces"], row.record["result"]["budget_ms"]
    values = {name: pace["ms"] for name, pace in paces.items() if pace["ms"]}
    # So many chunks flat out take a moment, and at the pace of audio half a minute: seconds would not compare.
    timed = row.record["settings"]["duration_s"] is not None
    places = {
        name: pace["start_s"] if timed else list(map(float, range(1, len(pace["ms"]) + 1)))
        for name, pace in paces.items()
    }
    lines = {name: (places[name], each) for name, each in values.items()}
    x_title = "time, s" if timed else "chunk number"
    return {
        "histogram": histogram(values, budget_ms, row.colour),
        "timeline": timeline(lines, budget_ms, row.colour, x_title),
    }


def _operators(row: Row) -> dict[str, str]:
    """Bars by operator and by layer; what the backend does not run is drawn in another colour."""
    told = row.record["operators"]
    by_operator = [
        Bar(item["operator"], item["ms"], _time(item), item["ms"] if item["where"] == "outside" else 0.0, row.colour)
        for item in told["by_operator"][:OPERATORS_SHOWN]
    ]
    by_layer = [
        Bar(item["layer"], item["ms"], _time(item), item["outside_ms"], row.colour)
        for item in sorted(told["by_layer"][:LAYERS_SHOWN], key=lambda item: _place(item["layer"]))
    ]
    return {"operator": bars(by_operator), "layer": bars(by_layer)}


def _place(layer: str) -> tuple[int, int]:
    """Where a layer stands in the encoder, from the audio upwards."""
    order = ("front end", "projection", "position convolution", "encoder norm", "layer", "streaming state")
    name, _, number = layer.partition(" ") if layer.startswith("layer ") else (layer, "", "")
    return (order.index(name) if name in order else len(order), int(number) if number.isdecimal() else 0)


def _time(item: dict[str, Any]) -> str:
    return f"{item['ms']:.3f} ms · {item['share']:.1%}"
