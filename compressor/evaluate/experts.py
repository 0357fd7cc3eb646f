"""What is learned for each kind of task on frames: its head, its loss, and what is counted on val and test.

Shapes: N clips, T frames, L layers, D width, K counts.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.sounds import identity
from ..tasks.kinds import GRID_SAMPLES, KINDS, SPLITS, Item, speech_frames
from ..tasks.metrics import (
    detection_counts,
    diarization_counts,
    edit_counts,
    equal_error_rate,
    error_rate,
    half_total_error,
    mean_f1,
    resampled,
    resampled_by_speaker,
    slot_cer,
    slot_counts,
    slot_f1,
    spelled_cer,
    spelled_counts,
    spelled_slots,
)
from ..tasks.task import Task
from .heads import (
    Activity,
    CoarseFrames,
    Frames,
    Head,
    LinearTokens,
    RecurrentTokens,
    SlotValues,
    Voice,
    ctc_loss,
    greedy,
    inside,
    margin_loss,
    padded,
    padded_frames,
    permutation_free_loss,
)
from .store import Features

BATCH = 32
SLOT_SAMPLES = 960  # slots are looked for every 60 ms
TRIALS_PER_KIND, TRIAL_CLIPS = 1500, 1000


class TaskHead:
    """A task whose head is trained on frames; see `heads.Trainable`. Subclasses say how."""

    statistic: Callable[[np.ndarray], float]

    def __init__(self, task: Task, store: Features, hop_samples: int) -> None:
        self.task, self.hop_samples = task, hop_samples
        self.items = {split: task.part(split) for split in SPLITS}
        self.train_count = len(self.items["train"])
        self._order = [item for split in SPLITS for item in self.items[split]]
        names = [identity(item.sound) for item in self._order]
        self._names, self._store = names, store
        # A copy: what is read where it lies on the disk cannot be written to, and torch would warn.
        read = lambda number: torch.from_numpy(np.array(store.frames(names[number])))  # noqa: E731
        # The training clips come first; the scale must not know of the others.
        self.frames = Frames(read, range(self.train_count))
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
        # Less padding. For scoring only: see heads.train on why training does without.
        numbers = sorted(range(start, start + len(self.items[split])), key=self.length)
        return [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]

    def in_order(self, counts: np.ndarray, split: str) -> np.ndarray:
        """Counts (N, K), which batches brought in an order of their own, in the split's, in which models are paired."""
        return counts[np.argsort([number for numbers in self.batches(split) for number in numbers])]

    def resampled(self, counts: np.ndarray) -> np.ndarray:
        """The statistic over test clips drawn anew, from counts (seeds, N, K)."""
        return resampled(counts, type(self).statistic)

    def item(self, number: int) -> Item:
        return self._order[number]

    def also(self, counts: np.ndarray) -> dict[str, float]:
        """Further metrics of test counts (seeds, N, K)."""
        return {}


class CtcHead(TaskHead):
    """Tokens by CTC: phones."""

    statistic = staticmethod(error_rate)

    def prepare(self) -> None:
        # What no training clip has cannot be learned, and counts as an error on test.
        self.tokens = sorted({token for item in self.items["train"] for token in item.target})
        # From 1 on: 0 is the blank of CTC.
        number = {token: index for index, token in enumerate(self.tokens, 1)}
        self.targets = [
            torch.tensor([number[token] for token in item.target], dtype=torch.long) for item in self.items["train"]
        ]

    def head(self) -> Head:
        shape = self.frames.layers, self.frames.width, len(self.tokens) + 1
        kind = KINDS[self.task.kind]
        if kind.stack_samples:
            return RecurrentTokens(*shape, stack=kind.stacked(self.hop_samples))
        return LinearTokens(*shape)

    def loss(self, head: Head, rows: Sequence[int]) -> Tensor:
        scores, lengths = head(*self.frames.batch(rows))
        return ctc_loss(scores, lengths, [self.targets[row] for row in rows])

    def counts(self, head: Head, split: str) -> np.ndarray:
        rows = []
        for numbers in self.batches(split):
            for number, guess in zip(numbers, greedy(*head(*self.frames.batch(numbers))), strict=True):
                rows.append(self.compare(self.item(number).target, [self.tokens[token - 1] for token in guess]))
        return np.array(rows, float)

    def compare(self, wanted: Sequence[str], said: Sequence[str]) -> tuple[float, ...]:
        """The counts of one clip."""
        return edit_counts(wanted, said)


