"""Each kind of task solved on one upstream's features: the sweep on val, the seeds, the score on test.

Shapes: N clips, K counts.
"""

import hashlib
import math
import socket
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechpress.runtime.atomic import write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text

from ..cluster import executor as executing
from ..cluster.executor import PROCESSES
from ..data.sounds import identity
from ..models.checkpoint import read_json, write_tensors
from ..models.events import OnText
from ..tasks.kinds import KINDS, SPLITS, Item, is_error
from ..tasks.metrics import accuracy, interval, resampled
from ..tasks.task import Task
from . import probes
from .experts import HEADS, TaskHead
from .features import Upstream
from .heads import Budget, Head, train
from .probes import Part, Parts, Tensors, probed, wilson
from .qbe import solve_search
from .store import Features, FeatureStore

Keep = Callable[[Tensors], None]


@dataclass(frozen=True)
class TaskScore:
    """A task on one upstream: `test` and `val` are means over the seeds, in the task's metric.

    `also` holds further metrics; `lr` and `weight_decay` are what val chose and `layer_weights` what was learned, where
    there is any. `draws` are the score over test clips (speakers, queries) drawn anew, the same ones for every
    upstream, so that differences between upstreams are paired; empty where that is not known.
    """

    test: float
    val: float
    ci95: tuple[float, float]
    seeds: tuple[float, ...]
    layer_weights: tuple[float, ...] = ()
    lr: float | None = None
    also: dict[str, float] = field(default_factory=dict)
    weight_decay: float | None = None
    draws: tuple[float, ...] = ()

    @property
    def std(self) -> float:
        """Standard deviation over the seeds (0 for a single one)."""
        return float(torch.tensor(self.seeds).std()) if len(self.seeds) > 1 else 0.0


def solve(
    task: Task,
    store: FeatureStore,
    hop_samples: int,
    budget: Budget,
    keep: Keep | None = None,
) -> TaskScore:
    """Solve any task on features that are in the store; `hop_samples` is the upstream's.

    `keep` is given the numbers of the head
    that is best on val, and its scale of features; not of folds, which have a head each, nor where nothing is trained.
    """
    if task.folds:
        # Folds are other clips, so other ones are drawn in each.
        return averaged([solve_classes(fold, store, budget, seed=seed) for seed, fold in enumerate(task.folds)], task)
    kind = KINDS[task.kind]
    if kind.features == "means":
        return solve_classes(task, store, budget, keep)
    if not kind.trained:
        return TaskScore(**solve_search(task, store))
    task_head = HEADS[task.kind](task, store, hop_samples)
    with probes.one_thread():
        return solve_trained(task_head, budget, keep=keep)


def averaged(scores: list[TaskScore], task: Task) -> TaskScore:
    """The mean over folds of a classification; the interval is that of all their test clips."""
    test = float(np.mean([score.test for score in scores]))
    weights = np.mean([score.layer_weights for score in scores], axis=0)
    return TaskScore(
        test=test,
        val=float(np.mean([score.val for score in scores])),
        ci95=wilson(test, sum(len(fold.part("test")) for fold in task.folds)),
        seeds=tuple(np.mean([score.seeds for score in scores], axis=0).tolist()),
        layer_weights=tuple(weights.tolist()),
        draws=_kept_draws(np.mean([score.draws for score in scores], axis=0)),
    )


def solve_classes(task: Task, store: Features, budget: Budget, keep: Keep | None = None, *, seed: int = 0) -> TaskScore:
    """Keywords, intents, speakers, emotions: a mean over time and a linear layer, as SUPERB has them.

    `seed` is that of the draws.
    """
    found, tensors = probed(*class_parts(task, store), budget.seeds)
    if keep is not None:
        keep(tensors)
    score = asdict(found)
    hits = np.array(score.pop("hits"))
    return TaskScore(**score, draws=_kept_draws(resampled(hits[None, :, None], accuracy, seed=seed)))


def _kept_draws(values: np.ndarray) -> tuple[float, ...]:
    # Rounded, because they are kept on disk by the hundred.
    return tuple(np.round(values, 6).tolist())


