"""What the study of layers is made on: the tasks, probes on each layer, and the clips on which layers are compared.

Shapes: S samples.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from .events import OnText
from .feature_store import FeatureStore
from .features import some_waves
from .mini_suite import class_problem, mini_problem
from .probes import Score, probe, probe_each_layer
from .problems import Problem
from .solve import class_parts
from .sounds import read_sound
from .starter import SPEECH
from .tasks import COLUMNS

SUITE_TASKS = ("ks", "ic", "sid", "er")  # of the mini suite those that a mean over time can solve
MOST_CLASSES, MOST_CLIPS = 50, 800
COMPARED_S = 120.0
LABELS = "labels.tsv"


def open_problems(tasks: Sequence[str], data_root: Path | None = None, data: Path | None = None) -> list[Problem]:
    """The tasks to probe: of the mini suite, of a labelled folder, or of the starter speech.

    Raises SpeechpressError for a task that cannot be probed so, missing data, labels that lack something, or too few
    clips.
    """
    names = list(dict.fromkeys(filter(None, map(str.strip, tasks))))
    known = tuple(COLUMNS) if data_root is None else SUITE_TASKS
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"task {unknown[0]!r} cannot be studied here" if unknown else "no task was named"
        raise SpeechpressError(
            f"study: {what}; layers are probed with a linear layer on the mean over time, which can do "
            f"{', '.join(known)}"
        )
    if data_root is not None and data is not None:
        raise SpeechpressError("study: give --data-root (a folder of several corpora) or --data (one), not both")
    if data_root is not None:
        return [mini_problem(name, data_root) for name in names]
    return [class_problem(name, data or SPEECH, name, MOST_CLASSES, MOST_CLIPS) for name in names]


def probe_problem(problem: Problem, kept: Mapping[str, FeatureStore], seeds: int, listen: OnText) -> dict[str, Any]:
    """Every layer of the teacher alone, the learned sum of all of them, and the floors; plain JSON.

    `kept` has the features of "teacher", of "logmel", and of "random" where there is one.
    """
    parts, classes = class_parts(problem, kept["teacher"])
    layers = [{"layer": k, **brief(score)} for k, score in enumerate(probe_each_layer(parts, classes, seeds))]
    best = max(layers, key=lambda entry: entry["val"])["layer"]
    weighted = probe(parts, classes, seeds)
    listen(f"{problem.name}: layer {best} is best with {layers[best]['test']:.3f}, all together {weighted.test:.3f}")
    names = ("logmel", "random")
    floors = {n: brief(probe(*class_parts(problem, kept[n]), seeds)) if n in kept else None for n in names}
    return {
        "metric": problem.metric,
        "best_layer": best,
        "layers": layers,
        "weighted": {**brief(weighted), "layer_weights": list(weighted.layer_weights)},
        **floors,
        "classes": classes,
        "clips": problem.counts(),
        "chance": problem.chance,
        "speaker_disjoint": problem.speaker_disjoint,
        "notes": list(problem.notes),
    }


def brief(score: Score) -> dict[str, Any]:
    """What is told of a probe."""
    return {"val": score.val, "test": score.test, "ci95": list(score.ci95)}


def clips_to_compare(problems: Sequence[Problem], device: str) -> list[Tensor]:
    """Test clips of all tasks, (1, S) each, in a fixed random order, up to COMPARED_S."""
    items = {item.sound: item for problem in problems for item in problem.part("test")}
    sounds = [item.sound for item in sorted(items.values(), key=lambda item: item.order)]
    return some_waves(sounds, read_sound, COMPARED_S, device)


def corpora_of(problems: Sequence[Problem]) -> list[Path]:
    """The folders with a labels.tsv that the tasks' recordings lie in."""
    folders = {Path(path).parent for problem in problems for item in problem.items for path, _ in item.sound.parts}
    found = {next((up for up in [folder, *folder.parents] if (up / LABELS).is_file()), folder) for folder in folders}
    return sorted(found)
