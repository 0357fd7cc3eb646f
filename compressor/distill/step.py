"""One optimizer step of distillation, from top to bottom: teacher, student, heads, loss, update.

Shapes: B batch, S samples, T frames, D width of the student, E width of the teacher.

Nothing here knows of folders, logs, or how often it runs: `loop` repeats the step and may stop between any two.
For that the loss is a sum over frames divided by the frames of the *global* batch, so that one process, several
processes and several micro-batches follow the same path; random state is set from (seed, step, process, micro-batch);
and nothing waits for the GPU.
"""

import hashlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from ..data.batches import Batch
from ..lessons.told import KeptTeacher
from ..lessons.units import Centres, UnitHeads, layers_in, unit_sums
from ..models.encoder import Encoder
from ..recipe.hear import MASK_LENGTH
from ..recipe.schema import Match, Train
from ..teachers.load import Teacher
from .masking import Hearing, draw_masks, masked_targets
from .objectives import Heads, Parts, loss_sums
from .standardise import Standard
from .validation import align


class Distiller(nn.Module):
    """Student and heads as one module, so that the forward pass goes through DDP's wrapper."""

    def __init__(self, encoder: Encoder, heads: Heads, units: UnitHeads | None = None) -> None:
        super().__init__()
        self.encoder, self.heads, self.units = encoder, heads, units
        self.standard: Standard | None = None  # by which targets are standardised; saved with the rest

    def forward(
        self, waves: Tensor, chunk_frames: int | None = None, masked: Tensor | None = None
    ) -> dict[int, Tensor]:
        """(B, S) -> predictions {teacher layer: (B, T, E)}, as if the audio came in chunks, if given.

        `masked` (B, frames of the front end) is True on frames that are hidden. With heads of units also their scores,
        {~layer: (B, T, K)}.
        """
        states = self.encoder.hidden_states(waves, chunk_frames=chunk_frames, masked=masked)
        return self.heads(states) if self.units is None else {**self.heads(states), **self.units(states[-1])}


def rescale_heads(module: Distiller, *, keep: bool) -> None:
    """Let prediction heads learn the numbers that `module.standard` makes of the targets; see `rescale`."""
    if module.standard is not None:
        module.heads.rescale(module.standard.mean, module.standard.scale, keep=keep)


class Penalty(Protocol):
    """What is added to the loss at a step, the same on every process, and what of it goes into the log."""

    def __call__(self, step: int) -> Tensor: ...

    def facts(self, step: int) -> dict[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """What a step is made with; none of it says which step it is.

    Attributes:
        distiller: a `Distiller` in Fabric's wrapper.
        draw_chunk: step -> frames of the chunks that the student hears; None is the whole recording.
        penalty: is added to the loss.
        centres: of the teacher's clusters, whose units the student tells.
        kept: gives what the teacher says of a clip without hearing it again.
        before_step: is called with the number of each step, such as to round weights from one on.
        hearing: what the student hears otherwise than its teacher.
        lag_frames: of the teacher, by which the student's predictions are late.
        standard: by which predictions and targets are standardised before they are compared.
    """

    fabric: Fabric
    teacher: Teacher
    distiller: nn.Module
    optimizer: torch.optim.Optimizer
    match: Match
    train: Train
    draw_chunk: Callable[[int], int | None] = lambda step: None
    penalty: Penalty | None = None
    kept: KeptTeacher | None = None
    centres: Centres | None = None
    before_step: Callable[[int], None] = lambda step: None
    hearing: Hearing | None = None
    standard: Standard | None = None
    lag_frames: int = 0


@dataclass
class Sums:
    """Sums over the frames that this process heard, on the training device."""

    loss: Tensor
    frames: int = 0
    layers: dict[int, Tensor] = field(default_factory=dict)  # of L1 and cosine similarity

    def add(self, loss: Tensor, frames: int, layers: dict[int, Tensor]) -> None:
        self.loss, self.frames = self.loss + loss, self.frames + frames
        for layer, pair in layers.items():
            self.layers[layer] = self.layers.get(layer, 0) + pair


@dataclass(frozen=True)
class Taken:
    """What a step says of itself, on the training device: reading any of it waits for the step to be over.

    Attributes:
        loss: the mean over the frames and matched layers of the global batch.
        grad_norm: of all gradients together, before they were clipped.
        rows: of the global batch; 0 when none of it could be read.
        sums: of this process's share of the batch.
    """

    loss: Tensor
    grad_norm: Tensor
    rows: Tensor
    sums: Sums


def distillation_step(trainer: Trainer, batch: Batch, step: int) -> Taken:
    """One optimizer step, the `step`-th from 0 on, on this process's share of a global batch."""
    fabric, match, train, rounds = trainer.fabric, trainer.match, trainer.train, trainer.train.accumulate
    set_learning_rate(trainer.optimizer, train, step)
    trainer.before_step(step)
    chunk_frames, rows = trainer.draw_chunk(step), global_rows(fabric, batch)
    loss, sums = torch.zeros((), device=fabric.device), Sums(torch.zeros((), device=fabric.device))

    for micro in range(rounds):
        torch.manual_seed(step_seed(train.seed, step, fabric.global_rank, micro))
        waves, heard = _micro_batch(batch, micro, rounds)
        waves = waves.to(fabric.device, non_blocking=True)  # (B, S)
        masked = hidden_frames(trainer, waves, micro, step)  # (B, T)

        targets = targets_of(trainer, batch, micro, waves, masked)  # {layer: (B, T, E)}
        waves, masked = heard_by_student(trainer, waves, masked, micro, step)
        with _gradients_stay_here(trainer, micro < rounds - 1):
            predictions = trainer.distiller(waves, chunk_frames, masked)  # the student, then its heads
            predictions, targets = align(predictions, targets, trainer.lag_frames)
            total, parts = compared(predictions, targets, match, trainer.standard, masked)
            # After align: both have the frames that they share.
            frames = next(iter(targets.values())).shape[1]
            # A batch that nobody could read has 0 rows, and a recording no longer than the lag no frames; 0 / 1 stays a
            # number, and its gradient none.
            share = total / (rows.clamp(min=1) * max(1, frames)) * float(heard)
            # Once a step, not once a micro-batch.
            penalty = 0.0 if trainer.penalty is None else trainer.penalty(step) / rounds
            fabric.backward(share * fabric.world_size + penalty)  # DDP takes the mean over processes
        loss = loss + share.detach()
        if heard:
            sums.add(total.detach(), frames * len(waves), _stacked(parts))

    # Without a limit the norm is still wanted: it is how gradients that are no numbers are noticed.
    norm = fabric.clip_gradients(
        trainer.distiller, trainer.optimizer, max_norm=train.clip or math.inf, error_if_nonfinite=False
    )
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)
    return Taken(summed(fabric, loss), _tensor(norm), rows, sums)


