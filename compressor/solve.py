"""Each kind of task solved on one upstream's features: the sweep on val, the seeds, the score on test.

Shapes: N clips, K counts.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from . import probes
from .data.sounds import identity
from .downstream import Budget, Head, train
from .feature_store import FeatureStore
from .probes import Part, Parts, probe, wilson
from .qbe import solve_search
from .tasks.kinds import KINDS, SPLITS, is_error
from .tasks.metrics import bootstrap
from .tasks.task import Task
from .works import HEADS, TaskHead


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
) -> TaskScore:
    """Solve any task on features that are in the store; `hop_samples` is the upstream's.

    `breathe` is called at every step of training; what it raises ends the work.
    """
    if task.folds:
        return averaged([solve(fold, store, hop_samples, budget, breathe) for fold in task.folds], task)
    kind = KINDS[task.kind]
    if kind.features == "means":
        return solve_classes(task, store, budget)
    if not kind.trained:
        return TaskScore(**solve_search(task, store))
    task_head = HEADS[task.kind](task, store, hop_samples)
    with probes.one_thread():
        return solve_trained(task_head, budget, breathe)


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


def solve_classes(task: Task, store: FeatureStore, budget: Budget) -> TaskScore:
    """Keywords, intents, speakers, emotions: a mean over time and a linear layer, as SUPERB has them."""
    score = probe(*class_parts(task, store), budget.seeds)
    return TaskScore(**asdict(score))


def class_parts(task: Task, store: FeatureStore) -> tuple[Parts, int]:
    """Means and class numbers of every split, and how many classes there are."""
    classes = task.classes
    parts = {}
    for split in SPLITS:
        items = task.part(split)
        answers = torch.tensor([classes.index(item.target) for item in items])
        parts[split] = Part(store.means([identity(item.sound) for item in items]), answers)
    return parts, len(classes)


def solve_trained(task_head: TaskHead, budget: Budget, breathe: Callable[[], None] = lambda: None) -> TaskScore:
    """Sweep the learning rate on val with one seed and short trials, train the best with every seed, test each."""
    sign = 1 if is_error(task_head.task.metric) else -1
    statistic = type(task_head).statistic
    swept = []
    for lr in budget.lrs:
        head = train(task_head, budget.trial, lr, seed=0, breathe=breathe)
        swept.append((sign * statistic(evaluated(task_head, head, "val")), lr))
    _, lr = min(swept, key=lambda entry: entry[0])
    heads = [train(task_head, budget, lr, seed, breathe) for seed in range(budget.seeds)]
    val = [statistic(evaluated(task_head, head, "val")) for head in heads]
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
