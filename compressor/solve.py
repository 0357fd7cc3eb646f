"""Each kind of task solved on one upstream's features: the sweep on val, the seeds, the score on test.

Shapes: N clips, T frames, L layers, D width, Q queries, K counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from . import probes
from .downstream import (
    Activity,
    Budget,
    Frames,
    Head,
    LinearTokens,
    RecurrentTokens,
    SlotValues,
    Voice,
    ctc_loss,
    greedy,
    margin_loss,
    permutation_free_loss,
    train,
)
from .feature_store import FeatureStore
from .probes import SPLITS, Part, Parts, probe
from .problems import Item, Problem
from .qbe import solve_search
from .scoring import (
    BETTER_LOW,
    bootstrap,
    diarization_counts,
    edit_counts,
    equal_error_rate,
    error_rate,
    slot_cer,
    slot_counts,
    slot_f1,
)
from .sounds import identity

BATCH = 32
GRID_SAMPLES = 1600  # diarisation is decided every 100 ms
TRIALS_PER_KIND = 1500


@dataclass(frozen=True)
class Outcome:
    """A task on one upstream: `test` and `val` are means over the seeds, in the task's metric.

    `also` holds further metrics; `lr` and `layer_weights` are what val chose and what was learned, where there is any.
    """

    test: float
    val: float
    ci95: tuple[float, float]
    seeds: tuple[float, ...]
    layer_weights: tuple[float, ...] = ()
    lr: float | None = None
    also: dict[str, float] = field(default_factory=dict)


def solve(problem: Problem, store: FeatureStore, hop_samples: int, budget: Budget) -> Outcome:
    """Solve any task on features that are in the store; `hop_samples` is the upstream's."""
    if problem.kind == "classify":
        return solve_classes(problem, store, budget)
    if problem.kind == "search":
        return Outcome(**solve_search(problem, store))
    work = WORKS[problem.kind](problem, store, hop_samples)
    with probes.one_thread():
        return solve_trained(work, budget)


def solve_classes(problem: Problem, store: FeatureStore, budget: Budget) -> Outcome:
    """Keywords, intents, speakers, emotions: a mean over time and a linear layer, as SUPERB has them."""
    parts, classes = class_parts(problem, store)
    score = probe(parts, classes, budget.seeds)
    return Outcome(score.test, score.val, score.ci95, score.seeds, score.layer_weights, score.lr)


def class_parts(problem: Problem, store: FeatureStore) -> tuple[Parts, int]:
    """Means and class numbers of every split, and how many classes there are."""
    classes = sorted({item.target for item in problem.items})
    parts = {}
    for split in SPLITS:
        items = problem.part(split)
        answers = torch.tensor([classes.index(item.target) for item in items])
        parts[split] = Part(store.means([identity(item.sound) for item in items]), answers)
    return parts, len(classes)


class TrainedWork:
    """A task whose head is trained on frames; see `downstream.Work`. Subclasses say how."""

    metric: str
    statistic: Callable[[np.ndarray], float]

    def __init__(self, problem: Problem, store: FeatureStore, hop_samples: int) -> None:
        self.problem, self.hop_samples = problem, hop_samples
        self.items = {split: problem.part(split) for split in SPLITS}
        self.train_count = len(self.items["train"])
        self._order = [item for split in SPLITS for item in self.items[split]]
        names = [identity(item.sound) for item in self._order]
        self.frames = Frames(lambda number: torch.from_numpy(store.frames(names[number])), range(self.train_count))
        self._names, self._store = names, store
        self.prepare()

    def prepare(self) -> None:
        """Answers as numbers; raises SpeechpressError when the upstream cannot give them."""

    def head(self) -> Head:
        raise NotImplementedError

    def loss(self, head: Head, rows: Sequence[int]) -> Tensor:
        raise NotImplementedError

    def counts(self, head: Head, split: str) -> np.ndarray:
        """(N, K), what the statistic adds up."""
        raise NotImplementedError

    def length(self, number: int) -> int:
        return len(self._store.frames(self._names[number]))

    def batches(self, split: str) -> list[list[int]]:
        """Numbers of a split's clips, of similar length together."""
        start = sum(len(self.items[name]) for name in SPLITS[: SPLITS.index(split)])
        numbers = sorted(range(start, start + len(self.items[split])), key=self.length)
        return [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]

    def item(self, number: int) -> Item:
        return self._order[number]

    def also(self, counts: np.ndarray) -> dict[str, float]:
        """Further metrics of test counts (seeds, N, K)."""
        return {}


