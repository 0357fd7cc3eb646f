"""SUPERB's downstream heads on frozen frames, small, and the one loop that trains them all with the same budget.

Shapes: B clips, T frames (padded), L layers, D width, V tokens, K slots, E embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from .probes import seeded

SCALE_CLIPS = 64
LAYER_LR = 1e-2
CLIP_NORM = 1.0
BLANK_BIAS = 3.0  # so that CTC starts from silence; else hundreds of steps go into unlearning random tokens
MOST_KEPT = 512 * 2**20  # bytes of averaged frames in memory, of each task that is being solved
MARGIN, SCALE = 0.2, 30.0  # AM-softmax (arXiv:1801.05599, eq. 6); SUPERB has 0.4 on 1211 speakers


@dataclass(frozen=True)
class Budget:
    """What every upstream gets for every task: steps of so many clips, the learning rates that val chooses from.

    Rates are tried for a third of the steps, with a schedule of that length.
    """

    steps: int = 300
    batch: int = 16
    lrs: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    seeds: int = 3

    @property
    def trial(self) -> "Budget":
        """That of one learning rate of the sweep."""
        return replace(self, steps=-(-self.steps // 3))


class Frames:
    """Frames of clips by number, each (T, L, D), scaled as the training clips are; `read` may give them as float16."""

    def __init__(self, read: Callable[[int], Tensor], train: Sequence[int]) -> None:
        self._read = read
        # Spread over the split, which may be sorted by speaker; all clips would have to be read before the first step.
        some = train[:: max(1, len(train) // SCALE_CLIPS)][:SCALE_CLIPS]
        sample = torch.cat([read(number).float() for number in some])
        std, mean = torch.std_mean(sample, dim=0, correction=0)
        # A dimension that never changes would be divided by 0.
        self.scale = 1 / std.clamp_min(1e-4)
        self.shift = -mean * self.scale
        self.layers, self.width = sample.shape[1:]

    def one(self, number: int) -> Tensor:
        """(T, L, D) of a clip."""
        return torch.addcmul(self.shift, self._read(number).float(), self.scale)

    def batch(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(B, T, L, D) and the lengths (B,)."""
        return padded_frames([self.one(number) for number in numbers])


class CoarseFrames:
    """Frames of clips by number, averaged over a grid; kept, as far as memory goes, for the steps that come."""

    def __init__(self, one: Callable[[int], Tensor], hop_samples: int, grid_samples: int) -> None:
        # A grid finer than the frames would leave bins empty, and 0 / 0 as their mean.
        assert hop_samples <= grid_samples
        self._one, self._hop_samples, self._grid_samples = one, hop_samples, grid_samples
        self._kept: dict[int, Tensor] = {}
        self._room = MOST_KEPT

    def one(self, number: int) -> Tensor:
        """(T, L, D) of a clip."""
        if number in self._kept:
            return self._kept[number]
        frames = self._one(number)
        # By position in samples: the hop need not divide the grid.
        bins = torch.arange(len(frames)) * self._hop_samples // self._grid_samples
        total = torch.zeros(int(bins[-1]) + 1, *frames.shape[1:]).index_add_(0, bins, frames)
        means = total / torch.bincount(bins)[:, None, None]
        # Nothing is dropped for what comes later: each pass goes through the clips in another order.
        if self._room >= means.nbytes:
            self._room -= means.nbytes
            self._kept[number] = means
        return means


def padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of different lengths in one tensor, zeros at the end, and the lengths."""
    return pad_sequence(list(rows), batch_first=True), torch.tensor([len(row) for row in rows])


def padded_frames(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """`padded` of rows (T, L, D); each layer lies in one piece, so that `Mix` is a product of a vector and a matrix."""
    lengths = torch.tensor([len(row) for row in rows])
    layers, width = rows[0].shape[1:]
    out = torch.zeros(layers, len(rows), int(lengths.max()), width).permute(1, 2, 0, 3)
    for place, row in zip(out, rows, strict=True):
        place[: len(row)] = row
    return out, lengths


class Mix(nn.Module):
    """A learned weighted sum of layers: (B, T, L, D) -> (B, T, D)."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))

    @property
    def weights(self) -> Tensor:
        return self.logits.softmax(0)

    def forward(self, x: Tensor) -> Tensor:
        # An einsum would lay all layers out anew; `padded_frames` has them so that nothing is copied.
        return (self.weights @ x.permute(2, 0, 1, 3).flatten(1)).view(*x.shape[:2], x.shape[3])


