"""How the kinds of head learn from frames in the store, with the suite's one loop, losses and counts.

Shapes: B clips, T frames (padded), L layers, D width, V labels.

In training the layers are scaled and summed outside of the head, because the frames are scaled when they are read; what
comes out is put together by `made`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechpress.runtime.answers.words import PARTS

from ..evaluate import experts
from ..evaluate import heads as suite
from ..evaluate.probes import Tensors
from ..evaluate.store import Features
from ..tasks.task import Task
from .ctc import Ctc
from .judge import grid_bins, turn_counts
from .kinds import KINDS
from .module import Head
from .segment import Segment
from .speaker import Speaker
from .vad import Vad
from .words import SubCentreLoss, WordsHead, pair_loss, whole_vectors

BUDGET = suite.Budget()


@dataclass(frozen=True)
class Shape:
    """Sizes of a head that can be asked for; 0 and None are the kind's own."""

    kernel: int | None = None
    hidden: int = 0


@dataclass(frozen=True)
class HeadOptions:
    """How a head is trained, and where it goes.

    Attributes:
        task: a key of `data.WISHES`.
        data: labelled speech, or the root of the mini suite's corpora.
        out: the checkpoint that gets it; None is the one that it is trained on.
        name: of the head; "" is the task's usual one.
        overwrite: replace a head of that name.
        column: which label holds the answers; None is the task's usual one.
        labels: all labels that there may be; none is what the training part has.
        shape: sizes of the head.
        clusters, layer: of units; None is the last layer.
        chunks_ms: sizes in which a streaming student is heard; none are those of its training.
        budget: steps, clips of a step, learning rates and seeds.
        finetune: how many of the top layers move as well; 0: none, -1: all.
        finetune_lr, finetune_steps: of those layers.
        cache: keeps features; None keeps none.
        device: where features are computed.
    """

    task: str
    data: Path
    out: Path | None = None
    name: str = ""
    overwrite: bool = False
    column: str | None = None
    labels: tuple[str, ...] = ()
    shape: Shape = Shape()
    clusters: int = 100
    layer: int | None = None
    chunks_ms: tuple[float, ...] = ()
    budget: suite.Budget = BUDGET
    finetune: int = 0
    finetune_lr: float = 3e-5
    finetune_steps: int = 300
    cache: Path | None = None
    device: str = "cpu"


