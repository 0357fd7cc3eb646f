"""`--finetune`: the top layers of a student, or all of it, move with its head.

Shapes: B clips, S samples, T frames, L layers, D width.

The head is trained on the frozen student first, because a random one would pull the layers in random directions; then
both learn together, the layers with a rate of their own. What comes out is another checkpoint, with this head only.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechpress.runtime.answers.words import PARTS
from speechpress.runtime.errors import SpeechpressError

from ..data.audio import UnreadableAudio
from ..data.sounds import read_sound
from ..evaluate.heads import inside, margin_loss, padded, permutation_free_loss
from ..evaluate.probes import seeded
from ..models.answering import layers_of
from ..models.checkpoint import Checkpoint, ancestry
from ..models.encoder import Encoder
from ..models.events import OnText
from ..tasks.kinds import GRID_SAMPLES, Item, speech_frames
from ..tasks.kinds import KINDS as TASK_KINDS
from ..tasks.task import Task
from .classify import classify_loss
from .features import Chunk, heard
from .judge import judged
from .learn import HeadOptions
from .module import Head
from .place import document, put_moved
from .train import Learned, kept_head, learn, line
from .vad import vad_loss
from .words import SubCentreLoss, pair_loss, whole_vectors

CLIP_NORM, HEAD_LR, WARM = 1.0, 1e-3, 0.1
MOST_SAMPLES = 16_000 * 60  # of a batch


def finetuned(
    opened: Checkpoint, name: str, task: Task, chunks: Sequence[Chunk], options: HeadOptions, say: OnText
) -> dict[str, Any]:
    """A head and a student that has moved with it; see `head.train_head`."""
    assert options.out is not None
    moving = _moving(opened, options.finetune)
    kind = TASK_KINDS[task.kind].features
    with heard(opened.encoder, task.items, kind, chunks, options.cache, options.device, say) as store:
        task = task.without(item.path for item in store.skipped)
        frozen = learn(task, store, store.hop_samples, replace(options, budget=replace(options.budget, seeds=1)), say)
    encoder = copy.deepcopy(opened.encoder)
    head = _move(encoder, copy.deepcopy(frozen.head), frozen, task, chunks, moving, options, say)
    with heard(encoder, task.items, "frames", chunks[:1], None, options.device, say) as store:
        score, threshold = judged(head, frozen.labels, task, store, store.hop_samples)
    learned = Learned(head, frozen.kind, frozen.labels, replace(score, lr=frozen.score.lr), threshold)
    told = {
        **line(learned, task, opened, chunks, options),
        "finetune": {
            "layers": moving,
            "lr": options.finetune_lr,
            "steps": options.finetune_steps,
            "frozen": {"value": frozen.score.test, "ci95": list(frozen.score.ci95)},
        },
    }
    note = f"its weights were moved for the head {name!r} (compress head --finetune)"
    card = {
        **opened.card,
        "parents": [*ancestry(str(opened.path))],
        "notes": [*(opened.card.get("notes") or []), note],
    }
    # Its student's hash is known when that is written.
    kept = kept_head(name, learned, task, "", told)
    left = put_moved(opened, encoder, kept, card, options.out)
    return document(options.out, kept, tuple(left))


def _moving(opened: Checkpoint, count: int) -> list[str]:
    """Names of the parts that move; raises SpeechpressError for more layers than there are."""
    depth = len(opened.encoder.encoder.layers)
    if count < 0:
        return ["all"]
    if count > depth:
        raise SpeechpressError(f"--finetune top:{count}: the student has {depth} layers with weights of their own")
    return [f"layers.{index}" for index in range(depth - count, depth)]


def _parameters(encoder: Encoder, moving: Sequence[str]) -> list[nn.Parameter]:
    encoder.requires_grad_(moving == ["all"])
    if moving != ["all"]:
        for name in moving:
            encoder.encoder.get_submodule(name).requires_grad_(True)
    # Nothing that is trained here hides frames behind it.
    encoder.masked_spec_embed.requires_grad_(False)
    return [value for value in encoder.parameters() if value.requires_grad]


def _move(
    encoder: Encoder,
    head: Head,
    frozen: Learned,
    task: Task,
    chunks: Sequence[Chunk],
    moving: Sequence[str],
    options: HeadOptions,
    say: OnText,
) -> Head:
    """Train both; the encoder is changed in place."""
    items = task.part("train")
    with seeded(0):
        teaching = Teaching(frozen, items, encoder.config.hop_samples, head)
    head.requires_grad_(True)
    groups = [
        {"params": _parameters(encoder, moving), "lr": options.finetune_lr},
        {"params": [*head.parameters(), *teaching.parameters()], "lr": HEAD_LR},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-2)
    rates = [options.finetune_lr, HEAD_LR]
    steps = options.finetune_steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=steps + 1, pct_start=WARM, cycle_momentum=False
    )
    trained = [value for group in groups for value in group["params"]]  # type: ignore[attr-defined]
    with _on(options.device, encoder, head, teaching):
        for step, numbers in enumerate(_batches(items, options.budget.batch, steps)):
            waves, lengths, numbers = _waves(items, numbers)
            layers, exists = _layers(encoder, waves.to(options.device), lengths, chunks[step % len(chunks)])
            loss = teaching(head(layers, exists, _state(head, layers))[0], exists, numbers)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, CLIP_NORM)
            optimizer.step()
            schedule.step()
            if (step + 1) % 20 == 0:
                say(f"moving: step {step + 1} of {steps}, loss {loss.item():.3f}")
    encoder.eval().requires_grad_(False)
    return head.eval().requires_grad_(False)


@contextmanager
def _on(device: str, encoder: Encoder, *parts: nn.Module) -> Iterator[None]:
    """All parts on a device in between, in training; dropout stays off, as it was when the head was trained."""
    for part in (encoder, *parts):
        part.to(device).train()
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    yield
    for part in (encoder, *parts):
        part.to("cpu")


def _state(head: Head, layers: Tensor) -> dict[str, Tensor]:
    return {name: value.to(layers.device) for name, value in head.initial_state(len(layers)).items()}


def _batches(items: Sequence[Item], batch: int, steps: int) -> Iterator[list[int]]:
    draw, order = torch.Generator().manual_seed(0), list[int]()
    for _ in range(steps):
        while len(order) < batch:
            order += torch.randperm(len(items), generator=draw).tolist()
        yield order[:batch]
        order = order[batch:]


def _waves(items: Sequence[Item], numbers: Sequence[int]) -> tuple[Tensor, Tensor, list[int]]:
    """(B, S), the lengths, and which clips these are: those that can be read, and as many as fit."""
    rows: list[Tensor] = []
    kept, samples = [], 0
    for number in numbers:
        try:
            wave = torch.from_numpy(read_sound(items[number].sound))
        except UnreadableAudio:
            continue  # told when the features were made
        samples += len(wave)
        if rows and samples > MOST_SAMPLES:
            break
        rows.append(wave)
        kept.append(number)
    waves, lengths = padded(rows)
    return waves, lengths, kept


def _layers(encoder: Encoder, waves: Tensor, lengths: Tensor, chunk: Chunk) -> tuple[Tensor, Tensor]:
    """Waves (B, S) -> layers (B, T, L, D) as they are deployed, and which frames exist (B, T)."""
    states = encoder.hidden_states(waves, lengths.to(waves.device), chunk)
    layers = torch.stack(layers_of(encoder.encoder, states), 2)
    ends = encoder.config.frames(lengths)
    return layers, inside(ends, layers.shape[1]).to(waves.device)


class Teaching(nn.Module):
    """The loss of a kind of head on clips by number; a speaker's and a word's with the centres of the training's."""

    def __init__(self, learned: Learned, items: Sequence[Item], hop_samples: int, head: Head) -> None:
        super().__init__()
        self.kind, self.labels, self.items, self.hop_samples = learned.kind, learned.labels, items, hop_samples
        if self.kind in ("speaker", "words"):
            self.people = sorted({item.target for item in items})
        if self.kind == "speaker":
            self.speakers = nn.Parameter(torch.randn(len(self.people), head.widths[0]) * 0.1)
        if self.kind == "words":
            self.centres = SubCentreLoss(len(self.people), PARTS * (head.widths[0] - 1))

    def forward(self, outputs: tuple[Tensor, ...], exists: Tensor, numbers: Sequence[int]) -> Tensor:
        targets, device = [self.items[number].target for number in numbers], exists.device
        lengths, first = exists.sum(1), outputs[0]
        if self.kind == "classify":
            return classify_loss(outputs, exists, torch.tensor([self.labels.index(t) for t in targets]).to(device))
        if self.kind == "ctc":
            tokens = [torch.tensor([self.labels.index(one) for one in target]) for target in targets]
            sizes = torch.tensor([len(one) for one in tokens])
            scores = first.log_softmax(-1).transpose(0, 1)
            return F.ctc_loss(scores, torch.cat(tokens).to(device), lengths, sizes, zero_infinity=True)
        if self.kind == "speaker":
            cosines = first[:, 0] @ F.normalize(self.speakers, dim=1).T
            return margin_loss(cosines, torch.tensor([self.people.index(t) for t in targets]).to(device))
        if self.kind == "words":
            vectors = whole_vectors(first, lengths)
            words = torch.tensor([self.people.index(t) for t in targets]).to(device)
            return self.centres(vectors, words) + pair_loss(vectors, words)
        frames = first.shape[1]
        if self.kind == "vad":
            active = [torch.from_numpy(speech_frames(target, frames, self.hop_samples)).float() for target in targets]
            return vad_loss(outputs, exists, torch.stack(active).to(device))
        bins = np.arange(frames) * self.hop_samples // GRID_SAMPLES
        who = [torch.from_numpy(np.asarray(t, np.float32)[np.minimum(bins, len(t) - 1)]) for t in targets]
        return permutation_free_loss(first.cpu(), torch.stack(who), lengths.cpu())
