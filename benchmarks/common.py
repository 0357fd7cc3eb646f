"""What the benchmarks share: alternating timing, the machine's facts, other processes' load, JSON beside the table."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from speechpress.runtime.json_file import json_text


def machine() -> dict[str, Any]:
    """Processor, cores and versions."""
    cpu = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    return {"cpu": cpu, "cores": os.cpu_count(), "torch": torch.__version__, "python": platform.python_version()}


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


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


def write(name: str, document: dict[str, Any]) -> None:
    """Write benchmarks/results/NAME.json."""
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json_text({"machine": machine(), **document}, indent=1) + "\n")


def read(name: str) -> dict[str, Any]:
    """benchmarks/results/NAME.json, so that a script can measure a part anew; empty when it is not there."""
    path = Path(__file__).parent / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}