class Head(nn.Module):
    """A mix of layers and what comes after it; called with (B, T, L, D) and lengths (B,)."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.mix = Mix(layers)


def token_scores(width: int, tokens: int) -> nn.Linear:
    """A linear layer that says blank (token 0) at first."""
    layer = nn.Linear(width, tokens)
    nn.init.constant_(layer.bias[:1], BLANK_BIAS)
    return layer


class LinearTokens(Head):
    """SUPERB's phone recogniser: one linear layer; (B, T, L, D) -> log-probabilities (B, T, V), lengths."""

    def __init__(self, layers: int, width: int, tokens: int) -> None:
        super().__init__(layers)
        self.classify = token_scores(width, tokens)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.classify(self.mix(x)).log_softmax(-1), lengths


class BothWays(nn.Module):
    """A bidirectional LSTM over rows of different lengths, (B, T, D) -> (B, T, 2 hidden); the padding is not heard.

    What `nn.LSTM` makes of packed rows, but faster on a CPU: packed rows go without oneDNN.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(width, hidden, batch_first=True)
        self.backwards = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        turn = turned(lengths, x.shape[1])[..., None]
        y = self.backwards(x.gather(1, turn.expand_as(x)))[0]
        return torch.cat([self.forwards(x)[0], y.gather(1, turn.expand_as(y))], -1)


def turned(lengths: Tensor, frames: int) -> Tensor:
    """(B,) -> (B, T): for each frame which one to take to play a row backwards; the padding stays behind."""
    frame, last = torch.arange(frames), lengths[:, None] - 1
    return torch.where(frame <= last, last - frame, frame)


class RecurrentTokens(Head):
    """SUPERB's letter recogniser, small: `stack` frames side by side, a bidirectional LSTM, a linear layer."""

    def __init__(self, layers: int, width: int, tokens: int, stack: int = 2, hidden: int = 96) -> None:
        super().__init__(layers)
        self.stack = stack
        self.project = nn.Linear(stack * width, hidden)
        self.recur = BothWays(hidden, hidden)
        self.classify = token_scores(2 * hidden, tokens)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        mixed = self.mix(x)
        whole = F.pad(mixed, (0, 0, 0, -mixed.shape[1] % self.stack))
        stacked = whole.reshape(len(whole), -1, self.stack * whole.shape[2])
        lengths = -(-lengths // self.stack)
        return self.classify(self.recur(F.relu(self.project(stacked)), lengths)).log_softmax(-1), lengths


class Activity(Head):
    """SUPERB's diariser, small: (B, T, L, D) -> logits of two speakers (B, T, 2)."""

    def __init__(self, layers: int, width: int, hidden: int = 96) -> None:
        super().__init__(layers)
        self.recur = BothWays(width, hidden)
        self.classify = nn.Linear(2 * hidden, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.classify(self.recur(self.mix(x), lengths))


class Voice(Head):
    """A small x-vector: mean and deviation over time; an embedding (B, E) of length 1 and cosines (B, speakers)."""

    def __init__(self, layers: int, width: int, speakers: int, hidden: int = 192, embedding: int = 96) -> None:
        super().__init__(layers)
        self.project = nn.Linear(width, hidden)
        self.embed = nn.Linear(2 * hidden, embedding)
        self.speakers = nn.Parameter(torch.randn(speakers, embedding) * 0.1)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        y = F.relu(self.project(self.mix(x)))
        mask = inside(lengths, y.shape[1])[..., None]
        count = lengths[:, None]
        mean = (y * mask).sum(1) / count
        # At 0, which a clip of one frame has, a root has no finite slope.
        deviation = (((y - mean[:, None]) ** 2 * mask).sum(1) / count + 1e-5).sqrt()
        voice = F.normalize(self.embed(torch.cat([mean, deviation], 1)), dim=1)
        return voice, voice @ F.normalize(self.speakers, dim=1).T


class SlotValues(Head):
    """A value for each slot: each slot attends to its own place in the clip; (B, T, L, D) -> K logits (B, values).

    T counts frames of 60 ms: a word of a command is longer, and frames of 20 ms cost nine times as much.
    """

    def __init__(self, layers: int, width: int, values: Sequence[int], hidden: int = 128) -> None:
        super().__init__(layers)
        self.project = nn.Conv1d(width, hidden, 3, padding=1)
        self.look = nn.Linear(hidden, len(values))
        self.classify = nn.ModuleList(nn.Linear(hidden, count) for count in values)

    def forward(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        y = F.relu(self.project(self.mix(x).transpose(1, 2))).transpose(1, 2)
        outside = ~inside(lengths, y.shape[1])[..., None]
        where = self.look(y).masked_fill(outside, -1e9).softmax(1)  # (B, T, K)
        found = torch.einsum("btk,bth->kbh", where, y)
        return [classify(one) for classify, one in zip(self.classify, found, strict=True)]


def inside(lengths: Tensor, frames: int) -> Tensor:
    """(B,) -> (B, T), True before each row's end."""
    return torch.arange(frames) < lengths[:, None]


def ctc_loss(log_probabilities: Tensor, lengths: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """CTC over rows (B, T, V), blank 0; a row that is too short for its tokens counts as 0."""
    sizes = torch.tensor([len(target) for target in targets])
    return F.ctc_loss(log_probabilities.transpose(0, 1), torch.cat(list(targets)), lengths, sizes, zero_infinity=True)


def greedy(log_probabilities: Tensor, lengths: Tensor) -> list[list[int]]:
    """Best token per frame, repeats merged, blanks (0) dropped."""
    best = log_probabilities.argmax(-1)
    # Repeats first: a blank between two equal tokens keeps both.
    merged = [torch.unique_consecutive(row[:count]) for row, count in zip(best, lengths.tolist(), strict=True)]
    return [row[row != 0].tolist() for row in merged]


def permutation_free_loss(logits: Tensor, wanted: Tensor, lengths: Tensor) -> Tensor:
    """Binary cross-entropy of (B, T, 2) in the better order of the speakers (arXiv:1909.05952, eq. 3)."""
    mask = inside(lengths, logits.shape[1])[..., None]

    def loss(target: Tensor) -> Tensor:
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * mask
        return each.sum((1, 2)) / lengths / 2

    return torch.minimum(loss(wanted), loss(wanted.flip(-1))).mean()


def margin_loss(cosines: Tensor, speakers: Tensor) -> Tensor:
    """AM-softmax of cosines (B, speakers)."""
    margin = F.one_hot(speakers, cosines.shape[1]) * MARGIN
    return F.cross_entropy(SCALE * (cosines - margin), speakers)


class Trainable(Protocol):
    """What `train` needs to know of a task: a fresh head, its loss on training clips by number, and their count."""

    train_count: int

    def head(self) -> Head: ...

    def loss(self, head: Head, rows: Sequence[int]) -> Tensor: ...


def train(task: Trainable, budget: Budget, lr: float, seed: int, breathe: Callable[[], None] = lambda: None) -> Head:
    """A head after all steps: AdamW, a tenth of warm-up, then a cosine down to nothing; reproducible by its seed."""
    with seeded(seed):
        head = task.head()
    # The mix has a rate of its own, whatever the sweep tries; decay would pull it to equal weights.
    rest = [value for name, value in head.named_parameters() if name != "mix.logits"]
    groups = [{"params": rest, "lr": lr}, {"params": [head.mix.logits], "lr": LAYER_LR, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-2)
    # One step more than is taken, so that the last one has a rate above the schedule's end.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [lr, LAYER_LR], total_steps=budget.steps + 1, pct_start=0.1, cycle_momentum=False
    )
    # Of its own: other heads may be trained in other threads, and torch has one global state.
    draw = torch.Generator().manual_seed(seed)
    order: list[int] = []
    for _ in range(budget.steps):
        # Batches of clips of similar length would be faster, but a head for CTC learns worse from them.
        while len(order) < budget.batch:
            order += torch.randperm(task.train_count, generator=draw).tolist()
        breathe()
        rows, order = order[: budget.batch], order[budget.batch :]
        optimizer.zero_grad()
        task.loss(head, rows).backward()
        nn.utils.clip_grad_norm_(head.parameters(), CLIP_NORM)
        optimizer.step()
        schedule.step()
    return head.eval()
