"""Convolutions that hear the past only: what they heard last is their state, so chunks give what the whole gives.

Shapes: B streams, T frames, C channels, P frames of the past.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .module import State


class CausalConv(nn.Module):
    """A convolution over a frame and those before it: (B, T, C) and the last frames (B, P, C) -> (B, T, C'), state."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.inputs, self.past = inputs, (kernel - 1) * dilation
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)

    def initial_state(self, batch: int = 1) -> Tensor:
        """Silence, as a recording is padded with."""
        return torch.zeros(batch, self.past, self.inputs)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        heard = torch.cat([state, x], 1)
        return self.conv(heard.transpose(1, 2)).transpose(1, 2), heard[:, x.shape[1] :]


class CausalStack(nn.Module):
    """Convolutions one after another, of dilation 1, 2, 4 and so on, each beyond the first added to its input.

    (B, T, D) -> (B, T, hidden). It hears (kernel - 1) x (2^depth - 1) frames of the past.
    """

    def __init__(self, width: int, hidden: int, kernel: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            CausalConv(width if index == 0 else hidden, hidden, kernel, 2**index) for index in range(depth)
        )

    def initial_state(self, batch: int = 1) -> State:
        return {f"past_{index}": conv.initial_state(batch) for index, conv in enumerate(self._layers)}

    @property
    def _layers(self) -> list[CausalConv]:
        return [conv for conv in self.convs if isinstance(conv, CausalConv)]

    def forward(self, x: Tensor, exists: Tensor, state: State) -> tuple[Tensor, State]:
        new: State = {}
        for index, conv in enumerate(self._layers):
            y, new[f"past_{index}"] = conv(x, state[f"past_{index}"])
            # Biases make numbers of silence; before the first frame there are zeros, as in the state of a new stream.
            y = F.relu(y) * exists[..., None]
            x = y if index == 0 else x + y
        return x, new
