"""The training loop of distillation: one function, any device and precision, any number of processes.

Shapes: B batch, S samples, T frames, L layers, D width.

The loss is a sum over frames divided by the frames of the *global* batch, so one process, several processes and
several micro-batches follow the same path. Random state is set from (seed, step, process, micro-batch) at every step
and batches are a pure function of their index: a resumed run needs weights, optimizer state and a step number.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError

from .batching import Batch, Batches
from .encoder import Encoder
from .interrupt import Interrupt
from .masking import draw_masks, masked_targets
from .objectives import Heads, loss_sums
from .pretrained import Teacher
from .recipe import Match, Train
from .validation import align

MASK_LENGTH = 10  # frames, HuBERT's

Event = dict[str, Any]
Listener = Callable[[Event], None]


class Distiller(nn.Module):
    """Student and heads as one module, so that the forward pass goes through DDP's wrapper."""

    def __init__(self, encoder: Encoder, heads: Heads) -> None:
        super().__init__()
        self.encoder, self.heads = encoder, heads

    def forward(
        self, waves: Tensor, chunk_frames: int | None = None, masked: Tensor | None = None
    ) -> dict[int, Tensor]:
        """(B, S) -> predictions {teacher layer: (B, T, teacher width)}, as if the audio came in chunks, if given.

        `masked` (B, frames of the front end) is True on frames that are hidden.
        """
        return self.heads(self.encoder.hidden_states(waves, chunk_frames=chunk_frames, masked=masked))


@dataclass
class Progress:
    """What a run has done so far; all of it is saved and restored."""

    step: int = 0
    audio_s: float = 0.0
    train_s: float = 0.0
    loss_ema: float | None = None
    best_ema: float = math.inf
    skipped_steps: int = 0


@dataclass
class Sums:
    """Sums over the frames since the last log line, on the training device."""

    loss: Tensor
    frames: int = 0
    audio_s: float = 0.0
    seconds: float = 0.0
    grad_norm: float = 0.0
    layers: dict[int, Tensor] = field(default_factory=dict)


class Penalty(Protocol):
    """What is added to the loss at a step, the same on every process, and what of it goes into the log."""

    def __call__(self, step: int) -> Tensor: ...

    def facts(self, step: int) -> dict[str, float]: ...


def learning_rate(train: Train, step: int) -> float:
    """Linear warm-up over the first `warmup` share of the steps, then linear decay to zero (or none)."""
    warm = max(1, round(train.warmup * train.steps))
    if step < warm:
        return train.lr * (step + 1) / warm
    if train.schedule == "constant":
        return train.lr
    return train.lr * (train.steps - step) / max(1, train.steps - warm)


def make_optimizer(distiller: nn.Module, train: Train) -> torch.optim.AdamW:
    trainable = [parameter for parameter in distiller.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        trainable,
        lr=train.lr,
        betas=(train.betas[0], train.betas[1]),
        eps=train.eps,
        weight_decay=train.weight_decay,
        fused=train.precision != "fp16",  # the gradient scaler cannot clip for an optimizer that unscales by itself
    )


