"""Who of two speaks, frame by frame; both may.

Shapes: B streams, T frames, D width.

Convolutions of growing dilation hear some seconds of the past, because which of two voices this is can only be told by
what came before. It is trained by the permutation-free loss (arXiv:1909.05952): who is first is not said.
"""

from torch import Tensor, nn

from .module import CausalStack, Head, State


class Segment(Head):
    """Logits (B, T, 2) of two speakers, above 0 for who speaks."""

    def __init__(self, layers: int, width: int, hidden: int = 96, kernel: int = 5, depth: int = 6) -> None:
        super().__init__(layers, width)
        self.hidden, self.kernel, self.depth = hidden, kernel, depth
        self.stack = CausalStack(width, hidden, kernel, depth)
        self.classify = nn.Linear(hidden, 2)

    @property
    def widths(self) -> tuple[int, ...]:
        return (2,)

    def initial_state(self, batch: int = 1) -> State:
        return self.stack.initial_state(batch)

    def answer(self, x: Tensor, exists: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        x, new = self.stack(x, exists, state)
        return (self.classify(x),), new
