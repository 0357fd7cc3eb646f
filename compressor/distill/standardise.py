"""Targets of zero mean and unit variance: each dimension of a teacher's layer by statistics that never change; and the
output of a student, once it is trained.

Shapes: B batch, T frames, N matched teacher layers, E width of the teacher.

Some dimensions of a deep layer vary far more than the rest, and a loss in the teacher's own scale is about them. What
is compared is standardised, predictions and targets alike; what heads yield, and so what is saved with a checkpoint and
read by everybody else, stays in the teacher's scale. Prediction heads learn the standardised numbers, which
`PredictionHeads.rescale` turns back, and so do projections onto another width, one for each pair of layers;
projections that start as the identity are left as they are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..data.batches import Batches
from ..models.encoder import Encoder
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
        for waves in first_waves(batches, MEASURED_S):
            states = teacher.hidden_states(waves.to(self.mean.device), layers=list(self.rows))
            sums.add(torch.stack([states[layer].flatten(0, 1).float() for layer in self.rows]))
        self.take(sums.mean, sums.deviation)

    def take(self, mean: Tensor, deviation: Tensor) -> None:
        """Statistics of the layers, (N, E) each."""
        self.mean.copy_(mean)
        self.scale.copy_(least_scale(deviation) ** self.power)


def first_waves(batches: Batches, most_s: float) -> Iterator[Tensor]:
    """(B, S) of the first batches, until they are `most_s` of speech or its first epoch is over."""
    stream, heard_s = batches.start(0), 0.0
    try:
        for batch in stream:
            if heard_s >= most_s or (heard_s and batch.epoch):
                break
            if len(batch.waves):
                yield batch.waves
                heard_s += batch.audio_s
    finally:
        stream.close()


@torch.no_grad()
def standardise_output(encoder: Encoder, waves: Iterable[Tensor], chunk_frames: int | None = None) -> None:
    """Set the final norm of a pre-norm encoder so that each dimension of its output is standardised over waves (B, S).

    No objective sees that norm. What is summed up from layer to layer has a few dimensions many times larger than the
    rest (arXiv:2402.17762 finds the like in language models), and a cosine of two frames is about nothing else. A norm
    without a bias (RMSNorm) is given the scale alone.
    """
    norm, training = encoder.encoder.layer_norm, encoder.training
    weight, bias = norm.get_parameter("weight"), dict(norm.named_parameters()).get("bias")
    weight.fill_(1)
    if bias is not None:
        bias.fill_(0)
    sums = _Moments(torch.Size((1, len(weight))))
    encoder.eval()
    for rows in waves:
        states = encoder.hidden_states(rows.to(weight.device), chunk_frames=chunk_frames)
        sums.add(encoder.encoder.last(states[-1]).flatten(0, 1)[None].float())
    encoder.train(training)
    spread = sums.deviation if bias is not None else (sums.deviation.square() + sums.mean.square()).sqrt()
    scale = least_scale(spread)[0]
    weight.copy_(1 / scale)
    if bias is not None:
        bias.copy_(-sums.mean[0] / scale)


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
