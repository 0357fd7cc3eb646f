"""Targets of zero mean and unit variance: each dimension of a teacher's layer by statistics that never change.

Shapes: B batch, T frames, N matched teacher layers, E width of the teacher.

Some dimensions of a deep layer vary far more than the rest, and a loss in the teacher's own scale is about them. What
is compared is standardised, predictions and targets alike; what heads yield, and so what is saved with a checkpoint and
read by everybody else, stays in the teacher's scale. Prediction heads learn the standardised numbers, which
`PredictionHeads.rescale` turns back; projections of hidden layers start as the identity, and are left as they are.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..data.batches import Batches
from ..teachers.load import Teacher

MEASURED_S = 1200.0  # of speech: some 60,000 frames
LEAST_SHARE = 0.1  # of a layer's median deviation: what hardly varies is not blown up beyond that
LEAST = 1e-5  # where a whole layer hardly varies


class Standard(nn.Module):
    """Means and deviations of a teacher's layers, (N, E) each: buffers, saved and restored with a run.

    Args:
        layers: the teacher layers, in the order of the rows.
        width: E.
        power: of the deviations that is divided by (None: 1); below 1, large dimensions count more than small ones.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, layers: Sequence[int], width: int, power: float | None = None) -> None:
        super().__init__()
        self.power = 1.0 if power is None else power
        self.rows = {layer: row for row, layer in enumerate(layers)}
        self.register_buffer("mean", torch.zeros(len(layers), width))
        self.register_buffer("scale", torch.ones(len(layers), width))

    def forward(self, states: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """{layer: (B, T, E)} in the teacher's scale -> the same, standardised, in float32; units stay as they are."""
        return {
            layer: (state.float() - self.mean[self.rows[layer]]) / self.scale[self.rows[layer]]
            if layer in self.rows
            else state
            for layer, state in states.items()
        }

    @torch.no_grad()
    def measure(self, teacher: Teacher, batches: Batches) -> None:
        """Take over the statistics of the first batches of training speech, the same on every process."""
        sums = _Moments(self.mean.shape)
        stream, heard_s = batches.start(0), 0.0
        try:
            for batch in stream:
                if heard_s >= MEASURED_S or (heard_s and batch.epoch):
                    break
                if len(batch.waves):
                    states = teacher.hidden_states(batch.waves.to(self.mean.device), layers=list(self.rows))
                    sums.add(torch.stack([states[layer].flatten(0, 1).float() for layer in self.rows]))
                    heard_s += batch.audio_s
        finally:
            stream.close()
        self.take(sums.mean, sums.deviation)

    def take(self, mean: Tensor, deviation: Tensor) -> None:
        """Statistics of the layers, (N, E) each."""
        self.mean.copy_(mean)
        self.scale.copy_(least_scale(deviation) ** self.power)


def least_scale(deviation: Tensor) -> Tensor:
    """Deviations (N, E), none so small that the noise of a dead dimension would become a target."""
    floor = (LEAST_SHARE * deviation.median(-1, keepdim=True).values).clamp(min=LEAST)
    return torch.maximum(deviation, floor)


class _Moments:
    """Mean and deviation over frames that come in parts (Chan, Golub and LeVeque), in float64 on the CPU."""

    def __init__(self, shape: torch.Size) -> None:
        self.count, self.mean = 0, torch.zeros(shape, dtype=torch.float64)
        self.squares = torch.zeros(shape, dtype=torch.float64)  # of differences from the mean

    def add(self, x: Tensor) -> None:
        """x: (N, frames, E)."""
        frames, before = x.shape[1], self.count
        variance, mean = (part.cpu().double() for part in torch.var_mean(x, dim=1, correction=0))
        self.count += frames
        gap = mean - self.mean
        self.mean += gap * frames / self.count
        self.squares += variance * frames + gap.square() * before * frames / self.count

    @property
    def deviation(self) -> Tensor:
        return (self.squares / max(1, self.count)).sqrt()
