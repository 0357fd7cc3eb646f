"""The whole mini suite on a student: how long it takes, and whether its scores can be believed.

    python benchmarks/mini_suite.py CHECKPOINT DATA_ROOT [--against OTHER ...] [--seeds 3]

DATA_ROOT holds the suite's corpora, unpacked. Measured in one run, on an empty cache: everything; everything again with
the features kept but all heads trained anew; again with the outcomes kept; and the heads on shuffled labels. The first
two must give the same scores. Writes results/mini_suite.json.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import write

from speechpress.compressor.downstream import Budget
from speechpress.compressor.eval_suite import evaluate_suite
from speechpress.compressor.suites import open_suite

KEPT = ("checkpoint", "layers", "hours", "budget", "against", "tasks", "fidelity", "fidelity_by", "sanity", "notes")


def tell(line: str) -> None:
    print(line, flush=True)


def timed(name: str, seconds: dict[str, float], **settings: Any) -> dict[str, Any]:
    start = time.monotonic()
    result = evaluate_suite(listen=tell, **settings)
    seconds[name] = time.monotonic() - start
    tell(f"== {name}: {seconds[name]:.0f} s")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("data_root", type=Path)
    parser.add_argument("--against", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    seconds: dict[str, float] = {}
    start = time.monotonic()
    problems, notes = open_suite("mini", ["all"], given.data_root)
    seconds["opening"] = time.monotonic() - start
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="mini-suite-") as folder:
        cache = Path(folder)
        settings = {"source": given.checkpoint, "problems": problems, "cache": cache, "workers": threads}
        settings |= {"against": given.against, "budget": Budget(seeds=given.seeds)}
        cold = timed("cold", seconds, **settings)
        size_bytes = sum(path.stat().st_size for path in cache.rglob("*.npy"))
        shutil.rmtree(cache / "outcomes")
        cached = timed("cached features", seconds, **settings)
        if cached["tasks"] != cold["tasks"]:
            raise SystemExit("the scores from cached features are others than those of the first run")
        timed("all kept", seconds, **settings)
        checked = timed("shuffled labels", seconds, **settings, sanity=True)
    seconds["features"] = cold["seconds"]["features"]
    write(
        "mini_suite",
        {
            "threads": threads,
            "seconds": seconds,
            "cache_bytes": size_bytes,
            "left_out": notes,
            **{key: checked[key] for key in KEPT},
        },
    )


if __name__ == "__main__":
    main()
