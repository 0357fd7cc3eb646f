"""Whether somebody speaks, frame by frame.

Shapes: B streams, T frames, D width, S samples.
"""

import itertools

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from ..tasks.kinds import SPEECH_SAMPLES
from .module import CausalConv, Head, State

SPEECH_DB, LOUD, SHORTEST_PAUSE = -30.0, 0.95, 10  # below the level that 5 % exceed: silence; in steps of 10 ms


class Vad(Head):
    """A logit (B, T, 1) for each frame, above 0 for speech, from it and the `kernel` - 1 frames before it."""

    def __init__(self, layers: int, width: int, hidden: int = 32, kernel: int = 5) -> None:
        super().__init__(layers, width)
        self.hidden, self.kernel = hidden, kernel
        self.conv = CausalConv(width, hidden, kernel)
        self.classify = nn.Linear(hidden, 1)

    @property
    def widths(self) -> tuple[int, ...]:
        return (1,)

    def initial_state(self, batch: int = 1) -> State:
        return {"past": self.conv.initial_state(batch)}

    def answer(self, x: Tensor, exists: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        x, past = self.conv(x, state["past"])
        return (self.classify(F.relu(x)),), {"past": past}


def vad_loss(outputs: tuple[Tensor, ...], exists: Tensor, speech: Tensor) -> Tensor:
    """Binary cross-entropy over the frames that exist; `speech` (B, T) is 0 or 1."""
    each = F.binary_cross_entropy_with_logits(outputs[0][..., 0], speech, reduction="none")
    return (each * exists).sum() / exists.sum().clamp_min(1)


def speech_steps(wave: np.ndarray) -> np.ndarray:
    """(S,) of clean speech -> whether each 10 ms is speech, by its loudness."""
    padded = np.pad(wave, (0, -len(wave) % SPEECH_SAMPLES)).reshape(-1, SPEECH_SAMPLES)
    # 1e-10 is -100 dB: digital silence has no logarithm.
    level_db = 10 * np.log10((padded**2).mean(1) + 1e-10)
    active = level_db > np.quantile(level_db, LOUD) + SPEECH_DB
    marks = np.flatnonzero(active)
    for before, after in itertools.pairwise(marks):
        if after - before <= SHORTEST_PAUSE:
            active[before:after] = True
    return active
