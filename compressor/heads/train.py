"""`compress head`: labelled speech and a checkpoint -> the checkpoint with a head, and how well it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluate.checks import check_tasks
from ..evaluate.probes import Tensors, one_thread
from ..evaluate.solve import TaskScore, evaluated, solve_classes, solve_trained
from ..evaluate.store import Features
from ..models.checkpoint import WEIGHTS, Checkpoint, load_checkpoint, parameters, sha256
from ..models.events import OnText
from ..tasks.kinds import KINDS as TASK_KINDS
from ..tasks.task import Task
from .cluster import train_units
from .data import data_line, known_wish, label_line, open_task
from .features import Chunk, chunks_of, heard, student_upstream
from .files import KeptHead, checked_name
from .kinds import KINDS
from .learn import LEARNERS, HeadOptions, made
from .module import Head
from .place import check_place, put


@dataclass(frozen=True)
class Learned:
    """A head that was trained, and what is known of it."""

    head: Head
    kind: str
    labels: tuple[str, ...]
    score: TaskScore
    threshold: float | None = None


def train_head(checkpoint: Path, options: HeadOptions, say: OnText) -> dict[str, Any]:
    """Train a head on a student, write it, and tell how well it answers.

    Raises:
        SpeechpressError: no checkpoint, labels that do not fit the task, a name that is taken, or a folder in use.
    """
    wish = known_wish(options.task)
    name = checked_name(options.name or wish.name)
    opened = load_checkpoint(checkpoint)
    # All that can be refused is refused before the first clip is heard.
    check_place(opened, name, options)
    chunks = chunks_of(opened, options.chunks_ms)
    if wish.kind == "units":
        return train_units(opened, name, chunks, options, say)
    task = open_task(options.task, options.data, options.column, options.labels)
    check_tasks([task], [student_upstream(opened.encoder, chunks[0])])
    say(f"{task.name}: {_shown_counts(task)}, heard {_shown_chunks(opened, chunks)}")
    if options.finetune:
        from .finetune import finetuned

        return finetuned(opened, name, task, chunks, options, say)
    features = TASK_KINDS[task.kind].features
    with heard(opened.encoder, task.items, features, chunks, options.cache, options.device, say) as store:
        task = task.without(item.path for item in store.skipped)
        learned = learn(task, store, store.hop_samples, options, say)
    card = line(learned, task, opened, chunks, options)
    kept = kept_head(name, learned, sha256(opened.path / WEIGHTS), card)
    return put(opened, kept, options, say)


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
        threshold = _threshold(kind, teaching, found[0])
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


def _threshold(kind: str, teaching: Any, tensors: Tensors) -> float | None:
    """From which score on it answers: a probability, or the cosine at which val's errors of both kinds are equal."""
    if kind in ("vad", "segment"):
        return 0.5
    if kind != "speaker":
        return None
    head = teaching.head()
    head.load_state_dict({name: value for name, value in tensors.items() if name not in ("scale", "shift")})
    return equal_error_threshold(evaluated(teaching, head.eval(), "val"))


def equal_error_threshold(trials: np.ndarray) -> float:
    """The score at which misses and false alarms are closest, from (N, 2), score and whether it is a target."""
    targets = trials[:, 1] > 0.5
    scores = np.unique(trials[:, 0])
    gaps = [
        abs(float((trials[targets, 0] < one).mean()) - float((trials[~targets, 0] >= one).mean())) for one in scores
    ]
    return float(scores[int(np.argmin(gaps))])


def kept_head(name: str, learned: Learned, student_sha256: str, card: Mapping[str, Any]) -> KeptHead:
    decoder = dict(KINDS[learned.kind].decoder)
    return KeptHead(
        name, learned.kind, learned.head, learned.labels, decoder, learned.threshold, 0.0, student_sha256, card
    )


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


def _shown_counts(task: Task) -> str:
    counts = task.counts()
    return f"{counts['train']} clips to train, {counts['val']} to choose, {counts['test']} to test"


def _shown_chunks(opened: Checkpoint, chunks: Sequence[Chunk]) -> str:
    config = opened.encoder.config
    sizes = [f"{config.stream_spec(chunk).chunk_ms:g}" for chunk in chunks if chunk]
    return f"in chunks of {', '.join(sizes)} ms" if sizes else "as whole recordings"
