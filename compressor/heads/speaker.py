"""A vector for the voice that was heard so far: a small x-vector whose statistics run along.

Shapes: B streams, T frames, D width, H hidden, E embedding.

Mean and deviation over time of a projected frame, one linear layer, length 1; the form of the suite's `Voice`, which
is trained by AM-softmax (arXiv:1801.05599). The state holds sums, sums of squares and the number of frames, so a
recording's last vector is that of the whole of it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .module import Head, State

EPS = 1e-5  # of the variance: at 0, which one frame has, a root has no finite slope


class Speaker(Head):
    """A vector (B, 1, E) of length 1 about all frames up to the end of the chunk."""

    def __init__(self, layers: int, width: int, hidden: int = 192, embedding: int = 96) -> None:
        super().__init__(layers, width)
        self.hidden, self.embedding = hidden, embedding
        self.project = nn.Linear(width, hidden)
        self.embed = nn.Linear(2 * hidden, embedding)

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.embedding,)

    def initial_state(self, batch: int = 1) -> State:
        sums = torch.zeros(batch, self.hidden)
        return {"sums": sums, "squares": sums.clone(), "frames": torch.zeros(batch, 1)}

    def answer(self, x: Tensor, exists: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        y = F.relu(self.project(x)) * exists[..., None]
        sums = state["sums"] + y.sum(1)
        squares = state["squares"] + (y * y).sum(1)
        frames = state["frames"] + exists.float().sum(1, keepdim=True)
        count = frames.clamp_min(1)
        mean = sums / count
        # Rounding may take a difference of two nearly equal numbers below 0.
        deviation = ((squares / count - mean * mean).clamp_min(0) + EPS).sqrt()
        vector = self.embed(torch.cat([mean, deviation], 1))
        length = (vector * vector).sum(1, keepdim=True).sqrt().clamp_min(1e-12)
        return ((vector / length)[:, None],), {"sums": sums, "squares": squares, "frames": frames}
