"""The training loop of distillation: `step` again and again, in a way that can be stopped and gone on with.

Batches are a pure function of their index, and so is a step's random state: a resumed run needs weights, optimizer
state and `Progress`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..data.batches import Batch, Batches
from ..models.events import Event, OnEvent
from ..recipe.schema import Train
from .process import Interrupt
from .step import Sums, Taken, Trainer, distillation_step, scales_gradients, summed


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
class Since:
    """What there is to say since the last log line."""

    sums: Sums
    audio_s: float = 0.0
    seconds: float = 0.0
    grad_norm: float = 0.0


class Loop:
    """The state of one running distillation. `run` goes from `progress.step` to `train.steps`."""

    def __init__(self, trainer: Trainer, listen: OnEvent) -> None:
        self.trainer, self.listen, self.progress = trainer, listen, Progress()
        # Every log line waits for the GPU (settle), so not at every step; a short run still gets about a hundred.
        self.log_every = max(1, min(50, trainer.train.steps // 100))
        self.since = self._nothing()
        self.unsettled: list[Taken] = []  # steps whose numbers nobody has looked at

    def _nothing(self) -> Since:
        return Since(Sums(torch.zeros((), device=self.trainer.fabric.device)))

    def run(self, batches: Batches, interrupt: Interrupt, after_step: Callable[[], None]) -> bool:
        """Train to the end (True) or until interrupted (False). `after_step` saves and validates when it is due."""
        fabric, train, progress = self.trainer.fabric, self.trainer.train, self.progress
        stream = batches.start(progress.step, fabric.global_rank, fabric.world_size)
        if self.trainer.kept is not None:
            stream = self.trainer.kept.ahead(stream)
        try:
            while progress.step < train.steps:
                started = time.perf_counter()
                self.step(next(stream))
                if self._due(self.log_every, train.checkpoint_every, train.validate_every):
                    self.settle()
                # After settle: else this would be the time to queue the kernels, not to run them.
                progress.train_s += time.perf_counter() - started
                self.since.seconds += time.perf_counter() - started
                if self._due(self.log_every) and (line := self._log_line()) is not None:
                    self.listen(line)
                # Not counted in train_s: to validate and to save is not to train.
                after_step()
                if self._interrupted(interrupt):
                    self.settle()
                    return False
        finally:
            stream.close()
        return True

    def step(self, batch: Batch) -> Tensor:
        """The next step; returns its loss, the mean over the global batch, for which `settle` waits."""
        taken = distillation_step(self.trainer, batch, self.progress.step)
        # Tensors: a float() here would wait for the GPU at every step.
        self.unsettled.append(taken)
        self.since.sums.add(taken.sums.loss, taken.sums.frames, taken.sums.layers)
        self.since.audio_s += batch.audio_s
        self.progress.step += 1
        self.progress.audio_s += batch.audio_s
        return taken.loss

    def settle(self) -> None:
        """Look at the losses and gradients since the last time: the one place where the loop waits for the GPU.

        It comes before every log line, validation and save, so that nothing is written of a run gone wrong.

        Raises SpeechpressError for a loss or gradient that is no number, and for a loss that has risen far.
        """
        if not self.unsettled:
            return
        taken, self.unsettled = self.unsettled, []
        # One copy from the GPU for all the steps.
        values = torch.stack([torch.stack([one.loss, one.grad_norm.to(one.loss), one.rows]) for one in taken]).tolist()
        for step, (loss, grad_norm, rows) in enumerate(values, self.progress.step - len(taken)):
            self._require_finite(step, loss, grad_norm)
            if rows:  # the loss of a batch that nobody could read is 0, and no measure for others
                self._watch(step, loss)
        self.since.grad_norm = values[-1][1]

    def _due(self, *periods: int) -> bool:
        step = self.progress.step
        return step == self.trainer.train.steps or any(step % period == 0 for period in periods)

    def _interrupted(self, interrupt: Interrupt) -> bool:
        fabric = self.trainer.fabric
        if fabric.world_size == 1:
            return interrupt.requested
        # All stop at the same step, else the others wait forever for the one that is gone.
        return bool(summed(fabric, torch.tensor(float(interrupt.requested), device=fabric.device)) > 0)

    def _require_finite(self, step: int, loss: float, grad_norm: float) -> None:
        scaled = scales_gradients(self.trainer.fabric)
        if not math.isfinite(loss):
            raise diverged(f"the loss is {loss} at step {step}", self.trainer.train, scaled=scaled)
        if not math.isfinite(grad_norm) and not scaled:  # else the scaler leaves the step out and scales less
            raise diverged(f"the gradient is {grad_norm} at step {step}", self.trainer.train, scaled=scaled)

    def _watch(self, step: int, loss: float) -> None:
        """Stop a run whose smoothed loss has risen to far above the best it has had."""
        progress = self.progress
        # About the mean of the last 50 steps: single batches of hard speech must not stop a run.
        progress.loss_ema = loss if progress.loss_ema is None else 0.98 * progress.loss_ema + 0.02 * loss
        progress.best_ema = min(progress.best_ema, progress.loss_ema)
        if progress.loss_ema > progress.best_ema + abs(progress.best_ema) + 1:  # a raw cosine goes down to -1
            raise diverged(
                f"the loss has risen from {progress.best_ema:.3f} to {progress.loss_ema:.3f} (smoothed) "
                f"by step {step + 1}",
                self.trainer.train,
                scaled=scales_gradients(self.trainer.fabric),
            )

    def _told(self) -> list[int]:
        """The keys of what the student is held against: matched layers, and below 0 those of units."""
        match = self.trainer.match
        units = () if match.clusters is None else match.clusters.layers
        return [*sorted(set(match.teacher_layers)), *(~layer for layer in units)]

    def _log_line(self) -> Event | None:
        """Means since the last line, over all processes; None when nothing could be read since then."""
        since, self.since = self.since, self._nothing()
        sums, layers, penalty = since.sums, self._told(), self.trainer.penalty
        nothing = sums.loss.new_zeros(2)  # so that processes add up the same layers, whatever each of them heard
        flat = torch.stack([sums.loss, torch.tensor(float(sums.frames), device=sums.loss.device)])
        flat = torch.cat([flat, *(sums.layers.get(layer, nothing).float() for layer in layers)])
        flat = summed(self.trainer.fabric, flat)
        if not flat[1]:
            return None
        values = (flat / flat[1]).tolist()
        pairs = dict(zip(layers, zip(values[2::2], values[3::2], strict=True), strict=True))
        units = {str(~key): {"loss": loss, "accuracy": right} for key, (loss, right) in pairs.items() if key < 0}
        return {
            "event": "train",
            "step": self.progress.step,
            "loss": values[0],
            "layers": {str(n): {"l1": l1, "cosine": cos} for n, (l1, cos) in pairs.items() if n >= 0},
            **({"units": units} if units else {}),
            "lr": self.trainer.optimizer.param_groups[0]["lr"],
            "grad_norm": since.grad_norm,
            "audio_s": self.progress.audio_s,
            "audio_s_per_s": since.audio_s / max(since.seconds, 1e-9),
            **({} if penalty is None else penalty.facts(self.progress.step)),
        }


def diverged(what: str, train: Train, *, scaled: bool) -> SpeechpressError:
    """The error of a run that cannot go on, with what to try; `scaled` says whether it runs in fp16."""
    tries = [f"--set train.lr={train.lr / 4:g}"]
    if scaled:
        tries.insert(0, "--set train.precision=bf16 (or fp32)")
    tries.append("a longer warm-up (--set train.warmup=0.15)" if train.warmup < 0.15 else "--set train.clip=1.0")
    return SpeechpressError(
        f"{what}; the run was stopped and its last checkpoint kept. Start again in a new folder with "
        + ", or with ".join(tries)
    )
