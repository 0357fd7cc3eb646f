"""A head from features, the best of several seeds; and what a checkpoint's card says of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.sounds import durations_s
from ..evaluate.probes import Tensors, one_thread
from ..evaluate.solve import TaskScore, evaluated, solve_classes, solve_trained
from ..evaluate.store import Features
from ..models.checkpoint import Checkpoint, parameters
from ..models.events import OnText
from ..tasks.kinds import KINDS as TASK_KINDS
from ..tasks.task import Task
from .data import data_line, label_line
from .features import Chunk
from .files import KeptHead
from .judge import threshold_of
from .kinds import KINDS
from .learn import LEARNERS, HeadOptions, made
from .module import Head

SHORTEST_S, LONGEST_S = 0.4, 10.0  # of a classifier's window


@dataclass(frozen=True)
class Learned:
    """A head that was trained, and what is known of it."""

    head: Head
    kind: str
    labels: tuple[str, ...]
    score: TaskScore
    threshold: float | None = None


def learn(task: Task, store: Features, hop_samples: int, options: HeadOptions, say: OnText) -> Learned:
    """The head of a task from features; it is the one of all seeds that is best on val."""
    kind, learner = LEARNERS[task.kind]
    found: list[Tensors] = []
    if learner is None:
        score = solve_classes(task, store, options.budget, found.append)
        labels = task.classes
        return Learned(made(kind, found[0], classes=len(labels)), kind, labels, score)
    with one_thread():
        # Read once beforehand for the scale of the features.
        teaching = learner(task, store, hop_samples, options.shape)
        score = solve_trained(teaching, options.budget, _steps_said(options, say), found.append)
        shape = teaching.head().head
        head = made(kind, found[0], **KINDS[kind].arguments_of(shape))
        labels = ("", *teaching.tokens) if kind == "ctc" else KINDS[kind].labels
        threshold = _threshold(task, teaching, found[0])
    return Learned(head, kind, tuple(labels), score, threshold)


def _steps_said(options: HeadOptions, say: OnText) -> Any:
    """Called at every step: says now and then how many there were."""
    budget = options.budget
    total = len(budget.lrs) * budget.trial.steps + budget.seeds * budget.steps
    done = [0]

    def step() -> None:
        done[0] += 1
        if done[0] % 100 == 0:
            say(f"step {done[0]} of {total}")

    return step


def _threshold(task: Task, teaching: Any, tensors: Tensors) -> float | None:
    if task.kind != "verify":
        return threshold_of(task.kind, np.empty(0))
    head = teaching.head()
    head.load_state_dict({name: value for name, value in tensors.items() if name not in ("scale", "shift")})
    return threshold_of(task.kind, evaluated(teaching, head.eval(), "val"))


def kept_head(name: str, learned: Learned, task: Task, student_sha256: str, card: Mapping[str, Any]) -> KeptHead:
    decoder = decoder_of(learned.kind, task)
    return KeptHead(
        name, learned.kind, learned.head, learned.labels, decoder, learned.threshold, 0.0, student_sha256, card
    )


def decoder_of(kind: str, task: Task) -> dict[str, Any]:
    """Parameters of the decoder; a classifier averages over so long as its training clips usually are."""
    decoder = dict(KINDS[kind].decoder)
    if kind == "classify":
        lengths = sorted(durations_s(item.sound for item in task.part("train")).values())
        decoder["window_s"] = round(min(max(lengths[len(lengths) // 2], SHORTEST_S), LONGEST_S), 1)
    return decoder


def line(
    learned: Learned, task: Task, opened: Checkpoint, chunks: Sequence[Chunk], options: HeadOptions
) -> dict[str, Any]:
    """What card.json says of a head."""
    score, config = learned.score, opened.encoder.config
    return {
        "kind": learned.kind,
        "task": options.task,
        "labels": label_line(learned.labels),
        "metric": task.metric,
        "better": TASK_KINDS[task.kind].better,
        "value": score.test,
        "ci95": list(score.ci95),
        "val": score.val,
        "also": score.also,
        "chance": task.chance,
        "data": data_line(options.data, task.items, task.counts())
        | {"speaker_disjoint": task.speaker_disjoint, "notes": list(task.notes)},
        "seeds": list(score.seeds),
        "steps": options.budget.steps,
        "lr": score.lr,
        "parameters": parameters(learned.head),
        "layer_weights": learned.head.sum.weights.tolist(),
        "chunks_ms": [chunk and config.stream_spec(chunk).chunk_ms for chunk in chunks],
        "finetune": None,
    }