def compared(
    predictions: dict[int, Tensor],
    targets: dict[int, Tensor],
    match: Match,
    standard: Standard | None,
    masked: Tensor | None = None,
) -> tuple[Tensor, Parts]:
    """`summed_loss` on the scale of training, and what the teacher's own scale adds where the recipe weighs both.

    The two sums for the log are of the scale of training alone.
    """
    if standard is None:
        return summed_loss(predictions, targets, match, masked)
    total, parts = summed_loss(standard(predictions), standard(targets), match, masked)
    if match.standardise_plain is None:
        return total, parts
    layers = layers_in(targets)
    plain, _ = loss_sums(predictions, layers, match)
    return total + match.standardise_plain * plain / max(1, len(layers)), parts


def summed_loss(
    predictions: dict[int, Tensor], targets: dict[int, Tensor], match: Match, masked: Tensor | None = None
) -> tuple[Tensor, Parts]:
    """Sum over frames of the loss: the mean over matched layers, and what units add; per key its two sums for the log.

    `masked` (B, T) is True on frames that are hidden from the student.
    """
    layers = layers_in(targets)
    if match.clusters is not None and not layers:
        return unit_sums(predictions, targets, match.clusters, masked)
    total, parts = loss_sums(predictions, layers, match)
    total = total / max(1, len(layers))
    if match.clusters is None:
        return total, parts
    more, also = unit_sums(predictions, targets, match.clusters, masked)
    return total + more, {**parts, **also}


def targets_of(trainer: Trainer, batch: Batch, micro: int, waves: Tensor, masked: Tensor | None) -> dict[int, Tensor]:
    """What the student is held against, {layer: (B, T, E)}, from what is kept of the batch where something is."""
    if trainer.kept is not None:
        return trainer.kept.targets(batch, micro, trainer.train.accumulate, waves.device)
    return teacher_targets(trainer.teacher, trainer.match, waves, masked, trainer.centres)


def teacher_targets(
    teacher: Teacher, match: Match, waves: Tensor, masked: Tensor | None, centres: Centres | None = None
) -> dict[int, Tensor]:
    """What the student is held against, {layer: (B, T, E)}; see `masking` for what `masked` (B, T) does to it.

    With `centres` also units, {~layer: (B, T)}, of the teacher that heard everything.
    """
    clustered = () if centres is None else centres.layers
    heard = teacher.hidden_states(waves, layers=(*match.teacher_layers, *clustered))
    units = {} if centres is None else centres.units(heard)
    plain = {layer: heard[layer] for layer in sorted(set(match.teacher_layers))}
    if masked is None or not plain:
        return plain | units
    hidden = teacher.hidden_states(waves, layers=match.teacher_layers, masked=masked)
    return masked_targets(plain, hidden, masked) | units