def solve_trained(work: TrainedWork, budget: Budget) -> Outcome:
    """Sweep the learning rate on val with one seed, train the best one with every seed, test each."""
    sign = 1 if work.metric in BETTER_LOW else -1
    statistic = type(work).statistic
    swept = []
    for lr in budget.lrs:
        head = train(work, budget, lr, seed=0)
        swept.append((sign * statistic(evaluated(work, head, "val")), lr, head))
    best, lr, first = min(swept, key=lambda entry: entry[0])
    heads = [first] + [train(work, budget, lr, seed) for seed in range(1, budget.seeds)]
    counts = np.stack([evaluated(work, head, "test") for head in heads])
    seeds = tuple(statistic(one) for one in counts)
    weights = torch.stack([head.mix.weights.detach() for head in heads]).mean(0)
    return Outcome(
        test=float(np.mean(seeds)),
        val=sign * best,
        ci95=bootstrap(counts, statistic),
        seeds=seeds,
        layer_weights=tuple(weights.tolist()),
        lr=lr,
        also=work.also(counts),
    )


@torch.inference_mode()
def evaluated(work: TrainedWork, head: Head, split: str) -> np.ndarray:
    return work.counts(head, split)


class TokenWork(TrainedWork):
    """Phones or letters by CTC; words are what stands between spaces."""

    statistic = staticmethod(error_rate)

    def prepare(self) -> None:
        self.metric = self.problem.metric
        self.tokens = sorted({token for item in self.items["train"] for token in item.target})
        number = {token: index for index, token in enumerate(self.tokens, 1)}
        self.targets = [
            torch.tensor([number[token] for token in item.target], dtype=torch.long) for item in self.items["train"]
        ]
        shrink = 2 if self.problem.recurrent else 1
        tight = [n for n, target in enumerate(self.targets) if self.length(n) // shrink < len(target)]
        if len(tight) > len(self.targets) // 2:
            raise SpeechpressError(
                f"task {self.problem.name!r}: an upstream with a frame every {self.hop_samples / 16:g} ms has fewer "
                f"frames than tokens in {len(tight)} of {len(self.targets)} clips, so nothing can be transcribed"
            )

    def head(self) -> Head:
        kind = RecurrentTokens if self.problem.recurrent else LinearTokens
        return kind(self.frames.layers, self.frames.width, len(self.tokens) + 1)

    def loss(self, head: Head, rows: Sequence[int]) -> Tensor:
        scores, lengths = head(*self.frames.batch(rows))
        return ctc_loss(scores, lengths, [self.targets[row] for row in rows])

    def counts(self, head: Head, split: str) -> np.ndarray:
        rows = []
        for numbers in self.batches(split):
            for number, guess in zip(numbers, greedy(*head(*self.frames.batch(numbers))), strict=True):
                said = [self.tokens[token - 1] for token in guess]
                wanted = self.item(number).target
                counts: tuple[int, ...] = edit_counts(wanted, said)
                if self.metric == "WER":
                    counts = (*edit_counts("".join(wanted).split(), "".join(said).split()), *counts)
                rows.append(counts)
        return np.array(rows)

    def also(self, counts: np.ndarray) -> dict[str, float]:
        if self.metric != "WER":
            return {}
        return {"CER": float(np.mean([error_rate(one[:, 2:]) for one in counts]))}


class LetterWork(TokenWork):
    """Words from letters: the first two counts are of words, the others of letters."""

    statistic = staticmethod(lambda counts: error_rate(counts[:, :2]))


class SlotWork(TrainedWork):
    """A value or none for each slot."""

    metric = "F1"
    statistic = staticmethod(slot_f1)

    def prepare(self) -> None:
        train_items = self.items["train"]
        self.slots = sorted({slot for item in train_items for slot, _ in item.target})
        self.values = [
            ["", *sorted({value for item in train_items for name, value in item.target if name == slot})]
            for slot in self.slots
        ]
        wanted = [dict(item.target) for item in train_items]
        kinds = list(zip(self.slots, self.values, strict=True))
        self.answers = torch.tensor([[values.index(row.get(slot, "")) for slot, values in kinds] for row in wanted])

    def head(self) -> Head:
        return SlotValues(self.frames.layers, self.frames.width, [len(values) for values in self.values])

    def loss(self, head: Head, rows: Sequence[int]) -> Tensor:
        logits, answers = head(*self.frames.batch(rows)), self.answers[list(rows)]
        return torch.stack([F.cross_entropy(one, answers[:, k]) for k, one in enumerate(logits)]).sum()

    def counts(self, head: Head, split: str) -> np.ndarray:
        rows = []
        for numbers in self.batches(split):
            best = torch.stack([one.argmax(-1) for one in head(*self.frames.batch(numbers))], 1).tolist()
            for number, picks in zip(numbers, best, strict=True):
                said = {s: v[pick] for s, v, pick in zip(self.slots, self.values, picks, strict=True) if pick}
                rows.append(slot_counts(dict(self.item(number).target), said))
        return np.array(rows)

    def also(self, counts: np.ndarray) -> dict[str, float]:
        return {"CER": float(np.mean([slot_cer(one) for one in counts]))}


class VoiceWork(TrainedWork):
    """Same or another voice, by the cosine of two embeddings."""

    metric = "EER"
    statistic = staticmethod(equal_error_rate)

    def prepare(self) -> None:
        people = sorted({item.target for item in self.items["train"]})
        self.people = len(people)
        self.answers = torch.tensor([people.index(item.target) for item in self.items["train"]])

    def head(self) -> Head:
        return Voice(self.frames.layers, self.frames.width, self.people)

    def loss(self, head: Head, rows: Sequence[int]) -> Tensor:
        return margin_loss(head(*self.frames.batch(rows))[1], self.answers[list(rows)])

    def counts(self, head: Head, split: str) -> np.ndarray:
        voices: dict[int, Tensor] = {}
        batches = self.batches(split)
        for numbers in batches:
            voices.update(zip(numbers, head(*self.frames.batch(numbers))[0], strict=True))
        numbers = sorted(voices)
        pairs = self.problem.pairs if split == "test" and self.problem.pairs else trials(self.items[split])
        return np.array([(float(voices[numbers[a]] @ voices[numbers[b]]), same) for a, b, same in pairs])


def trials(items: Sequence[Item]) -> list[tuple[int, int, bool]]:
    """Pairs of clips and whether they are of one speaker: up to TRIALS_PER_KIND of each, the same ones every time."""
    pairs = [(a, b, items[a].target == items[b].target) for a in range(len(items)) for b in range(a)]
    draw = np.random.default_rng(0)
    chosen = []
    for kind in (True, False):
        found = [pair for pair in pairs if pair[2] is kind]
        rows = draw.permutation(len(found))[:TRIALS_PER_KIND]
        chosen += [found[row] for row in rows]
    return chosen


class ActivityWork(TrainedWork):
    """Who speaks when, every 100 ms."""

    metric = "DER"
    statistic = staticmethod(error_rate)

    def prepare(self) -> None:
        if self.hop_samples > GRID_SAMPLES:
            raise SpeechpressError(
                f"task {self.problem.name!r}: decides every {GRID_SAMPLES / 16:g} ms, but this upstream has a frame "
                f"every {self.hop_samples / 16:g} ms only"
            )

    def head(self) -> Head:
        return Activity(self.frames.layers, self.frames.width)

    def batch(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor, list[np.ndarray]]:
        """Frames averaged over 100 ms (B, T, L, D), lengths, and what is true there."""
        x, lengths = self.frames.batch(numbers)
        rows, wanted = [], []
        for row, count, number in zip(x, lengths.tolist(), numbers, strict=True):
            bins = torch.arange(count) * self.hop_samples // GRID_SAMPLES
            size = min(int(bins[-1]) + 1, len(self.item(number).target))
            total = torch.zeros(int(bins[-1]) + 1, *row.shape[1:]).index_add_(0, bins, row[:count])
            rows.append((total / torch.bincount(bins)[:, None, None])[:size])
            wanted.append(np.asarray(self.item(number).target, bool)[:size])
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows]), wanted

    def loss(self, head: Head, rows: Sequence[int]) -> Tensor:
        x, lengths, wanted = self.batch(rows)
        answers = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(one).float() for one in wanted], batch_first=True)
        return permutation_free_loss(head(x, lengths), answers, lengths)

    def counts(self, head: Head, split: str) -> np.ndarray:
        rows: list[Any] = []
        for numbers in self.batches(split):
            x, lengths, wanted = self.batch(numbers)
            given = (head(x, lengths) > 0).numpy()
            rows += [diarization_counts(one, guess[: len(one)]) for one, guess in zip(wanted, given, strict=True)]
        return np.array(rows)


def _tokens(problem: Problem, store: FeatureStore, hop_samples: int) -> TrainedWork:
    return (LetterWork if problem.metric == "WER" else TokenWork)(problem, store, hop_samples)


WORKS: dict[str, Callable[[Problem, FeatureStore, int], TrainedWork]] = {
    "ctc": _tokens,
    "slots": SlotWork,
    "verify": VoiceWork,
    "diarize": ActivityWork,
}