class Training(suite.Head):
    """A head whose layers come scaled, (B, T, L, D), and are summed by a mix of its own."""

    def __init__(self, head: Head) -> None:
        super().__init__(head.layers)
        # By the mix instead; a parameter without a gradient is left alone by the optimiser.
        head.sum.requires_grad_(False)
        self.head = head

    def outputs(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Those of clips that begin at frame 0, (B, T, W) or (B, 1, W)."""
        exists = suite.inside(lengths, x.shape[1])
        return self.head.answer(self.mix(x) * exists[..., None], exists, self.head.initial_state(len(x)))[0]


class CtcTraining(Training):
    """(B, T, L, D) and lengths -> log-probabilities (B, T, V) and lengths, as `evaluate.experts.CtcHead` wants them."""

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.outputs(x, lengths)[0].log_softmax(-1), lengths


class PhonesLearner(experts.CtcHead):
    """Labels by CTC, in frames as they come."""

    kernel, hidden = 1, 0

    def __init__(self, task: Task, store: Features, hop_samples: int, shape: Shape) -> None:
        self.shape = shape
        super().__init__(task, store, hop_samples)

    def head(self) -> suite.Head:
        kernel = self.shape.kernel or self.kernel
        hidden = (self.shape.hidden or self.hidden or self.frames.width) if kernel > 1 else 0
        made = Ctc(self.frames.layers, self.frames.width, len(self.tokens) + 1, kernel, hidden)
        return CtcTraining(made)


class LettersLearner(PhonesLearner, experts.WordsHead):
    """Letters need some of what was before: which one is written depends on its neighbours."""

    kernel = 9


class VoiceTraining(Training):
    """-> vectors (B, E) and their cosines with the training speakers (B, speakers)."""

    def __init__(self, head: Head, speakers: int, embedding: int) -> None:
        super().__init__(head)
        self.speakers = torch.nn.Parameter(torch.randn(speakers, embedding) * 0.1)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        voice = self.outputs(x, lengths)[0][:, 0]
        return voice, voice @ torch.nn.functional.normalize(self.speakers, dim=1).T


class SpeakerLearner(experts.VerifyHead):
    """A vector by AM-softmax over the training speakers."""

    def __init__(self, task: Task, store: Features, hop_samples: int, shape: Shape) -> None:
        self.shape = shape
        super().__init__(task, store, hop_samples)

    def head(self) -> suite.Head:
        made = Speaker(self.frames.layers, self.frames.width, self.shape.hidden or 192)
        return VoiceTraining(made, self.people, made.embedding)


class WordTraining(Training):
    """-> vectors (B, V) of clips of one word each; with the centres of the training words, which are thrown away."""

    def __init__(self, head: WordsHead, words: int) -> None:
        super().__init__(head)
        self.centres = SubCentreLoss(words, PARTS * head.embedding)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor]:
        return (whole_vectors(self.outputs(x, lengths)[0], lengths),)


class MatchLearner(SpeakerLearner):
    """Vectors of words by sub-centre ArcFace over the training words, and a contrastive loss."""

    def head(self) -> suite.Head:
        sizes = {"hidden": self.shape.hidden or 256, "kernel": self.shape.kernel or 9}
        return WordTraining(WordsHead(self.frames.layers, self.frames.width, **sizes), self.people)

    def loss(self, head: suite.Head, rows: Sequence[int]) -> Tensor:
        assert isinstance(head, WordTraining)
        (vectors,), words = head(*self.frames.batch(rows)), self.answers[list(rows)]
        return head.centres(vectors, words) + pair_loss(vectors, words)


class FrameTraining(Training):
    """-> logits (B, T, W)."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return self.outputs(x, lengths)[0]


class VadLearner(experts.SpeechHead):
    """Speech or not, frame by frame."""

    def __init__(self, task: Task, store: Features, hop_samples: int, shape: Shape) -> None:
        self.shape = shape
        super().__init__(task, store, hop_samples)

    def head(self) -> suite.Head:
        made = Vad(self.frames.layers, self.frames.width, self.shape.hidden or 32, self.shape.kernel or 5)
        return FrameTraining(made)

    def logits(self, head: suite.Head, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        x, lengths = self.frames.batch(numbers)
        return head(x, lengths)[..., 0], lengths


class SegmentLearner(experts.DiarizeHead):
    """Who of two, learned frame by frame, and judged every 100 ms as in the suite."""

    def __init__(self, task: Task, store: Features, hop_samples: int, shape: Shape) -> None:
        self.shape = shape
        super().__init__(task, store, hop_samples)

    def prepare(self) -> None:
        """Nothing is averaged beforehand."""

    def head(self) -> suite.Head:
        made = Segment(self.frames.layers, self.frames.width, self.shape.hidden or 96, self.shape.kernel or 5)
        return FrameTraining(made)

    def loss(self, head: suite.Head, rows: Sequence[int]) -> Tensor:
        x, lengths = self.frames.batch(rows)
        wanted = []
        for row, frames in zip(rows, lengths.tolist(), strict=True):
            target = np.asarray(self.item(row).target, np.float32)
            wanted.append(torch.from_numpy(target[grid_bins(frames, len(target), self.hop_samples)]))
        return suite.permutation_free_loss(head(x, lengths), suite.padded(wanted)[0], lengths)

    def counts(self, head: suite.Head, split: str) -> np.ndarray:
        rows = []
        for numbers in self.batches(split):
            x, lengths = self.frames.batch(numbers)
            for number, logits, frames in zip(numbers, head(x, lengths), lengths.tolist(), strict=True):
                rows.append(turn_counts(self.item(number).target, logits[:frames].numpy(), self.hop_samples))
        return np.array(rows)


# From the kind of a task to the kind of head, and to what trains it; a probe trains classifiers.
LEARNERS: dict[str, tuple[str, Any]] = {
    "classify": ("classify", None),
    "ctc": ("ctc", PhonesLearner),
    "words": ("ctc", LettersLearner),
    "verify": ("speaker", SpeakerLearner),
    "match": ("words", MatchLearner),
    "diarize": ("segment", SegmentLearner),
    "speech": ("vad", VadLearner),
}


def made(kind: str, tensors: Tensors, **arguments: int) -> Head:
    """A head from the numbers that training left: of `Training`, of a probe, or of a head of the suite.

    `scale` and `shift` (L, D) are those of the frames; `arguments` are the head's, beside its layers and width.
    """
    layers, width = tensors["scale"].shape
    head = KINDS[kind].make(layers, width, **arguments)
    plain = {name.removeprefix("head."): value for name, value in tensors.items()}
    logits = plain["mix.logits"] if "mix.logits" in plain else plain["layer_logits"]
    own = {"sum.logits": logits, "sum.scale": tensors["scale"], "sum.shift": tensors["shift"]}
    rest = {name: plain[name] for name in head.state_dict() if name not in own}
    head.load_state_dict({**own, **rest})
    return head.eval().requires_grad_(False)
