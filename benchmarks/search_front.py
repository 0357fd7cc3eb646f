"""A small search on real speech: fidelity against latency within a budget, beside the recipe's own student.

    python benchmarks/search_front.py --data FOLDER [--teacher T] [--budget-ms 1] [--steps 40] [--trials 16]

The search is `compress search` itself. A budget is no claim here: what is measured is where the recipe's own shape
stands among those that were found with the same steps, on the same speech, in the same hour. Writes
results/search_front.json and results/search_front.svg. Run again, it goes on where it was.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import common

KEPT = (
    *("trial", "state", "reason", "shape", "parameters", "macs_per_s", "chunk_ms", "p50_ms", "p99_ms", "ms_per_s"),
    *("others_cores", "size_bytes", "fidelity", "train_s", "seconds"),
)


def search(words: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Run or resume `compress search`, and what it says at its end."""
    command = [sys.executable, "-m", "speechpress.compressor.cli.main", "search", "--json", "--out", str(out)]
    for name in ("budget_ms", "steps", "trials", "teacher"):
        if getattr(words, name) is not None:
            command += [f"--{name.replace('_', '-')}", str(getattr(words, name))]
    command += ["--starter"] if words.data is None else ["--data", str(words.data)]
    for setting in ("train.batch=6", "train.crop_s=3", "train.precision=fp32", "train.lr=1e-3"):
        command += ["--set", setting]
    command += ["--resume"] if (out / "search.json").exists() else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--teacher")
    parser.add_argument("--budget-ms", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("searches/front"))
    words = parser.parse_args()
    document = search(words, words.out)
    about = json.loads((words.out / "search.json").read_text())
    rows = [json.loads(line) for line in (words.out / "trials.jsonl").read_text().splitlines()]
    rows = [{name: row[name] for name in KEPT} for row in rows if row["state"] != "running"]
    others = [row["others_cores"] for row in rows if row["others_cores"] is not None]
    shutil.copy(words.out / "front.svg", Path(__file__).parent / "results" / "search_front.svg")
    common.write(
        "search_front",
        {
            "threads": {"program": 1, "training": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))},
            "teacher": Path(about["teacher_card"]["source"]).name,
            "data": {
                "name": words.data.name if words.data else "starter",
                "hours": about["train_h"],
                "held_out_h": about["valid_h"],
            },
            **{name: document[name] for name in ("budget_ms", "steps", "done", "skipped", "failed")},
            "others_cores_median": median(others) if others else None,
            "front": [row["trial"] for row in document["front"]],
            "best": document["best"]["trial"],
            "trials": rows,
        },
    )
    for row in document["front"]:
        print(f"trial {row['trial']}: {row['p50_ms']:.2f} ms, fidelity {row['fidelity']:.3f}, {row['shape']}")


if __name__ == "__main__":
    main()
