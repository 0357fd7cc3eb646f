"""The one table of a search: trials.jsonl, a line for each trial that began and one for each that ended.

A row: trial (its number), state, reason (of skipped and failed), shape {key: choice}, parameters, chunk_ms (of the
window, when it does not stream), macs (per chunk), macs_per_s, estimate_ms (per chunk, by earlier rows), p50_ms, p99_ms
(per chunk), over_ms (of the budget; negative within it), ms_per_s (p50 per second of audio), others_cores (used by
other programs meanwhile), size_bytes (of the program), delegated_time, fidelity (mean cosine to the teacher's layers on
held-out speech, as the exported program runs), fidelity_layers, train_s, seconds. null where it was not reached.

States: running; done; skipped (over the budget, so it was not trained); failed.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import atomic, cannot_write, write_text
from speechpress.runtime.escape import csv_cell
from speechpress.runtime.json_file import json_text, read_json_lines
from speechpress.runtime.schema import Anything, Fields, Maybe, Real, Table, Text, Whole, fits

Row = dict[str, Any]
RUNNING, DONE, SKIPPED, FAILED = "running", "done", "skipped", "failed"
COLUMNS = (
    *("trial", "state", "reason", "parameters", "macs", "macs_per_s", "estimate_ms", "size_bytes", "chunk_ms"),
    *("p50_ms", "p99_ms", "over_ms", "ms_per_s", "others_cores", "delegated_time", "fidelity", "train_s", "seconds"),
)
TRIALS = "trials.jsonl"
_NUMBER = Maybe(Real(measured=True))
ROW = Fields(
    {"trial": Whole(0, 10**9), "state": Text(choices=(RUNNING, DONE, SKIPPED, FAILED))},
    {"shape": Table(Anything()), "reason": Maybe(Text(100_000, lines=True)), **dict.fromkeys(COLUMNS[3:], _NUMBER)},
)
AXES = {"chunk": "p50_ms", "second": "ms_per_s"}


@dataclass(frozen=True)
class Rows:
    """The file, to which lines are only added; of several lines on one trial the last one holds."""

    path: Path

    def add(self, row: Row) -> None:
        """Raises SpeechpressError when the disk is full."""
        try:
            # Only ever added to, so a kill spoils one line at most.
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json_text(row) + "\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def read(self) -> list[Row]:
        """One row per trial, by number; a line that a kill cut short is left out."""
        latest: dict[int, Row] = {}
        for _, row in read_json_lines(self.path) if self.path.exists() else ():
            if fits(row, ROW):
                latest[row["trial"]] = row
        return [latest[number] for number in sorted(latest)]

    def restart(self) -> list[Row]:
        """Write the file anew with whole lines only, so that the next one does not end one that was cut short."""
        rows = self.read()
        write_text(self.path, "".join(json_text(row) + "\n" for row in rows))
        return rows


def blank(number: int, shape: Mapping[str, Any]) -> Row:
    """A row of a trial that begins."""
    # Lists, as it will be when read back.
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in shape.items()}
    return dict.fromkeys(COLUMNS) | {"trial": number, "state": RUNNING, "shape": plain, "fidelity_layers": None}


def finished(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["state"] != RUNNING]


def latency(row: Row, axis: str) -> float:
    """The row's latency as measured, or as estimated where it was not."""
    if row[axis] is not None:
        return row[axis]
    # The estimate is per chunk.
    return row["estimate_ms"] * (1.0 if axis == "p50_ms" else 1000 / row["chunk_ms"])


def front(rows: list[Row], axis: str) -> list[Row]:
    """The trained students of which no other one is as fast and as faithful, from the fastest to the most faithful."""
    found: list[Row] = []
    # Of equally fast ones the most faithful first, which then beats the others.
    for row in sorted(_done(rows), key=lambda row: (row[axis], -row["fidelity"], row["trial"])):
        if not found or row["fidelity"] > found[-1]["fidelity"]:
            found.append(row)
    return found


def best(rows: list[Row], axis: str) -> Row | None:
    """The most faithful student within the budget, which is the end of the front."""
    ends = front(rows, axis)
    return ends[-1] if ends else None


def nearest(rows: list[Row]) -> Row | None:
    """The fastest shape of all that were measured."""
    measured = [row for row in rows if row.get("p50_ms") is not None]
    return min(measured, key=lambda row: row["p50_ms"], default=None)


def _done(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["state"] == DONE]


def write_csv(path: Path, rows: list[Row]) -> None:
    """The table for a spreadsheet, a column for each key of the shapes."""
    keys = list(dict.fromkeys(key for row in rows for key in row["shape"]))
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([csv_cell(name) for name in (*COLUMNS, *keys)])
        for row in rows:
            shape = (_cell(row["shape"].get(key)) for key in keys)
            writer.writerow([csv_cell(value) for value in (*(row.get(name) for name in COLUMNS), *shape)])


def _cell(value: Any) -> Any:
    return "-".join(map(str, value)) if isinstance(value, list | tuple) else value