def hidden_frames(trainer: Trainer, waves: Tensor, micro: int, step: int) -> Tensor | None:
    """(B, T): which frames of a micro-batch are hidden from student and teacher; None without masking."""
    match, fabric = trainer.match, trainer.fabric
    if match.mask_prob is None:
        return None
    frames, length = int(trainer.teacher.frames(waves.shape[1])), match.mask_length or MASK_LENGTH
    return draw_masks(
        row_numbers(trainer, len(waves), micro), frames, match.mask_prob, length, trainer.train.seed, step
    ).to(fabric.device)


def heard_by_student(
    trainer: Trainer, waves: Tensor, masked: Tensor | None, micro: int, step: int
) -> tuple[Tensor, Tensor | None]:
    """(B, S) and (B, T): what the student hears where its teacher hears `waves`, and which frames it does not get."""
    if trainer.hearing is None:
        return waves, masked
    rows = row_numbers(trainer, len(waves), micro)
    # A recipe has one kind of masks: with these there are none that the teacher shares.
    own = trainer.hearing.masks(rows, waves.shape[1], step)
    return trainer.hearing.noisy(waves, rows, step), masked if own is None else own.to(waves.device)


def row_numbers(trainer: Trainer, count: int, micro: int) -> list[int]:
    """Which rows of the global batch the first `count` of a micro-batch are."""
    fabric, rounds = trainer.fabric, trainer.train.accumulate
    return [fabric.global_rank + fabric.world_size * (micro + rounds * row) for row in range(count)]


def step_seed(seed: int, step: int, rank: int, micro: int) -> int:
    """The seed of a micro-batch: the first 63 bits of SHA-256 over "seed/step/rank/micro" in decimal digits.

    Stated in full, because a run that is resumed, years later or by another Python, must draw the same.
    """
    digest = hashlib.sha256(f"{seed}/{step}/{rank}/{micro}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def learning_rate(train: Train, step: int) -> float:
    """Linear warm-up over the first `warmup` share of the steps, then linear decay to zero (or none)."""
    # Not 0: the warm-up is divided by it.
    warm = max(1, round(train.warmup * train.steps))
    if step < warm:
        return train.lr * (step + 1) / warm
    if train.schedule == "constant":
        return train.lr
    return train.lr * (train.steps - step) / max(1, train.steps - warm)


def set_learning_rate(optimizer: torch.optim.Optimizer, train: Train, step: int) -> None:
    for group in optimizer.param_groups:
        # Gates have a rate of their own on the same schedule, see gated_optimizer.
        group["lr"] = learning_rate(train, step) * group.get("lr_factor", 1.0)


def make_optimizer(distiller: nn.Module, train: Train, *, scaled: bool) -> torch.optim.AdamW:
    """AdamW of all that is trained; `scaled` says whether its gradients are, see `scales_gradients`."""
    trainable = [parameter for parameter in distiller.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        trainable,
        lr=train.lr,
        betas=(train.betas[0], train.betas[1]),
        eps=train.eps,
        weight_decay=train.weight_decay,
        fused=not scaled,  # the gradient scaler cannot clip for an optimizer that unscales by itself
    )


def scales_gradients(fabric: Fabric) -> bool:
    """Whether gradients are scaled to fit half precision; a step whose gradients do not fit is then left out.

    It is Fabric that is asked, not the recipe: fp16 in a recipe is fp32 on a CPU.
    """
    return getattr(fabric.strategy.precision, "scaler", None) is not None


def global_rows(fabric: Fabric, batch: Batch) -> Tensor:
    """Rows of a batch over all processes, a scalar."""
    return summed(fabric, torch.full((), float(len(batch.waves)), device=fabric.device))


def summed(fabric: Fabric, value: Tensor) -> Tensor:
    """Over all processes."""
    return value if fabric.world_size == 1 else _tensor(fabric.all_reduce(value, reduce_op="sum"))


def _micro_batch(batch: Batch, micro: int, rounds: int) -> tuple[Tensor, bool]:
    """(B, S) and whether it counts: where there is no row, one of zeros, as DDP needs every process to take part."""
    waves = batch.waves[micro::rounds]
    return (waves, True) if len(waves) else (waves.new_zeros(1, waves.shape[1]), False)


def _gradients_stay_here(trainer: Trainer, enabled: bool) -> AbstractContextManager[Any]:
    """Processes exchange gradients once a step, with the last micro-batch."""
    if isinstance(trainer.distiller, _FabricModule):
        return trainer.fabric.no_backward_sync(trainer.distiller, enabled=enabled)
    return nullcontext()


def _stacked(parts: Parts) -> dict[int, Tensor]:
    return {layer: torch.stack(pair) for layer, pair in parts.items()}


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(value)
