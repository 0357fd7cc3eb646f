"""How well a finished head answers on a task's clips, from the layers that any student gives; nothing is trained.

Shapes: T frames, L layers, D width, W columns.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..data.sounds import identity
from ..evaluate.experts import trials
from ..evaluate.probes import wilson
from ..evaluate.solve import TaskScore
from ..evaluate.store import Features
from ..tasks.kinds import GRID_SAMPLES, Item, speech_frames
from ..tasks.metrics import (
    accuracy,
    bootstrap,
    detection_counts,
    diarization_counts,
    edit_counts,
    equal_error_rate,
    error_rate,
    half_total_error,
)
from ..tasks.task import Task
from .module import Head

STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "classify": accuracy,
    "ctc": error_rate,
    "words": lambda counts: error_rate(counts[:, :2]),
    "verify": equal_error_rate,
    "speech": half_total_error,
    "diarize": error_rate,
}


def judged(
    head: Head, labels: Sequence[str], task: Task, store: Features, hop_samples: int
) -> tuple[TaskScore, float | None]:
    """The score on test and val, and the threshold that val suggests, where the kind has one."""
    counts = {split: counted(head, labels, task, store, hop_samples, split) for split in ("val", "test")}
    statistic = STATISTICS[task.kind]
    test = statistic(counts["test"])
    interval = (
        wilson(test, len(counts["test"])) if task.kind == "classify" else bootstrap(counts["test"][None], statistic)
    )
    also = {"CER": error_rate(counts["test"][:, 2:])} if task.kind == "words" else {}
    score = TaskScore(test, statistic(counts["val"]), interval, (test,), tuple(head.sum.weights.tolist()), also=also)
    return score, threshold_of(task.kind, counts["val"])


def threshold_of(kind: str, val: np.ndarray) -> float | None:
    """From which score on it answers: a probability, or the cosine at which val's errors of both kinds are equal."""
    if kind in ("speech", "diarize"):
        return 0.5
    return equal_error_threshold(val) if kind == "verify" else None


def equal_error_threshold(found: np.ndarray) -> float:
    """The score at which misses and false alarms are closest, from (N, 2), score and whether it is a target."""
    targets = found[:, 1] > 0.5
    scores = np.unique(found[:, 0])
    gaps = [abs(float((found[targets, 0] < one).mean()) - float((found[~targets, 0] >= one).mean())) for one in scores]
    return float(scores[int(np.argmin(gaps))])


@torch.inference_mode()
def counted(head: Head, labels: Sequence[str], task: Task, store: Features, hop_samples: int, split: str) -> np.ndarray:
    """(N, K), what the task's statistic adds up, of the clips of a split."""
    items = task.part(split)
    outputs = [whole(head, store.frames(identity(item.sound))).numpy() for item in items]
    pairs = task.pairs if split == "test" else ()
    return counts_of(task.kind, labels, items, outputs, hop_samples, pairs)


def whole(head: Head, frames: np.ndarray) -> Tensor:
    """Frames (T, L, D) of a recording -> the head's first output, (T, W) or (1, W)."""
    layers = torch.from_numpy(np.array(frames)).float()[None]
    return head(layers, torch.ones(layers.shape[:2], dtype=torch.bool), head.initial_state())[0][0][0]


def counts_of(
    kind: str,
    labels: Sequence[str],
    items: Sequence[Item],
    outputs: Sequence[np.ndarray],
    hop_samples: int,
    pairs: Sequence[tuple[int, int, bool]] = (),
) -> np.ndarray:
    """(N, K), what `STATISTICS` of the kind of task adds up, from the first output of each clip, (T, W) or (1, W).

    `pairs` are the trials of voices that a corpus brings along.
    """
    if kind == "verify":
        voices = [one[0] for one in outputs]
        return np.array([(float(voices[a] @ voices[b]), same) for a, b, same in pairs or trials(items)])
    rows = [_counts(kind, labels, item, one, hop_samples) for item, one in zip(items, outputs, strict=True)]
    return np.array(rows, float)


def said_by(logits: np.ndarray, labels: Sequence[str]) -> list[str]:
    """Greedy: the best label of each frame (T, V), without repeats and blanks (0)."""
    best = logits.argmax(-1)
    return [labels[b] for b, before in zip(best, [0, *best[:-1]], strict=True) if b and b != before]


def _counts(kind: str, labels: Sequence[str], item: Item, logits: np.ndarray, hop_samples: int) -> tuple[float, ...]:
    if kind == "classify":
        # A clip's class is that of the mean of its frames' logits.
        return (float(labels[int(logits.mean(0).argmax())] == item.target),)
    if kind in ("ctc", "words"):
        said = said_by(logits, labels)
        own = edit_counts(item.target, said)
        if kind == "ctc":
            return own
        return (*edit_counts("".join(item.target).split(), "".join(said).split()), *own)
    if kind == "speech":
        return detection_counts(speech_frames(item.target, len(logits), hop_samples), logits[:, 0] > 0)
    wanted = np.asarray(item.target, bool)
    bins = np.minimum(np.arange(len(logits)) * hop_samples // GRID_SAMPLES, len(wanted) - 1)
    sums = np.zeros((len(wanted), 2))
    np.add.at(sums, bins, logits)
    # Labels may be longer than the frames by a bin; what both have is compared.
    return diarization_counts(wanted[: bins[-1] + 1], (sums > 0)[: bins[-1] + 1])
