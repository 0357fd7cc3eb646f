"""Labels over time, phones or letters, by CTC: label 0 is the blank.

Shapes: B streams, T frames, D width, V labels with the blank.

With kernel 1 this is SUPERB's phone recogniser, one linear layer; else a causal convolution over the last `kernel`
frames comes before it.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .module import CausalConv, Head, State

BLANK_BIAS = 3.0  # so that it starts from silence; else hundreds of steps go into unlearning random labels


class Ctc(Head):
    """Logits (B, T, V) of each frame."""

    def __init__(self, layers: int, width: int, tokens: int, kernel: int = 1, hidden: int = 0) -> None:
        super().__init__(layers, width)
        self.tokens, self.kernel, self.hidden = tokens, kernel, hidden if kernel > 1 else 0
        self.conv = CausalConv(width, hidden, kernel) if kernel > 1 else None
        self.classify = nn.Linear(hidden if kernel > 1 else width, tokens)
        nn.init.constant_(self.classify.bias[:1], BLANK_BIAS)

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.tokens,)

    def initial_state(self, batch: int = 1) -> State:
        return {"past": self.conv.initial_state(batch)} if self.conv is not None else {}

    def answer(self, x: Tensor, exists: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        if self.conv is None:
            return (self.classify(x),), state
        x, past = self.conv(x, state["past"])
        return (self.classify(F.relu(x)),), {"past": past}
