"""Quantisation while a student distils: it rounds as its exported program will, and learns to live with that.

Shapes: O operators.

Targets come for free in distillation, so nothing else changes. Fixed ranges follow what passes (a moving average of the
extremes) until they are frozen; they are buffers, so that a resumed run goes on with them.
"""

from functools import partial

import torch
from torch import Tensor, nn

from ..models.encoder import Encoder
from ..quantize.fake_quant import (
    apply,
    channel_weight,
    dynamic,
    feeds_gelu,
    group_weight,
    kinds,
    operators,
    set_forward,
    static,
)
from ..quantize.scheme import Operator, Quantization
from ..recipe.schema import Quantize

MOMENTUM = 0.01  # of a new batch's extremes in a range
GELU_FLOOR = -4.0  # a GELU makes nothing of what lies below


class QuantizedTraining(nn.Module):
    """Lets the operators of an encoder compute in fewer bits from a step on; its own tensors stay as they are.

    Args:
        encoder: the student.
        quantize: the recipe's section.
        steps: of the whole run.
    """

    low: Tensor
    high: Tensor
    heard: Tensor

    def __init__(self, encoder: Encoder, quantize: Quantize, steps: int) -> None:
        super().__init__()
        names = kinds(encoder)
        # Which operators stay float is the same for both, but static needs ranges, which are only learned here.
        how = Quantization("int8" if quantize.scheme == "int8-static" else quantize.scheme)
        self.settled = how.settled(names).operators
        self.static = quantize.scheme == "int8-static"
        # Shares of the run, so that they hold for any number of steps.
        self.scheme, self.start, self.freeze = quantize.scheme, quantize.start * steps, quantize.freeze * steps
        self.on = self.moving = False
        # (O, 2): of inputs and outputs.
        for name in ("low", "high"):
            self.register_buffer(name, torch.zeros(len(names), 2))
        self.register_buffer("heard", torch.zeros(len(names), 2, dtype=torch.bool))
        self.floor = [GELU_FLOOR if feeds_gelu(name, encoder.config) else -torch.inf for name in names]
        for index, (name, part) in enumerate(operators(encoder).items()):
            if self.settled[name].how != "float":
                # The function is replaced, not the module: the checkpoint keeps its tensor names.
                set_forward(part, partial(self._compute, index, part, self.settled[name].how))

    def at(self, step: int) -> None:
        """To be told before every step."""
        # One step at least: without it the ranges would be empty.
        self.on, self.moving = step >= self.start, self.static and step < max(self.freeze, 1)

    def _compute(self, index: int, part: nn.Conv1d | nn.Linear, how: str, x: Tensor) -> Tensor:
        # Also before rounding starts, which is not to begin with empty ranges.
        self._see(index, 0, x)
        if not self.on:
            y = apply(part, x, part.weight)
            self._see(index, 1, y)
            return y
        weight = group_weight(part.weight) if how == "int4" else channel_weight(part.weight)
        if not self.static:
            return apply(part, dynamic(x, isinstance(part, nn.Conv1d)), weight)
        y = apply(part, static(x, self.low[index, 0], self.high[index, 0]), weight)
        # Before rounding, which would clip it to the range that it is to widen.
        self._see(index, 1, y)
        return static(y, self.low[index, 1], self.high[index, 1])

    @torch.no_grad()
    def _see(self, index: int, side: int, x: Tensor) -> None:
        """Move a range towards what passes."""
        # Validation must change nothing that is trained.
        if not (self.moving and self.training):
            return
        low, high = x.detach().float().aminmax()
        # Below it GELU is nearly 0: the few steps of int8 are better spent above.
        if side:
            low = low.clamp(min=self.floor[index])
        # The first batch sets a range: from 0 at 1 % a step it would take hundreds.
        share = torch.where(self.heard[index, side], MOMENTUM, 1.0)
        self.low[index, side].lerp_(low, share)
        self.high[index, side].lerp_(high, share)
        self.heard[index, side] = True

    def learned(self) -> Quantization:
        """What the student was trained for, in the form of quantize.json."""
        if not self.static:
            return Quantization(self.scheme, self.settled, {"made_by": "distillation"})
        lows, highs = self.low.tolist(), self.high.tolist()
        found = {}
        for index, (name, operator) in enumerate(self.settled.items()):
            pairs = [(lows[index][side], highs[index][side]) for side in (0, 1)]
            found[name] = operator if operator.how == "float" else Operator("static", *pairs)
        return Quantization(self.scheme, found, {"made_by": "distillation"})
