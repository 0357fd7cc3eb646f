"""Hard-concrete gates on the units of an encoder, and the Lagrangian that drives them to a sparsity.

Shapes: N units of a group.

L0 regularisation is that of arXiv:1712.01312 (eq. 10 to 12); the augmented Lagrangian on the sparsity, with multipliers
that ascend, is that of arXiv:1910.04732, as DPHuBERT uses it (arXiv:2305.17651).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from . import costs
from .encoder import Encoder
from .objectives import Heads
from .prune_recipe import Prune
from .recipe import Train
from .training import Distiller, make_optimizer
from .unit_costs import UnitCost
from .unit_masks import attach
from .units import Group, Masks, Sizes, sizes_of

TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1
OPEN = 0.99  # the share of gates that are not closed at the start
SHARPNESS = 0.8  # of the values of open gates in evaluation (flop's hard_concrete.py, which DPHuBERT took over)


class HardConcrete(nn.Module):
    """A random number between 0 and 1 per unit that is often exactly 0 or 1: (N,)."""

    def __init__(self, units: int) -> None:
        super().__init__()
        start = math.log(OPEN) - math.log(1 - OPEN)
        self.log_alpha = nn.Parameter(torch.full((units,), start) + 0.01 * torch.randn(units))

    def sample(self) -> Tensor:
        """(N,) in [0, 1], with gradient."""
        noise = torch.rand_like(self.log_alpha).clamp(1e-6, 1 - 1e-6)
        concrete = torch.sigmoid((noise.log() - (1 - noise).log() + self.log_alpha) / TEMPERATURE)
        return (concrete * (HIGH - LOW) + LOW).clamp(0, 1)

    def open_share(self) -> Tensor:
        """(N,) the probability that a gate is not 0."""
        return torch.sigmoid(self.log_alpha - TEMPERATURE * math.log(-LOW / HIGH))

    @torch.no_grad()
    def settled(self) -> Tensor:
        """(N,) without chance: as many zeros as are expected (never all), the others as open as they are on average."""
        values = torch.sigmoid(self.log_alpha / TEMPERATURE * SHARPNESS).clamp_min(1e-3)
        zeros = min(round(float(len(values) - self.open_share().sum())), len(values) - 1)
        values[self.log_alpha.argsort()[:zeros]] = 0.0
        return values


class Gates(nn.Module):
    """The gates of an encoder, drawn anew for every forward pass while training."""

    def __init__(self, sizes: Sizes, kinds: tuple[str, ...]) -> None:
        super().__init__()
        self.groups = [group for group in sizes if group.kind in kinds]
        self.gates = nn.ModuleDict({_name(group): HardConcrete(sizes[group]) for group in self.groups})
        self.current: Masks = {}

    def draw(self) -> None:
        """Set the masks of the next forward pass."""
        self.current = {group: gate.sample() for group, gate in self._each()} if self.training else self.settled()

    def settled(self) -> Masks:
        """The masks of evaluation, by which units are taken out in the end."""
        return {group: gate.settled() for group, gate in self._each()}

    def clamped(self) -> list[Group]:
        """Groups of which nothing would be left; `settled` leaves them one unit."""
        return [group for group, gate in self._each() if round(float(gate.open_share().sum().detach())) < 1]

    def expected(self) -> dict[Group, Tensor]:
        """How many units of each group are expected to stay, with gradient."""
        return {group: gate.open_share().sum() for group, gate in self._each()}

    def _each(self) -> list[tuple[Group, Any]]:
        return [(group, self.gates[_name(group)]) for group in self.groups]


class GatedDistiller(Distiller):
    """Student and heads as `Distiller`, with gates on the student's units and the multipliers of the Lagrangian."""

    def __init__(self, encoder: Encoder, heads: Heads, prune: Prune) -> None:
        super().__init__(encoder, heads)
        self.gates = Gates(sizes_of(encoder.config), prune.of)
        self.multipliers = nn.Parameter(torch.zeros(2))
        attach(encoder, lambda group: self.gates.current.get(group))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.gates.draw()
        return super().forward(*args, **kwargs)


def gated_optimizer(distiller: GatedDistiller, train: Train, prune: Prune) -> torch.optim.AdamW:
    """AdamW of student and heads, and with a rate of their own of the gates and the multipliers, which ascend."""
    optimizer = make_optimizer(nn.ModuleList([distiller.encoder, distiller.heads]), train)
    own = {"weight_decay": 0.0, "lr_factor": prune.lr / train.lr}
    optimizer.add_param_group({"params": list(distiller.gates.parameters()), **own})
    optimizer.add_param_group({"params": [distiller.multipliers], "maximize": True, **own})
    return optimizer


class SparsityPenalty:
    """l1 (s - t) + l2 (s - t)^2 of the expected sparsity s and a target t that rises over the first steps.

    The optimizer descends on the gates and ascends on the multipliers.
    """

    def __init__(self, distiller: GatedDistiller, prune: Prune) -> None:
        self.distiller, self.prune = distiller, prune
        config = distiller.encoder.config
        self.cost, self.sizes = UnitCost.derived(config, costs.parameters), sizes_of(config)
        self.whole = costs.parameters(config)

    def target(self, step: int) -> float:
        return self.prune.sparsity * min(1.0, step / max(1, self.prune.ramp))

    def sparsity(self) -> Tensor:
        """Expected share of the parameters that is gone."""
        return 1 - self.cost.of({**self.sizes, **self.distiller.gates.expected()}) / self.whole

    def __call__(self, step: int) -> Tensor:
        gap, (linear, square) = self.sparsity() - self.target(step), self.distiller.multipliers
        return linear * gap + square * gap.square()

    def facts(self, step: int) -> dict[str, float]:
        """For the log."""
        return {"sparsity": float(self.sparsity().detach()), "target_sparsity": self.target(step)}


def _name(group: Group) -> str:
    return f"{group.kind}_{group.layer}"
