"""What every head is made of: a learned sum of layers, and a function over chunks whose state is explicit.

Shapes: B streams, T frames of a chunk or of a whole recording, L layers (0 included), D width, W columns of an output,
C channels, P frames of the past.

A whole recording is one chunk from the initial state, so a head has one forward pass, whichever way it runs.
"""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = dict[str, Tensor]
EPS = 1e-5  # of the norm of a frame, as in `evaluate.features.framed`


class LayerSum(nn.Module):
    """A learned weighted sum of normalised and standardised layers: (B, T, L, D) -> (B, T, D).

    As the suite's features: each frame of each layer is normalised without weights, and every dimension scaled as the
    training clips are.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))
        self.register_buffer("shift", torch.zeros(layers, width))
        self.register_buffer("scale", torch.ones(layers, width))

    @property
    def weights(self) -> Tensor:
        """(L,), positive, of sum 1."""
        return self.logits.softmax(0)

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x, x.shape[-1:], eps=EPS)
        return ((x * self.scale + self.shift) * self.weights[:, None]).sum(2)


class Head(nn.Module):
    """A head: its sum of layers, and what comes after it."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.sum = LayerSum(layers, width)
        self.layers, self.width = layers, width

    def initial_state(self, batch: int = 1) -> State:
        """Of `batch` streams that have heard nothing; empty where each frame is answered by itself."""
        return {}

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Columns W of each of its outputs, in their order."""

    @abstractmethod
    def answer(self, x: Tensor, exists: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        """The summed layers (B, T, D), 0 where there is no audio, and whether there is (B, T) -> outputs, next state.

        Outputs are in the order of the kind in `runtime.answers.head_spec.KINDS`, (B, T, W) or (B, 1, W).
        """

    def forward(self, layers: Tensor, exists: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        """Layers (B, T, L, D), whether there is audio for a frame (B, T) bool, and the state -> outputs, next state."""
        return self.answer(self.sum(layers) * exists[..., None], exists, state)


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