def class_parts(task: Task, store: Features) -> tuple[Parts, int]:
    """Means and class numbers of every split, and how many classes there are."""
    classes = task.classes
    parts = {}
    for split in SPLITS:
        items = task.part(split)
        answers = torch.tensor([classes.index(item.target) for item in items])
        parts[split] = Part(store.means([identity(item.sound) for item in items]), answers)
    return parts, len(classes)


def solve_trained(
    task_head: TaskHead,
    budget: Budget,
    breathe: Callable[[], None] = lambda: None,
    keep: Keep | None = None,
) -> TaskScore:
    """Sweep the learning rate on val with one seed and short trials, train the best with every seed, test each.

    `breathe` is called at every step; `keep` as in `solve`.
    """
    sign = 1 if is_error(task_head.task.metric) else -1
    statistic = type(task_head).statistic
    swept = []
    for lr in budget.lrs:
        # Every rate with the same seed: val is to choose the rate, not the luck of a start.
        head = train(task_head, budget.trial, lr, 0, breathe)
        swept.append((sign * statistic(evaluated(task_head, head, "val")), lr))
    _, lr = min(swept, key=lambda entry: entry[0])
    heads = [train(task_head, budget, lr, seed, breathe) for seed in range(budget.seeds)]
    val = [statistic(evaluated(task_head, head, "val")) for head in heads]
    if keep is not None:
        best = heads[int(np.argmin([sign * one for one in val]))]
        keep({**best.state_dict(), "scale": task_head.frames.scale, "shift": task_head.frames.shift})
    counts = np.stack([evaluated(task_head, head, "test") for head in heads])
    seeds = tuple(statistic(one) for one in counts)
    draws = task_head.resampled(counts)
    weights = torch.stack([head.mix.weights.detach() for head in heads]).mean(0)
    return TaskScore(
        test=float(np.mean(seeds)),
        val=float(np.mean(val)),
        ci95=interval(draws),
        seeds=seeds,
        layer_weights=tuple(weights.tolist()),
        lr=lr,
        also=task_head.also(counts),
        draws=_kept_draws(draws),
    )


@torch.inference_mode()
def evaluated(task_head: TaskHead, head: Head, split: str) -> np.ndarray:
    return task_head.in_order(task_head.counts(head, split), split)


@dataclass(frozen=True)
class Job:
    """One task on one upstream; `label` says which task it is, when there are several of a name."""

    label: str
    task: Task
    upstream: str


SCHEMA = 6  # to be raised when a head, its training or a metric changes


class ScoreStore:
    """A folder of scores; without one, nothing is kept."""

    def __init__(self, cache: Path | None) -> None:
        self.folder = None if cache is None else cache / "outcomes"

    def get(self, key: str) -> TaskScore | None:
        """What was kept under `score_key`; None when there is nothing, or nothing that can be read."""
        if self.folder is None or not (self.folder / f"{key}.json").is_file():
            return None
        try:
            found = read_json(self.folder / f"{key}.json")
            values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
            return TaskScore(**values)
        # TypeError: another version wrote other fields; the task is then solved anew.
        except (SpeechpressError, TypeError):
            return None

    def put(self, key: str, score: TaskScore) -> None:
        if self.folder is not None:
            write_json(self.folder / f"{key}.json", asdict(score))

    def head_path(self, key: str) -> Path:
        """Where the head of a score lies, if it was kept."""
        assert self.folder is not None
        return self.folder / f"{key}.safetensors"


