"""Each kind of task solved on one upstream's features: the sweep on val, the seeds, the score on test.

Shapes: N clips, K counts.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from . import probes
from .downstream import Budget, Head, train
from .feature_store import FeatureStore
from .kinds import KINDS, SPLITS, is_error
from .probes import Part, Parts, probe, wilson
from .problems import Problem
from .qbe import solve_search
from .scoring import bootstrap
from .sounds import identity
from .works import WORKS, TrainedWork


@dataclass(frozen=True)
class Outcome:
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
    problem: Problem,
    store: FeatureStore,
    hop_samples: int,
    budget: Budget,
    breathe: Callable[[], None] = lambda: None,
) -> Outcome:
    """Solve any task on features that are in the store; `hop_samples` is the upstream's.

    `breathe` is called at every step of training; what it raises ends the work.
    """
    if problem.folds:
        return averaged([solve(fold, store, hop_samples, budget, breathe) for fold in problem.folds], problem)
    kind = KINDS[problem.kind]
    if kind.features == "means":
        return solve_classes(problem, store, budget)
    if not kind.trained:
        return Outcome(**solve_search(problem, store))
    work = WORKS[problem.kind](problem, store, hop_samples)
    with probes.one_thread():
        return solve_trained(work, budget, breathe)


def averaged(outcomes: list[Outcome], problem: Problem) -> Outcome:
    """The mean over folds of a classification; the interval is that of all their test clips."""
    test = float(np.mean([outcome.test for outcome in outcomes]))
    weights = np.mean([outcome.layer_weights for outcome in outcomes], axis=0)
    return Outcome(
        test=test,
        val=float(np.mean([outcome.val for outcome in outcomes])),
        ci95=wilson(test, sum(len(fold.part("test")) for fold in problem.folds)),
        seeds=tuple(np.mean([outcome.seeds for outcome in outcomes], axis=0).tolist()),
        layer_weights=tuple(weights.tolist()),
    )


def solve_classes(problem: Problem, store: FeatureStore, budget: Budget) -> Outcome:
    """Keywords, intents, speakers, emotions: a mean over time and a linear layer, as SUPERB has them."""
    score = probe(*class_parts(problem, store), budget.seeds)
    return Outcome(**asdict(score))


def class_parts(problem: Problem, store: FeatureStore) -> tuple[Parts, int]:
    """Means and class numbers of every split, and how many classes there are."""
    classes = problem.classes
    parts = {}
    for split in SPLITS:
        items = problem.part(split)
        answers = torch.tensor([classes.index(item.target) for item in items])
        parts[split] = Part(store.means([identity(item.sound) for item in items]), answers)
    return parts, len(classes)


def solve_trained(work: TrainedWork, budget: Budget, breathe: Callable[[], None] = lambda: None) -> Outcome:
    """Sweep the learning rate on val with one seed and short trials, train the best with every seed, test each."""
    sign = 1 if is_error(work.problem.metric) else -1
    statistic = type(work).statistic
    swept = []
    for lr in budget.lrs:
        head = train(work, budget.trial, lr, seed=0, breathe=breathe)
        swept.append((sign * statistic(evaluated(work, head, "val")), lr))
    _, lr = min(swept, key=lambda entry: entry[0])
    heads = [train(work, budget, lr, seed, breathe) for seed in range(budget.seeds)]
    val = [statistic(evaluated(work, head, "val")) for head in heads]
    counts = np.stack([evaluated(work, head, "test") for head in heads])
    seeds = tuple(statistic(one) for one in counts)
    weights = torch.stack([head.mix.weights.detach() for head in heads]).mean(0)
    return Outcome(
        test=float(np.mean(seeds)),
        val=float(np.mean(val)),
        ci95=bootstrap(counts, statistic),
        seeds=seeds,
        layer_weights=tuple(weights.tolist()),
        lr=lr,
        also=work.also(counts),
    )


@torch.inference_mode()
def evaluated(work: TrainedWork, head: Head, split: str) -> np.ndarray:
    return work.counts(head, split)
