"""Linear probes on frozen features, as SUPERB has them (arXiv:2105.01051).

A probe is a learned weighted sum of layers, a mean over time and one linear layer.

Shapes: N clips, L layers (0 included), D width, C classes.

The mean over time commutes with the sum over layers, so every clip is pooled once, layer by layer, and the probe itself
is trained on (N, L, D) in seconds. Every upstream gets the same budget: the same steps, the same sweep, the same choice
on the val split.
"""

import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SWEEP = tuple((lr, decay) for lr in (1e-3, 3e-3, 1e-2) for decay in (0.01, 1.0))
STEPS, CHECK_EVERY, BATCH = 400, 25, 512
LAYER_LR = 3e-3  # not swept: a faster one overfits the choice of layers on a few hundred clips
_RANDOM = threading.Lock()


@dataclass(frozen=True)
class Part:
    """One split: features (N, L, D) and class numbers (N,)."""

    x: Tensor
    y: Tensor

    def layer(self, index: int) -> "Part":
        """The same clips with one layer alone."""
        return Part(self.x[:, index : index + 1], self.y)


Parts = dict[str, Part]
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Score:
    """Accuracy of a probe: test and val are means over the seeds, `ci95` is Wilson's interval over the test clips."""

    test: float
    val: float
    ci95: tuple[float, float]
    seeds: tuple[float, ...]
    layer_weights: tuple[float, ...]
    lr: float
    weight_decay: float


class Probe(nn.Module):
    """(N, L, D) -> (N, C)."""

    def __init__(self, layers: int, width: int, classes: int) -> None:
        super().__init__()
        self.layer_logits = nn.Parameter(torch.zeros(layers))
        self.classify = nn.Linear(width, classes)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.zeros_(self.classify.bias)

    @property
    def layer_weights(self) -> Tensor:
        return self.layer_logits.softmax(0)

    def forward(self, x: Tensor) -> Tensor:
        # (L,) @ (N, L, D)
        return self.classify(self.layer_weights @ x)


def pooled(layers: Sequence[Tensor], norm: bool = True) -> Tensor:
    """Hidden states (N, T, D) of every layer -> (N, L, D), the mean over time of normalised frames.

    The norm is a LayerNorm without weights; it puts layers of different scale on a par, as SUPERB's featurizer can.
    `norm=False` is for log-mel, where the level of a frame would be lost.
    """
    return torch.stack([(F.layer_norm(x.float(), x.shape[-1:]) if norm else x.float()).mean(1) for x in layers], dim=1)


def standardized(parts: Parts) -> Parts:
    """Scale every layer and dimension with the mean and deviation of the training clips."""
    std, mean = deviation(parts["train"].x)
    return {name: replace(part, x=(part.x - mean) / std) for name, part in parts.items()}


def deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean over clips (N, L, D), each (L, D)."""
    # A single training clip has no unbiased deviation.
    std, mean = torch.std_mean(x, dim=0, correction=0)
    # What is the same in all clips is left as it is, not divided by 0.
    return torch.where(std > 1e-6, std, torch.ones_like(std)), mean


def fit(parts: Parts, classes: int, lr: float, weight_decay: float, seed: int) -> tuple[tuple[float, float], Probe]:
    """Train a probe on standardised parts, keep the step best on val: ((val accuracy, -val loss), probe)."""
    train, val = parts["train"], parts["val"]
    with seeded(seed):
        probe = Probe(train.x.shape[1], train.x.shape[2], classes)
    probe = probe.to(train.x.device)
    groups = [
        {"params": probe.classify.parameters(), "lr": lr, "weight_decay": weight_decay},
        {"params": [probe.layer_logits], "lr": LAYER_LR, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, fused=True)
    # Of its own, so that the lock of seeded() is not held through the training.
    draw = torch.Generator().manual_seed(seed)
    best, state = (-1.0, 0.0), {}
    for step in range(1, STEPS + 1):
        rows = _rows(len(train.y), draw)
        loss = F.cross_entropy(probe(train.x[rows]), train.y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % CHECK_EVERY == 0:
            score = _score(probe, val)
            if score > best:
                best, state = score, {name: value.clone() for name, value in probe.state_dict().items()}
    probe.load_state_dict(state)
    return best, probe


def _rows(count: int, draw: torch.Generator) -> Tensor | slice:
    return slice(None) if count <= BATCH else torch.randint(count, (BATCH,), generator=draw)


@torch.no_grad()
def _score(probe: Probe, part: Part) -> tuple[float, float]:
    """Accuracy and negative loss, the second for ties of the first on few clips."""
    logits = probe(part.x)
    return accuracy(logits, part.y), -float(F.cross_entropy(logits, part.y))


def accuracy(logits: Tensor, y: Tensor) -> float:
    """Share of rows of (N, C) whose largest entry is at y (N,)."""
    return float((logits.argmax(-1) == y).float().mean())


def probe(parts: Parts, classes: int, seeds: int = 3) -> Score:
    """Sweep learning rate and weight decay on val with one seed, then train the best with every seed and test it."""
    return probed(parts, classes, seeds)[0]


def probed(parts: Parts, classes: int, seeds: int = 3) -> tuple[Score, Tensors]:
    """As `probe`, and the numbers of the probe that is best on val: those of `Probe`, and `shift` and `scale`.

    A clip's (L, D) times `scale` plus `shift` is what the probe was trained on.
    """
    with one_thread():
        std, mean = deviation(parts["train"].x)
        score, best = _probe(standardized(parts), classes, seeds)
    return score, {**best.state_dict(), "scale": 1 / std, "shift": -mean / std}


def _probe(parts: Parts, classes: int, seeds: int) -> tuple[Score, Probe]:
    swept = [(fit(parts, classes, lr, decay, seed=0), lr, decay) for lr, decay in SWEEP]
    (best, first), lr, decay = max(swept, key=lambda item: item[0][0])
    # Seed 0 was trained in the sweep.
    runs = [(best, first)] + [fit(parts, classes, lr, decay, seed) for seed in range(1, seeds)]
    tests = tuple(_score(trained, parts["test"])[0] for _, trained in runs)
    weights = torch.stack([trained.layer_weights.detach() for _, trained in runs]).mean(0)
    mean = sum(tests) / len(tests)
    score = Score(
        test=mean,
        val=sum(score[0] for score, _ in runs) / len(runs),
        ci95=wilson(mean, len(parts["test"].y)),
        seeds=tests,
        layer_weights=tuple(weights.tolist()),
        lr=lr,
        weight_decay=decay,
    )
    return score, max(runs, key=lambda run: run[0])[1]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from this seed inside, as before outside; one thread at a time, because torch has one state."""
    with _RANDOM, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """The matrices of a probe are so small that threads would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def probe_each_layer(parts: Parts, classes: int, seeds: int = 1) -> list[Score]:
    """The same probe on every layer alone, 0..L."""
    layers = parts["train"].x.shape[1]
    return [probe({name: part.layer(k) for name, part in parts.items()}, classes, seeds) for k in range(layers)]


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share seen on `count` clips; sound at 0 and 1, where a bootstrap has no width.

    It takes clips as independent: with few test speakers the true interval is wider.
    """
    if count < 1:
        return 0.0, 1.0
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)
