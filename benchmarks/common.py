"""What the benchmarks share: alternating timing, other processes' load, results with their provenance."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import write_text
from speechpress.runtime.json_file import json_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def machine() -> dict[str, Any]:
    """Processor, cores and system."""
    cpu = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.platform()}


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def compress(*words: object, folder: Path | None = None) -> None:
    """Run a command of ours, in a folder; raises CalledProcessError when it fails."""
    subprocess.run([sys.executable, "-m", "speechpress.compressor.cli.main", *map(str, words)], check=True, cwd=folder)


def busy_s() -> float:
    """CPU seconds that all processes of the machine have used since it started (Linux), less idle and waiting."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0.0
    values = [int(value) for value in path.read_text().splitlines()[0].split()[1:9]]
    return (sum(values) - values[3] - values[4]) / os.sysconf("SC_CLK_TCK")


def alternate(sides: dict[str, Callable[[], object]], rounds: int, warmup: int = 1) -> dict[str, Any]:
    """Time every side in turn, `rounds` times; median, quartiles and all values in ms, and the CPU used by others."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(warmup):
        for call in sides.values():
            call()
    before, own_before = busy_s(), time.process_time()
    started = time.perf_counter()
    for _ in range(rounds):
        for name, call in sides.items():
            start = time.perf_counter()
            call()
            values[name].append((time.perf_counter() - start) * 1000)
    wall = time.perf_counter() - started
    others = max(0.0, busy_s() - before - (time.process_time() - own_before))
    result: dict[str, Any] = {name: _summary(times) for name, times in values.items()}
    result["others_cpu_share"] = others / wall
    return result


def _summary(times: list[float]) -> dict[str, Any]:
    quartiles = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return {"median_ms": statistics.median(times), "q1_ms": quartiles[0], "q3_ms": quartiles[2], "all_ms": times}


def versions() -> dict[str, str | None]:
    """Of Python and of the libraries that what is measured is made of; None for one that is not installed as such."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("torch", "executorch", "speechpress"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def stamp() -> dict[str, Any]:
    """The commit that the run began with, whether files differed from it, and the time; for a part of a file."""
    return {
        "commit": _STARTED.commit,
        "dirty": _STARTED.dirty,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _dirty() -> bool | None:
    # Results are what a run writes, so they make no tree dirty.
    changed = _git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/results")
    return None if changed is None else bool(changed)


def _git(*words: str) -> str | None:
    """What git says; None without git, or outside of a checkout."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _commit() -> str | None:
    """Of the checkout; a copy without .git, on a machine that is rented by the hour, is told by SPEECHPRESS_COMMIT."""
    return _git("rev-parse", "HEAD") or os.environ.get("SPEECHPRESS_COMMIT")


def provenance() -> dict[str, Any]:
    """Where figures come from: commit, date, machine, versions, and how much of the machine others used meanwhile.

    "others_cpu_share" is in cores, since this module was imported.
    """
    spent = os.times()
    own = spent.user + spent.system + spent.children_user + spent.children_system
    others = max(0.0, busy_s() - _STARTED.busy_s - (own - _STARTED.own_s))
    share = others / max(1e-9, time.perf_counter() - _STARTED.clock_s)
    return {**stamp(), "machine": machine(), "versions": versions(), "others_cpu_share": round(share, 3)}


@dataclass(frozen=True)
class _Start:
    """What is so when a run begins: while it lasts somebody may commit."""

    commit: str | None
    dirty: bool | None
    clock_s: float
    busy_s: float
    own_s: float


_STARTED = _Start(_commit(), _dirty(), time.perf_counter(), busy_s(), sum(os.times()[:4]))


def write(name: str, document: dict[str, Any]) -> None:
    """Write benchmarks/results/NAME.json, all of it from this run; see `Parts` for a file that keeps some."""
    _write(name, {"provenance": provenance(), **document})


def _write(name: str, document: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / f"{name}.json", json_text(document, indent=1) + "\n")


def fill_table(page: str, head: str, rows: list[list[str]]) -> None:
    """Put rows of cells below this header line of a page, instead of those that are there."""
    path = ROOT / page
    before, found, after = path.read_text(encoding="utf-8").partition(f"{head}\n")
    if not found:
        raise SystemExit(f"{page}: has no table {head}")
    lines = after.splitlines(keepends=True)
    rest = next((index for index, line in enumerate(lines) if not line.startswith("|")), len(lines))
    table = [head, "|---" * (head.count("|") - 1) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    write_text(path, before + "\n".join(table) + "\n" + "".join(lines[rest:]))


def read(name: str) -> dict[str, Any]:
    """benchmarks/results/NAME.json; empty when it is not there."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


class Parts(dict[str, Any]):
    """A results file that is measured part by part: what it held before stays, with the provenance that it had."""

    def __init__(self, name: str) -> None:
        old = read(name)
        before = old.pop("provenance", None)
        # Files of older versions had the machine of their last part only.
        if "machine" in old:
            before = {**(before or {}), "machine": old.pop("machine")}
        super().__init__(old)
        self._name = name
        whole = dict.fromkeys(old, before)
        self._parts = before["parts"] if isinstance(before, dict) and "parts" in before else whole

    def put(self, **parts: Any) -> None:
        """Add parts of this run, and write the file."""
        now = Parts(self._name)  # another script may have added its own since this one began
        self.update(now)
        self._parts = now._parts
        self.update(parts)
        self._parts = {**self._parts, **dict.fromkeys(parts, provenance())}
        _write(self._name, {"provenance": {"parts": self._parts}, **self})