class Loop:
    """The state of one running distillation. `run` goes from `progress.step` to `train.steps`."""

    def __init__(
        self,
        fabric: Fabric,
        distiller: nn.Module,
        teacher: Teacher,
        optimizer: torch.optim.Optimizer,
        match: Match,
        train: Train,
        progress: Progress,
        listen: Listener,
        draw_chunk: Callable[[int], int | None] = lambda step: None,
        penalty: Penalty | None = None,
        before_step: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.fabric, self.distiller, self.teacher, self.optimizer = fabric, distiller, teacher, optimizer
        self.match, self.train, self.progress, self.listen = match, train, progress, listen
        self.draw_chunk, self.penalty, self.before_step = draw_chunk, penalty, before_step
        self.log_every = max(1, min(50, train.steps // 100))
        self.sums = self._zero()
        self.heard = True  # whether any process had a row at the last step; its loss is no loss otherwise

    def _zero(self) -> Sums:
        return Sums(torch.zeros((), device=self.fabric.device))

    def run(self, batches: Batches, interrupt: Interrupt, after_step: Callable[[], None]) -> bool:
        """Train to the end (True) or until interrupted (False). `after_step` saves and validates when it is due."""
        stream = batches.start(self.progress.step, self.fabric.global_rank, self.fabric.world_size)
        try:
            while self.progress.step < self.train.steps:
                started = time.perf_counter()
                loss = self.step(next(stream))
                self.progress.train_s += time.perf_counter() - started
                self.sums.seconds += time.perf_counter() - started
                if self.heard:
                    self._watch(loss)
                due = self.progress.step % self.log_every == 0 or self.progress.step == self.train.steps
                if due and (line := self._log_line()) is not None:
                    self.listen(line)
                after_step()
                if self._interrupted(interrupt):
                    return False
        finally:
            stream.close()
        return True

    def _interrupted(self, interrupt: Interrupt) -> bool:
        if self.fabric.world_size == 1:
            return interrupt.requested
        flag = torch.tensor(float(interrupt.requested), device=self.fabric.device)
        return bool(_tensor(self.fabric.all_reduce(flag, reduce_op="sum")) > 0)

    def step(self, batch: Batch) -> Tensor:
        """One optimizer step on this process's share of a global batch; returns the mean loss over the global batch."""
        train, progress = self.train, self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(train, progress.step) * group.get("lr_factor", 1.0)
        self.before_step(progress.step)
        rows, chunk = self._global_rows(batch), self.draw_chunk(progress.step)
        loss = torch.zeros((), device=self.fabric.device)
        for micro in range(train.accumulate):
            torch.manual_seed(hash((train.seed, progress.step, self.fabric.global_rank, micro)) % 2**63)
            last = micro == train.accumulate - 1
            with self._no_sync(not last):
                waves = batch.waves[micro :: train.accumulate]
                loss = loss + self._backward(waves, rows, chunk, self._hidden_frames(waves, micro))
        loss = _tensor(self.fabric.all_reduce(loss, reduce_op="sum")) if self.fabric.world_size > 1 else loss
        self._require_finite(loss)
        self._update()
        progress.step += 1
        progress.audio_s += batch.audio_s
        self.sums.audio_s += batch.audio_s
        return loss

    def _global_rows(self, batch: Batch) -> int:
        rows = len(batch.waves)
        if self.fabric.world_size > 1:
            count = torch.tensor(float(rows), device=self.fabric.device)
            rows = int(_tensor(self.fabric.all_reduce(count, reduce_op="sum")))
        self.heard = rows > 0
        return max(1, rows)

    def _no_sync(self, enabled: bool) -> Any:
        if isinstance(self.distiller, _FabricModule):
            return self.fabric.no_backward_sync(self.distiller, enabled=enabled)
        return nullcontext()

    def _hidden_frames(self, waves: Tensor, micro: int) -> Tensor | None:
        """(B, frames): which frames of a micro-batch are hidden from student and teacher; None without masking."""
        match = self.match
        if match.mask_prob is None:
            return None
        rank, world, rounds = self.fabric.global_rank, self.fabric.world_size, self.train.accumulate
        rows = [rank + world * (micro + rounds * row) for row in range(max(1, len(waves)))]
        frames, length = int(self.teacher.frames(waves.shape[1])), match.mask_length or MASK_LENGTH
        return draw_masks(rows, frames, match.mask_prob, length, self.train.seed, self.progress.step)

    def _backward(
        self, waves: Tensor, global_rows: int, chunk_frames: int | None, masked: Tensor | None = None
    ) -> Tensor:
        """Backward pass of one micro-batch (B, S), which may have no rows; returns its part of the global mean loss."""
        idle = len(waves) == 0
        if idle:
            waves = waves.new_zeros(1, waves.shape[1])  # DDP needs every process to take part
        waves = waves.to(self.fabric.device, non_blocking=True)
        layers = self.match.teacher_layers
        targets = self.teacher.hidden_states(waves, layers=layers)
        if masked is not None:
            masked = masked.to(self.fabric.device)
            hidden = self.teacher.hidden_states(waves, layers=layers, masked=masked)
            targets = masked_targets(targets, hidden, masked)
        predictions = self.distiller(waves, chunk_frames, masked)
        predictions, targets = align(predictions, targets)
        total, parts = loss_sums(predictions, targets, self.match)
        frames = next(iter(targets.values())).shape[1]
        loss = total / (global_rows * frames * len(targets)) * (0.0 if idle else 1.0)
        self.fabric.backward(loss * self.fabric.world_size + self._penalty())
        if not idle:
            self._count(total.detach() / len(targets), parts, frames * len(waves))
        return loss.detach()

    def _penalty(self) -> Tensor | float:
        """Its share of one micro-batch."""
        return 0.0 if self.penalty is None else self.penalty(self.progress.step) / self.train.accumulate

    def _count(self, loss: Tensor, parts: dict[int, tuple[Tensor, Tensor]], frames: int) -> None:
        self.sums.loss = self.sums.loss + loss
        self.sums.frames += frames
        for layer, pair in parts.items():
            self.sums.layers[layer] = self.sums.layers.get(layer, 0) + torch.stack(pair)

    def _update(self) -> None:
        if self.train.clip > 0:
            norm = self.fabric.clip_gradients(
                self.distiller, self.optimizer, max_norm=self.train.clip, error_if_nonfinite=False
            )
            self.sums.grad_norm = float(_tensor(norm))
            if not math.isfinite(self.sums.grad_norm) and self.train.precision != "fp16":
                raise diverged(f"the gradient is {self.sums.grad_norm} at step {self.progress.step}", self.train)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _require_finite(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise diverged(f"the loss is {float(loss)} at step {self.progress.step}", self.train)

    def _watch(self, loss: Tensor) -> None:
        """Stop a run whose smoothed loss has risen to far above the best it has had."""
        progress, value = self.progress, float(loss)
        progress.loss_ema = value if progress.loss_ema is None else 0.98 * progress.loss_ema + 0.02 * value
        progress.best_ema = min(progress.best_ema, progress.loss_ema)
        if progress.loss_ema > progress.best_ema + abs(progress.best_ema) + 1:  # a raw cosine goes down to -1
            raise diverged(
                f"the loss has risen from {progress.best_ema:.3f} to {progress.loss_ema:.3f} (smoothed) "
                f"by step {progress.step}",
                self.train,
            )

    def _log_line(self) -> Event | None:
        """Means since the last line, over all processes; None when all recordings since then were unreadable."""
        sums, self.sums = self.sums, self._zero()
        layers, nothing = sorted(set(self.match.teacher_layers)), sums.loss.new_zeros(2)  # alike on every process
        flat = torch.stack([sums.loss, torch.tensor(float(sums.frames), device=sums.loss.device)])
        flat = torch.cat([flat, *(sums.layers.get(layer, nothing).float() for layer in layers)])
        if self.fabric.world_size > 1:
            flat = _tensor(self.fabric.all_reduce(flat, reduce_op="sum"))
        if not flat[1]:
            return None
        values = (flat / flat[1]).tolist()
        pairs = zip(values[2::2], values[3::2], strict=True)
        return {
            "event": "train",
            "step": self.progress.step,
            "loss": values[0],
            "layers": {str(n): {"l1": l1, "cosine": cos} for n, (l1, cos) in zip(layers, pairs, strict=True)},
            "lr": self.optimizer.param_groups[0]["lr"],
            "grad_norm": sums.grad_norm,
            "audio_s": self.progress.audio_s,
            "audio_s_per_s": sums.audio_s / max(sums.seconds, 1e-9),
            **({} if self.penalty is None else self.penalty.facts(self.progress.step)),
        }


def diverged(what: str, train: Train) -> SpeechpressError:
    """The error of a run that cannot go on, with what to try."""
    tries = [f"--set train.lr={train.lr / 4:g}"]
    if train.precision == "fp16":
        tries.insert(0, "--set train.precision=bf16 (or fp32)")
    tries.append("a longer warm-up (--set train.warmup=0.15)" if train.warmup < 0.15 else "--set train.clip=1.0")
    return SpeechpressError(
        f"{what}; the run was stopped and its last checkpoint kept. Start again in a new folder with "
        + ", or with ".join(tries)
    )


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(value)
