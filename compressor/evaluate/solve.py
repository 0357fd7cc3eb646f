"""Each kind of task solved on one upstream's features: the sweep on val, the seeds, the score on test.

Shapes: N clips, K counts.
"""

import hashlib
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechpress.runtime.atomic import write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text

from ..data.sounds import identity
from ..models.checkpoint import read_json, write_tensors
from ..models.events import OnText
from ..tasks.kinds import KINDS, SPLITS, Item, is_error
from ..tasks.metrics import bootstrap
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
    there is any.
    """

    test: float
    val: float
    ci95: tuple[float, float]
    seeds: tuple[float, ...]
    layer_weights: tuple[float, ...] = ()
    lr: float | None = None
    also: dict[str, float] = field(default_factory=dict)
    weight_decay: float | None = None

    @property
    def std(self) -> float:
        """Standard deviation over the seeds (0 for a single one)."""
        return float(torch.tensor(self.seeds).std()) if len(self.seeds) > 1 else 0.0


def solve(
    task: Task,
    store: FeatureStore,
    hop_samples: int,
    budget: Budget,
    breathe: Callable[[], None] = lambda: None,
    keep: Keep | None = None,
) -> TaskScore:
    """Solve any task on features that are in the store; `hop_samples` is the upstream's.

    `breathe` is called at every step of training; what it raises ends the work. `keep` is given the numbers of the head
    that is best on val, and its scale of features; not of folds, which have a head each, nor where nothing is trained.
    """
    if task.folds:
        return averaged([solve(fold, store, hop_samples, budget, breathe) for fold in task.folds], task)
    kind = KINDS[task.kind]
    if kind.features == "means":
        return solve_classes(task, store, budget, keep)
    if not kind.trained:
        return TaskScore(**solve_search(task, store))
    task_head = HEADS[task.kind](task, store, hop_samples)
    with probes.one_thread():
        return solve_trained(task_head, budget, breathe, keep)


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
    )


def solve_classes(task: Task, store: Features, budget: Budget, keep: Keep | None = None) -> TaskScore:
    """Keywords, intents, speakers, emotions: a mean over time and a linear layer, as SUPERB has them."""
    score, tensors = probed(*class_parts(task, store), budget.seeds)
    if keep is not None:
        keep(tensors)
    return TaskScore(**asdict(score))


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
    """Sweep the learning rate on val with one seed and short trials, train the best with every seed, test each."""
    sign = 1 if is_error(task_head.task.metric) else -1
    statistic = type(task_head).statistic
    swept = []
    for lr in budget.lrs:
        # Every rate with the same seed: val is to choose the rate, not the luck of a start.
        head = train(task_head, budget.trial, lr, seed=0, breathe=breathe)
        swept.append((sign * statistic(evaluated(task_head, head, "val")), lr))
    _, lr = min(swept, key=lambda entry: entry[0])
    heads = [train(task_head, budget, lr, seed, breathe) for seed in range(budget.seeds)]
    val = [statistic(evaluated(task_head, head, "val")) for head in heads]
    if keep is not None:
        best = heads[int(np.argmin([sign * one for one in val]))]
        keep({**best.state_dict(), "scale": task_head.frames.scale, "shift": task_head.frames.shift})
    counts = np.stack([evaluated(task_head, head, "test") for head in heads])
    seeds = tuple(statistic(one) for one in counts)
    weights = torch.stack([head.mix.weights.detach() for head in heads]).mean(0)
    return TaskScore(
        test=float(np.mean(seeds)),
        val=float(np.mean(val)),
        ci95=bootstrap(counts, statistic),
        seeds=seeds,
        layer_weights=tuple(weights.tolist()),
        lr=lr,
        also=task_head.also(counts),
    )


@torch.inference_mode()
def evaluated(task_head: TaskHead, head: Head, split: str) -> np.ndarray:
    return task_head.counts(head, split)


@dataclass(frozen=True)
class Job:
    """One task on one upstream; `label` says which task it is, when there are several of a name."""

    label: str
    task: Task
    upstream: str


class _Stopped(Exception):
    """Raised inside of a job that is no longer wanted."""


SCHEMA = 5  # to be raised when a head, its training or a metric changes


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

    def keep(self, key: str) -> Keep | None:
        """What takes the numbers of the head that was scored; they lie beside its score."""
        return None if self.folder is None or not key else lambda tensors: write_tensors(self.head_path(key), tensors)

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
) -> dict[tuple[str, str], TaskScore]:
    """Scores by (label, upstream); the same numbers whatever `workers` is.

    A score is kept as soon as it is there, so that a run that is interrupted goes on where it was.
    """
    run = _Run(upstreams, kept, budget, scores, listen, len(jobs))
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    # torch on one thread each, since the heads are small; workers are what fills the cores.
    with probes.one_thread():
        if workers == 1:
            run.work(waiting)
        else:
            _in_threads(run, waiting, workers)
    return run.found


class _Run:
    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        kept: Mapping[str, FeatureStore],
        budget: Budget,
        scores: ScoreStore,
        listen: OnText,
        count: int,
    ) -> None:
        self.upstreams, self.kept, self.budget, self.scores = upstreams, kept, budget, scores
        self.listen, self.count = listen, count
        self.found: dict[tuple[str, str], TaskScore] = {}
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self._lock, self._started, self._solved = threading.Lock(), time.monotonic(), 0

    def work(self, waiting: "queue.SimpleQueue[Job]") -> None:
        """Solve what waits until nothing does, or somebody says stop."""
        while not self.stop.is_set():
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            self._solve(job)

    def _solve(self, job: Job) -> None:
        upstream = self.upstreams[job.upstream]
        # Without a key nothing says what the score is of, so it is not kept.
        key = score_key(job.task, upstream.key, self.budget) if upstream.key else ""
        score = self.scores.get(key) if key else None
        known = score is not None
        if score is None:
            # Of the student alone: nobody hangs heads on what it is only compared with.
            keep = self.scores.keep(key) if job.upstream == "student" and job.label == job.task.name else None
            store = self.kept[job.upstream]
            score = solve(job.task, store, upstream.hop_samples, self.budget, self._breathe, keep)
            if key:
                self.scores.put(key, score)
        with self._lock:
            self.found[job.label, job.upstream] = score
            self._solved += not known
            self.listen(self._line(job, score, known))

    def _line(self, job: Job, score: TaskScore, known: bool) -> str:
        done = len(self.found)
        # Scores kept from before took no time, and say nothing about what is left.
        each_s = (time.monotonic() - self._started) / max(1, self._solved)
        left_s = each_s * (self.count - done)
        left = f", about {math.ceil(left_s / 60)} min left" if done < self.count and not known else ""
        said = f"{job.label} {job.upstream}: {job.task.metric} {score.test:.3f}"
        return f"{said}{' (kept from before)' if known else ''}  [{done} of {self.count}{left}]"

    def _breathe(self) -> None:
        if self.stop.is_set():
            raise _Stopped


def _in_threads(run: _Run, waiting: "queue.SimpleQueue[Job]", workers: int) -> None:
    threads = [threading.Thread(target=_guarded, args=(run, waiting), daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:  # also when the run is interrupted
        run.stop.set()
        for thread in threads:
            thread.join()
    if run.error is not None:
        raise run.error


def _guarded(run: _Run, waiting: "queue.SimpleQueue[Job]") -> None:
    try:
        run.work(waiting)
    except _Stopped:
        return
    except BaseException as error:  # to be raised where the threads were started
        run.error = run.error or error
        run.stop.set()


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