class WordsHead(CtcHead):
    """Words from letters: the first two counts are of words, which are what stands between spaces, then of letters."""

    statistic = staticmethod(lambda counts: error_rate(counts[:, :2]))

    def compare(self, wanted: Sequence[str], said: Sequence[str]) -> tuple[float, ...]:
        return (*edit_counts("".join(wanted).split(), "".join(said).split()), *edit_counts(wanted, said))

    def also(self, counts: np.ndarray) -> dict[str, float]:
        return {"CER": float(np.mean([error_rate(one[:, 2:]) for one in counts]))}


class SpellHead(CtcHead):
    """Slots spelled inside of a transcript, as SUPERB has them: F1 of their kinds, CER of their values."""

    statistic = staticmethod(mean_f1)

    def compare(self, wanted: Sequence[str], said: Sequence[str]) -> tuple[float, ...]:
        return spelled_counts(spelled_slots(wanted), spelled_slots(said))

    def also(self, counts: np.ndarray) -> dict[str, float]:
        return {"CER": float(np.mean([spelled_cer(one) for one in counts]))}


class SlotsHead(TaskHead):
    """A value or none for each slot."""

    statistic = staticmethod(slot_f1)

    def prepare(self) -> None:
        train_items = self.items["train"]
        self.slots = sorted({slot for item in train_items for slot, _ in item.target})
        self.values = [
            # Number 0 is "no value", which counts() leaves out.
            ["", *sorted({value for item in train_items for name, value in item.target if name == slot})]
            for slot in self.slots
        ]
        wanted = [dict(item.target) for item in train_items]
        kinds = list(zip(self.slots, self.values, strict=True))
        self.answers = torch.tensor([[values.index(row.get(slot, "")) for slot, values in kinds] for row in wanted])
        # An upstream whose frames are longer keeps them as they are.
        self._coarse = CoarseFrames(self.frames.one, self.hop_samples, max(SLOT_SAMPLES, self.hop_samples))

    def batch(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Frames averaged over 60 ms (B, T, L, D) and lengths."""
        return padded_frames([self._coarse.one(number) for number in numbers])

    def head(self) -> Head:
        return SlotValues(self.frames.layers, self.frames.width, [len(values) for values in self.values])

    def loss(self, head: Head, rows: Sequence[int]) -> Tensor:
        logits, answers = head(*self.batch(rows)), self.answers[list(rows)]
        return torch.stack([F.cross_entropy(one, answers[:, k]) for k, one in enumerate(logits)]).sum()

    def counts(self, head: Head, split: str) -> np.ndarray:
        rows = []
        for numbers in self.batches(split):
            best = torch.stack([one.argmax(-1) for one in head(*self.batch(numbers))], 1).tolist()
            for number, picks in zip(numbers, best, strict=True):
                said = {s: v[pick] for s, v, pick in zip(self.slots, self.values, picks, strict=True) if pick}
                rows.append(slot_counts(dict(self.item(number).target), said))
        return np.array(rows)

    def also(self, counts: np.ndarray) -> dict[str, float]:
        return {"CER": float(np.mean([slot_cer(one) for one in counts]))}


class VerifyHead(TaskHead):
    """Same or another voice, or word, by the cosine of two embeddings."""

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
        # Back in the order of the split, in which pairs count: batches went by length.
        numbers = sorted(voices)
        pairs = self.pairs(split)
        return np.array([(float(voices[numbers[a]] @ voices[numbers[b]]), same) for a, b, same in pairs])

    def pairs(self, split: str) -> Sequence[tuple[int, int, bool]]:
        """VoxCeleb1 comes with its trials; other corpora get drawn ones."""
        return self.task.pairs if split == "test" and self.task.pairs else trials(self.items[split])

    def in_order(self, counts: np.ndarray, split: str) -> np.ndarray:
        return counts

    def resampled(self, counts: np.ndarray) -> np.ndarray:
        """Over speakers, not over trials."""
        items = self.items["test"]
        speakers = np.array([(items[a].target, items[b].target) for a, b, _ in self.pairs("test")])
        return resampled_by_speaker(counts, speakers)


def trials(items: Sequence[Item]) -> list[tuple[int, int, bool]]:
    """Pairs of clips and whether they are of one speaker: up to TRIALS_PER_KIND of each, the same ones every time."""
    voices = defaultdict(list)
    for number, item in enumerate(items):
        voices[item.target].append(number)
    same = [(a, b, True) for numbers in voices.values() for a in numbers for b in numbers if b < a]
    # A fixed seed: every upstream is judged by the same trials.
    draw = np.random.default_rng(0)
    some = sorted(draw.permutation(len(items))[:TRIAL_CLIPS].tolist())  # all pairs of very many clips are too many
    other = [(a, b, False) for a in some for b in some if b < a and items[a].target != items[b].target]
    kinds = ([kind[row] for row in draw.permutation(len(kind))[:TRIALS_PER_KIND]] for kind in (same, other))
    return [trial for kind in kinds for trial in kind]


class DiarizeHead(TaskHead):
    """Who speaks when, every 100 ms."""

    statistic = staticmethod(error_rate)

    def head(self) -> Head:
        return Activity(self.frames.layers, self.frames.width)

    def prepare(self) -> None:
        self._coarse = CoarseFrames(self.frames.one, self.hop_samples, GRID_SAMPLES)

    def batch(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor, list[np.ndarray]]:
        """Frames averaged over 100 ms (B, T, L, D), lengths, and what is true there."""
        rows = [self._coarse.one(number) for number in numbers]
        # Labels and frames may differ by one at the end of a clip; what both have is compared.
        wanted = [np.asarray(self.item(n).target, bool)[: len(row)] for n, row in zip(numbers, rows, strict=True)]
        return *padded_frames([row[: len(one)] for row, one in zip(rows, wanted, strict=True)]), wanted

    def loss(self, head: Head, rows: Sequence[int]) -> Tensor:
        x, lengths, wanted = self.batch(rows)
        answers, _ = padded([torch.from_numpy(one).float() for one in wanted])
        return permutation_free_loss(head(x, lengths), answers, lengths)

    def counts(self, head: Head, split: str) -> np.ndarray:
        rows: list[Any] = []
        for numbers in self.batches(split):
            x, lengths, wanted = self.batch(numbers)
            # A logit above 0 is a probability above one half.
            given = (head(x, lengths) > 0).numpy()
            rows += [diarization_counts(one, guess[: len(one)]) for one, guess in zip(wanted, given, strict=True)]
        return np.array(rows)


class SpeechHead(TaskHead):
    """Whether somebody speaks, frame by frame."""

    statistic = staticmethod(half_total_error)

    def head(self) -> Head:
        return LinearTokens(self.frames.layers, self.frames.width, 2)

    def logits(self, head: Head, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(B, T), above 0 for speech, and lengths."""
        scores, lengths = head(*self.frames.batch(numbers))
        return scores[..., 1] - scores[..., 0], lengths

    def wanted(self, number: int, frames: int) -> np.ndarray:
        return speech_frames(self.item(number).target, frames, self.hop_samples)

    def loss(self, head: Head, rows: Sequence[int]) -> Tensor:
        logits, lengths = self.logits(head, rows)
        true = [torch.from_numpy(self.wanted(row, n)).float() for row, n in zip(rows, lengths.tolist(), strict=True)]
        each = F.binary_cross_entropy_with_logits(logits, padded(true)[0], reduction="none")
        return (each * inside(lengths, each.shape[1])).sum() / lengths.sum()

    def counts(self, head: Head, split: str) -> np.ndarray:
        rows = []
        for numbers in self.batches(split):
            logits, lengths = self.logits(head, numbers)
            for number, row, n in zip(numbers, logits, lengths.tolist(), strict=True):
                rows.append(detection_counts(self.wanted(number, n), (row[:n] > 0).numpy()))
        return np.array(rows)


HEADS: dict[str, type[TaskHead]] = {
    "ctc": CtcHead,
    "words": WordsHead,
    "spell": SpellHead,
    "slots": SlotsHead,
    "verify": VerifyHead,
    "match": VerifyHead,
    "diarize": DiarizeHead,
    "speech": SpeechHead,
}
