"""The whole mini suite on a student: how long it takes, and whether its scores can be believed.

    python benchmarks/mini_suite.py CHECKPOINT DATA_ROOT [--against OTHER ...] [--seeds 3] [--cache FOLDER]

DATA_ROOT holds the suite's corpora, unpacked. Measured in one run, on an empty cache: everything; everything again with
the features kept but all heads trained anew; again with the outcomes kept; and the heads on shuffled labels. The first
two must give the same scores. Seconds are told as they pass and of the processor, which differ where other programs
run. A folder given with --cache is kept; where it is not empty the first of the four is left out. Writes
results/mini_suite.json, anew after each of them, so that one that is cut short leaves what it has.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from common import write

from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.suite import evaluate_suite
from speechpress.compressor.tasks.suites import open_suite
from speechpress.compressor.tasks.task import Task

KEPT = (
    *("checkpoint", "layers", "hours", "budget", "against", "tasks", "kept_above_floor"),
    *("fidelity", "fidelity_by", "sanity", "notes"),
)


def tell(line: str) -> None:
    print(line, flush=True)


def measured(source: Path | str, tasks: Sequence[Task], **settings: Any) -> dict[str, Any]:
    """`evaluate_suite` on all cores, told line by line."""
    return evaluate_suite(source, tasks, workers=torch.get_num_threads(), listen=tell, **settings)


def timed(name: str, seconds: dict[str, Any], **settings: Any) -> dict[str, Any]:
    start, cpu = time.monotonic(), time.process_time()
    result = measured(**settings)
    seconds[name] = {
        "wall": time.monotonic() - start,
        "cpu": time.process_time() - cpu,
        "features_wall": result["seconds"]["features"],
    }
    tell(f"== {name}: {seconds[name]}")
    return result


def table(tasks: dict[str, Any], against: list[str]) -> str:
    """Markdown, with 95 % intervals."""
    names = ["student", *against, "teacher", "random", "logmel"]
    lines = ["| task | blind guess | " + " | ".join(names) + " | shuffled labels |", "|---" * (len(names) + 3) + "|"]
    for name, task in tasks.items():
        cells = [f"{name}, {task['metric']}", f"{task['chance']:.2f}"]
        cells += [f"{task[one]:.3f} ({task['ci95'][one][0]:.2f}–{task['ci95'][one][1]:.2f})" for one in names]
        lines.append("| " + " | ".join([*cells, f"{task['shuffled']['test']:.3f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("data_root", type=Path)
    parser.add_argument("--against", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    tasks, notes = open_suite("mini", ["all"], given.data_root)
    seconds: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mini-suite-") as temporary:
        cache = given.cache or Path(temporary)
        fresh = not cache.is_dir() or not any(cache.iterdir())
        settings = {"source": given.checkpoint, "tasks": tasks, "cache": cache}
        settings |= {"against": given.against, "budget": Budget(seeds=given.seeds)}
        facts: dict[str, Any] = {"threads": torch.get_num_threads(), "left_out": notes, "seconds": seconds}
        first = timed("first run", seconds, **settings) if fresh else None
        facts["cache_bytes"] = sum(path.stat().st_size for path in cache.rglob("*.npy"))
        shutil.rmtree(cache / "outcomes", ignore_errors=True)
        cached = timed("cached features", seconds, **settings)
        if first is not None and cached["tasks"] != first["tasks"]:
            raise SystemExit("the scores from cached features are others than those of the first run")
        record(facts, cached)
        timed("all kept", seconds, **settings)
        checked = timed("shuffled labels", seconds, **settings, sanity=True)
    tell(table(checked["tasks"], checked["against"]))
    record(facts, checked)


def record(facts: dict[str, Any], result: dict[str, Any]) -> None:
    write("mini_suite", {**facts, **{key: result[key] for key in KEPT}})


if __name__ == "__main__":
    main()
