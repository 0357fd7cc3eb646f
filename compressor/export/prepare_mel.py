"""A log-mel spectrogram rewritten for a compiler, see `prepare`: two products, a logarithm and its scaling.

Shapes: S samples, T frames, F frequencies, M mel bins.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.config import MEL_HOP_SAMPLES, MEL_WINDOW_SAMPLES
from ..models.front_end import QUIETEST, LogMel


class WrittenMel(nn.Module):
    """`front_end.LogMel` of one recording or chunk: (1, S) -> (1, M, T, 1).

    Of chunks, whose length is fixed, frames are cut and the first product is one of matrices. `whole`: of recordings
    of any length, of which torch.export cannot cut frames, it is a convolution.
    """

    def __init__(self, mel: LogMel, whole: bool = False) -> None:
        super().__init__()
        self.whole = whole
        waves, filters = mel.get_buffer("waves"), mel.get_buffer("filters")
        shift, scale = mel.scaling()
        self.register_buffer("waves", waves[:, None, :, None] if whole else waves)
        self.register_buffer("filters", filters[:, :, None, None] if whole else filters)
        # As a bias, because a number in a sum is made anew in every call, outside of the backend.
        self.register_buffer("floor", torch.full((len(filters),), QUIETEST))
        self.register_buffer("scale", self._like_frames(scale))
        self.register_buffer("shift", self._like_frames(shift * scale))

    def _like_frames(self, bins: Tensor) -> Tensor:
        return bins[None, :, None, None] if self.whole else bins.clone()

    def forward(self, waves: Tensor) -> Tensor:
        part = self.get_buffer
        if self.whole:
            x = F.conv2d(waves.view(1, 1, -1, 1), part("waves"), stride=(MEL_HOP_SAMPLES, 1))
            x = F.conv2d(x * x, part("filters"), part("floor"))
            return x.log() * part("scale") - part("shift")
        x = F.linear(cut_frames(waves), part("waves"))
        x = F.linear(x * x, part("filters"), part("floor")).log() * part("scale") - part("shift")
        x = x.transpose(1, 2).unsqueeze(-1)
        # For the convolution after it, see `prepare.FlatPositionConv`.
        return torch.cat([x[:, :, :1], x[:, :, 1:]], 2)


def cut_frames(waves: Tensor) -> Tensor:
    """(1, S) -> (1, T, window), from rows of one hop each."""
    hop, window = MEL_HOP_SAMPLES, MEL_WINDOW_SAMPLES
    frames = (waves.shape[1] - window) // hop + 1
    starts = range(0, window, hop)
    parts = [waves[:, start : start + frames * hop] for start in starts if start + hop <= window]
    rows = [part.view(1, frames, hop) for part in parts]
    rest = window % hop
    if rest:  # the last row of a frame is the first part of a hop, of which its last samples may not be there
        last = waves[:, window - hop : window - hop + frames * hop].view(1, frames, hop)
        rows.append(last[:, :, hop - rest :])
    return torch.cat(rows, 2)
