"""Speakers that hubert-mini never heard, its best layer and its learned sum of layers against log-mel, on many clips.

    python benchmarks/speakers.py CORPORA [--teacher hubert-mini] [--draws 5]

The test part of speechocean762 has 125 speakers. Measured are the 125-way task and several 50-way tasks, each on 50
speakers drawn at random, with the same probe on both sides; the best layer is the one that val chooses, task by task.
Writes results/speakers.json.
"""

import argparse
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import write

from speechpress.compressor.distill.process import keep_freed_memory
from speechpress.compressor.evaluate.extract import extract, stores
from speechpress.compressor.evaluate.features import LOG_MEL, of_model
from speechpress.compressor.evaluate.probes import probe, probe_each_layer
from speechpress.compressor.evaluate.solve import class_parts
from speechpress.compressor.evaluate.suite import wanted
from speechpress.compressor.tasks.folder import make_task
from speechpress.compressor.tasks.task import Task
from speechpress.compressor.teachers.load import load_teacher


def drawn(task: Task, classes: int, seed: int) -> Task:
    """The same task on `classes` of its speakers."""
    kept = set(random.Random(seed).sample(sorted(task.classes), classes))
    return replace(task, items=tuple(item for item in task.items if item.target in kept))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--teacher", default="hubert-mini")
    parser.add_argument("--draws", type=int, default=5)
    given = parser.parse_args()
    keep_freed_memory()
    whole = make_task("sid", given.corpora / "speechocean762", max_classes=None)
    mini = "hubert-mini"
    upstreams = {mini: of_model(load_teacher(given.teacher)), "logmel": LOG_MEL}
    tasks = {f"{len(whole.classes)}-way": whole}
    tasks |= {f"50-way, draw {seed}": drawn(whole, 50, seed) for seed in range(given.draws)}
    results: dict[str, Any] = {}
    with stores(None, upstreams) as kept:
        extract(upstreams, wanted([whole]), kept)
        parts = {name: {key: class_parts(task, kept[key])[0] for key in upstreams} for name, task in tasks.items()}
    for name, task in tasks.items():
        scores = {key: probe(parts[name][key], len(task.classes), seeds=3) for key in upstreams}
        layers = probe_each_layer(parts[name][mini], len(task.classes))
        best = max(range(len(layers)), key=lambda layer: layers[layer].val)
        only = {split: part.layer(best) for split, part in parts[name][mini].items()}
        scores["best layer"] = probe(only, len(task.classes), seeds=3)
        results[name] = {
            key: {"test": score.test, "ci95": score.ci95, "val": score.val} for key, score in scores.items()
        }
        results[name]["best layer"] |= {"layer": best, "layers": [layer.test for layer in layers]}
        results[name]["clips"] = task.counts()
        print(name, task.counts(), {key: round(score.test, 4) for key, score in scores.items()}, flush=True)
    write("speakers", {"tasks": results})


if __name__ == "__main__":
    main()
