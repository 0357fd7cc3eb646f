"""How well a finished head answers on a task's clips, from the layers that any student gives; nothing is trained.

Shapes: T frames, L layers, D width, W columns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechpress.runtime.answers.words import vector_of
from speechpress.runtime.errors import SpeechpressError

from ..data.formats.choose import parse_source
from ..data.sounds import identity, read_sound
from ..evaluate.experts import trials
from ..evaluate.heads import greedy
from ..evaluate.probes import wilson
from ..evaluate.solve import TaskScore
from ..evaluate.store import Features
from ..models.config import SAMPLE_RATE
from ..tasks.kinds import GRID_SAMPLES, Item, is_error, speech_frames
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
from .data import fingerprint, open_task
from .files import KeptHead
from .module import Head

CLIPS, SPEECH_S = 100, 300.0  # at most so many, and so much of them, are heard
Outputs = Mapping[str, np.ndarray]  # (T, W), or (1, W) about the whole clip, by the name of the output
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "classify": accuracy,
    "ctc": error_rate,
    "words": lambda counts: error_rate(counts[:, :2]),
    "verify": equal_error_rate,
    "match": equal_error_rate,
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
    if kind in ("verify", "match"):
        voices = [one[0] if kind == "verify" else vector_of(one) for one in outputs]
        return np.array([(float(voices[a] @ voices[b]), same) for a, b, same in pairs or trials(items)])
    rows = [_counts(kind, labels, item, one, hop_samples) for item, one in zip(items, outputs, strict=True)]
    return np.array(rows, float)


def said_by(logits: np.ndarray, labels: Sequence[str]) -> list[str]:
    """What `greedy` makes of logits (T, V), as labels."""
    return [labels[token] for token in greedy(torch.from_numpy(logits)[None], torch.tensor([len(logits)]))[0]]


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
    return turn_counts(item.target, logits, hop_samples)


def turn_counts(target: np.ndarray, logits: np.ndarray, hop_samples: int) -> tuple[int, int]:
    """`diarization_counts` every 100 ms, by the sum of the frames' logits (T, 2), of what is true there (bins, 2)."""
    wanted = np.asarray(target, bool)
    bins = grid_bins(len(logits), len(wanted), hop_samples)
    sums = np.zeros((len(wanted), 2))
    np.add.at(sums, bins, logits)
    # Labels may be longer than the frames by a bin; what both have is compared.
    return diarization_counts(wanted[: bins[-1] + 1], (sums > 0)[: bins[-1] + 1])


def grid_bins(frames: int, bins: int, hop_samples: int) -> np.ndarray:
    """(frames,), in which bin of 100 ms each lies."""
    return np.minimum(np.arange(frames) * hop_samples // GRID_SAMPLES, bins - 1)


@dataclass(frozen=True)
class HeldOut:
    """Test clips of the speech that a head was trained on: waves (S,), and what is right."""

    kind: str  # of the task
    metric: str
    items: tuple[Item, ...]
    waves: tuple[np.ndarray, ...]

    @property
    def lower_is_better(self) -> bool:
        return is_error(self.metric)

    @property
    def seconds(self) -> float:
        return sum(map(len, self.waves)) / SAMPLE_RATE


def held_out(head: KeptHead, shortest: int) -> HeldOut:
    """Its clips of at least so many samples, spread over the test part.

    Raises SpeechpressError where the card names no such speech, it cannot be found, or it is no longer the same.
    """
    card = head.card
    told = card.get("data")
    told = told if isinstance(told, dict) else {}
    source = told.get("source")
    if not source or not card.get("task"):
        raise SpeechpressError("its card names no speech that it was tested on")
    if head.kind == "units":
        raise SpeechpressError("units have no right answers")
    if not parse_source(source).path.exists():
        raise SpeechpressError(f"its speech is not available ({source})")
    task = open_task(str(card["task"]), Path(source))
    if told.get("fingerprint") != fingerprint(task.items):
        raise SpeechpressError(f"its speech has changed since, or other labels of it were taken ({source})")
    part = task.part("test")
    items, waves, left = [], [], SPEECH_S * SAMPLE_RATE
    for item in part[:: max(1, len(part) // CLIPS)][:CLIPS]:
        wave = read_sound(item.sound)
        if len(wave) < shortest or len(wave) > left:
            continue
        left -= len(wave)
        items.append(item)
        waves.append(np.asarray(wave, np.float32))
    if len(items) < 2:
        raise SpeechpressError(f"its speech holds fewer than two clips to test on ({source})")
    return HeldOut(task.kind, task.metric, tuple(items), tuple(waves))


def figure(head: KeptHead, clips: HeldOut, rows: Sequence[Outputs], hop_samples: int) -> float:
    """The metric of the head's task over all clips, of whose outputs there is one entry each."""
    first = [next(iter(outputs.values())) for outputs in rows]
    return STATISTICS[clips.kind](counts_of(clips.kind, head.labels, clips.items, first, hop_samples))