def solve_jobs(
    jobs: Sequence[Job],
    upstreams: Mapping[str, Upstream],
    kept: Mapping[str, FeatureStore],
    budget: Budget,
    scores: ScoreStore,
    workers: int,
    listen: OnText,
    executor: str = PROCESSES,
) -> dict[tuple[str, str], TaskScore]:
    """Scores by (label, upstream); the same numbers whatever `workers` and `executor` are.

    A score is kept as soon as it is there, so that a run that is interrupted goes on where it was.

    Raises SpeechpressError, with its label, for the first job that fails; the others are ended.
    """
    found = Found(listen, len(jobs))
    waiting: dict[str, tuple[Job, str]] = {}
    for job in jobs:
        upstream = upstreams[job.upstream]
        # Without a key nothing says what the score is of, so it is not kept.
        key = score_key(job.task, upstream.key, budget) if upstream.key else ""
        score = scores.get(key) if key else None
        if score is not None:
            found.take(job, score, known=True)
        else:
            waiting[f"{job.label} {job.upstream}"] = job, key

    def work(job: Job, key: str) -> tuple[Any, ...]:
        # Of the student alone: nobody hangs heads on what it is only compared with.
        kept_head = key and job.upstream == "student" and job.label == job.task.name and scores.folder is not None
        head = scores.head_path(key) if kept_head else None
        return job.task, kept[job.upstream].folder, upstreams[job.upstream].hop_samples, budget, head

    def ended(name: str, score: TaskScore) -> None:
        job, key = waiting[name]
        if key:
            scores.put(key, score)
        found.take(job, score, known=False)

    tasks = [executing.Job(name, solve_there, work(*what)) for name, what in waiting.items()]
    if len(tasks) < 2 or (workers == 1 and executor == PROCESSES):
        for one in tasks:
            ended(one.name, one.function(None, *one.arguments))
        return found.scores
    with tempfile.TemporaryDirectory(prefix="speechpress-") as folder:
        log = Path(folder) / "workers.log"
        with executing.open_executor(executor, min(workers, len(tasks)), log) as pool:
            executing.run_jobs(pool, tasks, done=ended)
    return found.scores


def solve_there(
    desk: object, task: Task, folder: Path, hop_samples: int, budget: Budget, head: Path | None
) -> TaskScore:
    """Solve a task in a worker; its head goes to `head`, and its features come from the store in `folder`.

    Raises SpeechpressError where that folder is not seen from here.
    """
    if not folder.is_dir():
        raise SpeechpressError(
            f"{folder}: {socket.gethostname()} does not see the features; give a --cache on a disk that all nodes share"
        )
    store = FeatureStore(folder.parent, folder.name)
    keep = None if head is None else partial(write_tensors, head)
    # torch on one thread, since the heads are small; workers are what fills the cores.
    with probes.one_thread():
        return solve(task, store, hop_samples, budget, keep)


class Found:
    """The scores so far, and what is said of each."""

    def __init__(self, listen: OnText, count: int) -> None:
        self.listen, self.count = listen, count
        self.scores: dict[tuple[str, str], TaskScore] = {}
        self._started, self._solved = time.monotonic(), 0

    def take(self, job: Job, score: TaskScore, *, known: bool) -> None:
        self.scores[job.label, job.upstream] = score
        self._solved += not known
        self.listen(self._line(job, score, known))

    def _line(self, job: Job, score: TaskScore, known: bool) -> str:
        done = len(self.scores)
        # Scores kept from before took no time, and say nothing about what is left.
        each_s = (time.monotonic() - self._started) / max(1, self._solved)
        left_s = each_s * (self.count - done)
        left = f", about {math.ceil(left_s / 60)} min left" if done < self.count and not known else ""
        said = f"{job.label} {job.upstream}: {job.task.metric} {score.test:.3f}"
        return f"{said}{' (kept from before)' if known else ''}  [{done} of {self.count}{left}]"


def score_key(task: Task, upstream_key: str, budget: Budget) -> str:
    """A hash of everything that a score depends on; `upstream_key` is `features.Upstream.key`."""
    facts = [SCHEMA, upstream_key, asdict(budget), _facts(task)]
    return hashlib.sha256(json_text(facts, ascii=True).encode()).hexdigest()[:32]


def _facts(task: Task) -> list[Any]:
    items = [[identity(item.sound), item.split, item.query, _answer(item)] for item in task.items]
    folds = [_facts(fold) for fold in task.folds]
    return [task.kind, task.metric, KINDS[task.kind].stack_samples > 0, task.pairs, items, folds]


def _answer(item: Item) -> Any:
    if isinstance(item.target, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(item.target).tobytes()).hexdigest()
    # A set has no order of its own, and the key must not depend on one.
    return sorted(item.target) if isinstance(item.target, frozenset) else item.target
