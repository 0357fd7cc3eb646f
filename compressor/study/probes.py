"""What the study of layers is made on: the tasks, probes on each layer, and the clips on which layers are compared.

Shapes: S samples.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..data.sounds import read_sound
from ..evaluate.features import some_waves
from ..evaluate.probes import Score, probe, probe_each_layer
from ..evaluate.solve import class_parts
from ..evaluate.store import FeatureStore
from ..models.events import OnText
from ..tasks.folder import COLUMNS, make_task
from ..tasks.mini import mini_task
from ..tasks.task import Task

SUITE_TASKS = ("ks", "ic", "sid", "er")  # of the mini suite those that a mean over time can solve
MOST_CLASSES, MOST_CLIPS = 50, 800
COMPARED_S = 120.0
LABELS = "labels.tsv"


def open_tasks(tasks: Sequence[str], data_root: Path | None = None, data: Path | None = None) -> list[Task]:
    """The tasks to probe: of the mini suite, of a labelled folder, or of the starter speech.

    Raises SpeechpressError for a task that cannot be probed so, missing data, labels that lack something, or too few
    clips.
    """
    names = list(dict.fromkeys(filter(None, map(str.strip, tasks))))
    known = tuple(COLUMNS) if data_root is None else SUITE_TASKS
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"task {unknown[0]!r} cannot be studied here" if unknown else "no task given"
        raise SpeechpressError(
            f"study: {what}; layers are probed with a linear layer on the mean over time, which can do "
            f"{', '.join(known)}"
        )
    # Either would silently win over the other.
    if data_root is not None and data is not None:
        raise SpeechpressError("study: give --data-root (a folder of several corpora) or --data (one), not both")
    if data_root is not None:
        return [mini_task(name, data_root) for name in names]
    return [make_task(name, data, MOST_CLASSES, MOST_CLIPS) for name in names]


def probe_task(task: Task, kept: Mapping[str, FeatureStore], seeds: int, listen: OnText) -> dict[str, Any]:
    """Every layer of the teacher alone, the learned sum of all of them, and the floors; plain JSON.

    `kept` has the features of "teacher", of "logmel", and of "random" where there is one.
    """
    found = layer_scores(task, kept["teacher"], seeds)
    best, layers, weighted = found["best_layer"], found["layers"], found["weighted"]
    listen(f"{task.name}: layer {best} is best with {layers[best]['test']:.3f}, all together {weighted['test']:.3f}")
    names = ("logmel", "random")
    floors = {n: brief(probe(*class_parts(task, kept[n]), seeds)) if n in kept else None for n in names}
    return {
        "metric": task.metric,
        **found,
        **floors,
        "classes": len(task.classes),
        "clips": task.counts(),
        "chance": task.chance,
        "speaker_disjoint": task.speaker_disjoint,
        "notes": list(task.notes),
    }


def layer_scores(task: Task, store: FeatureStore, seeds: int) -> dict[str, Any]:
    """Every layer of an upstream alone, the one that val chooses, and the learned sum of all of them.

    Returns:
        {"best_layer", "layers": [{"layer", "val", "test", "ci95"}], "weighted": the same with "layer_weights"}.
    """
    parts, classes = class_parts(task, store)
    layers = [{"layer": k, **brief(score)} for k, score in enumerate(probe_each_layer(parts, classes, seeds))]
    weighted = probe(parts, classes, seeds)
    return {
        # Chosen on val: the best of many test scores flatters itself.
        "best_layer": max(layers, key=lambda entry: entry["val"])["layer"],
        "layers": layers,
        "weighted": {**brief(weighted), "layer_weights": list(weighted.layer_weights)},
    }


def brief(score: Score) -> dict[str, Any]:
    """What is told of a probe."""
    return {"val": score.val, "test": score.test, "ci95": list(score.ci95)}


def clips_to_compare(tasks: Sequence[Task], device: str) -> list[Tensor]:
    """Test clips of all tasks, (1, S) each, in a fixed random order, up to COMPARED_S."""
    # Tasks may share recordings; each is heard once.
    items = {item.sound: item for task in tasks for item in task.part("test")}
    sounds = [item.sound for item in sorted(items.values(), key=lambda item: item.order)]
    return some_waves(sounds, read_sound, COMPARED_S, device)


def corpora_of(tasks: Sequence[Task]) -> list[Path]:
    """The folders with a labels.tsv that the tasks' recordings lie in."""
    folders = {Path(path).parent for task in tasks for item in task.items for path, _ in item.sound.parts}
    # A recording may lie in a folder below the one with the labels.
    found = {next((up for up in [folder, *folder.parents] if (up / LABELS).is_file()), folder) for folder in folders}
    return sorted(found)
