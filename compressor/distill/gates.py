"""Hard-concrete gates on the units of an encoder, and the Lagrangian that drives them to a sparsity.

Shapes: N units of a group.

L0 regularisation is that of arXiv:1712.01312 (eq. 10 to 12); the augmented Lagrangian on the sparsity, with multipliers
that ascend, is that of arXiv:1910.04732, as DPHuBERT uses it (arXiv:2305.17651).
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..models import costs
from ..models.config import EncoderConfig
from ..models.encoder import Encoder
from ..recipe.schema import Prune, Train
from ..surgery.masks import attach
from ..surgery.select import choose
from ..surgery.unit_costs import UnitCost
from ..surgery.units import Group, Masks, sizes_of
from .objectives import Heads
from .step import Distiller, make_optimizer

# Beta, gamma and zeta of arXiv:1712.01312: a stretch beyond [0, 1], so that exactly 0 and 1 have a probability.
TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1
OPEN = 0.99  # the share of gates that are not closed at the start
SHARPNESS = 0.8  # of the values of open gates in evaluation (flop's hard_concrete.py, which DPHuBERT took over)


class HardConcrete(nn.Module):
    """A random number between 0 and 1 per unit that is often exactly 0 or 1: (N,)."""

    def __init__(self, units: int) -> None:
        super().__init__()
        # What the stretch adds is left out: open_share() starts a little higher.
        start = math.log(OPEN) - math.log(1 - OPEN)
        self.log_alpha = nn.Parameter(torch.full((units,), start) + 0.01 * torch.randn(units))

    def sample(self) -> Tensor:
        """(N,) in [0, 1], with gradient."""
        # The logarithm of 0 would be infinite.
        noise = torch.rand_like(self.log_alpha).clamp(1e-6, 1 - 1e-6)
        concrete = torch.sigmoid((noise.log() - (1 - noise).log() + self.log_alpha) / TEMPERATURE)
        return (concrete * (HIGH - LOW) + LOW).clamp(0, 1)

    def open_share(self) -> Tensor:
        """(N,) the probability that a gate is not 0."""
        # In closed form, so the penalty does not depend on what was sampled.
        return torch.sigmoid(self.log_alpha - TEMPERATURE * math.log(-LOW / HIGH))

    @torch.no_grad()
    def value(self) -> Tensor:
        """(N,) how far a gate that stays is open on average; never 0."""
        # A value of 0 would make a unit that stays look like one that goes, see Gates.settle.
        return torch.sigmoid(self.log_alpha / TEMPERATURE * SHARPNESS).clamp_min(1e-3)


class Gates(nn.Module):
    """The gates of an encoder, drawn anew for every forward pass while training.

    In evaluation there is no chance: of all gates together the least open are closed, as many as bring the parameters
    down to the share that is wanted at the time (`wanted`, set by the penalty), but never all of a group.
    """

    def __init__(self, config: EncoderConfig, kinds: tuple[str, ...]) -> None:
        super().__init__()
        self.sizes = sizes_of(config)
        self.groups = [group for group in self.sizes if group.kind in kinds]
        self.gates = nn.ModuleDict({_name(group): HardConcrete(self.sizes[group]) for group in self.groups})
        self.cost, self.whole = UnitCost.derived(config, costs.parameters), costs.parameters(config)
        self.current: Masks = {}
        self.wanted = 0.0

    def draw(self) -> None:
        """Set the masks of the next forward pass in training."""
        self.current = {group: gate.sample() for group, gate in self._each()}

    @torch.no_grad()
    def settle(self) -> None:
        """Set the masks of evaluation, by which units are taken out in the end."""
        openness = {group: torch.zeros(count) for group, count in self.sizes.items()}
        openness |= {group: gate.log_alpha.cpu() for group, gate in self._each()}
        # A floor of all its units keeps a group without gates whole.
        floors = self.sizes | dict.fromkeys(self.groups, 1)
        kept = choose(openness, self.cost, (1 - self.wanted) * self.whole, floors, per_cost=False)
        self.current = {group: kept[group].to(gate.log_alpha) * gate.value() for group, gate in self._each()}

    def sparsity(self) -> Tensor:
        """Expected share of the parameters that is gone, with gradient."""
        left = {group: gate.open_share().sum() for group, gate in self._each()}
        return 1 - self.cost.of({**self.sizes, **left}) / self.whole

    def clamped(self) -> list[Group]:
        """Groups of which nothing is expected to be left; one unit of them stays."""
        return [group for group, gate in self._each() if round(float(gate.open_share().sum().detach())) < 1]

    def _each(self) -> list[tuple[Group, Any]]:
        return [(group, self.gates[_name(group)]) for group in self.groups]


class GatedDistiller(Distiller):
    """Student and heads as `Distiller`, with gates on the student's units and the multipliers of the Lagrangian."""

    def __init__(self, encoder: Encoder, heads: Heads, prune: Prune) -> None:
        super().__init__(encoder, heads)
        self.gates = Gates(encoder.config, prune.of)
        self.multipliers = nn.Parameter(torch.zeros(2))
        # Looked up at every forward pass: draw() and settle() put another dictionary there.
        attach(encoder, lambda group: self.gates.current.get(group))

    def train(self, mode: bool = True) -> "GatedDistiller":
        super().train(mode)
        if not mode:
            # What is validated is then the student that would be cut at this step.
            self.gates.settle()
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self.training:
            # Here, after the seed of the micro-batch is set: each has gates of its own, and a resumed run the same.
            self.gates.draw()
        return super().forward(*args, **kwargs)


def gated_optimizer(distiller: GatedDistiller, train: Train, prune: Prune, *, scaled: bool) -> torch.optim.AdamW:
    """AdamW of student and heads, and with a rate of their own of the gates and the multipliers, which ascend."""
    optimizer = make_optimizer(nn.ModuleList([distiller.encoder, distiller.heads]), train, scaled=scaled)
    # Weight decay would pull gates towards half open, and multipliers towards no penalty.
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

    def target(self, step: int) -> float:
        return self.prune.sparsity * min(1.0, step / max(1, self.prune.ramp))

    def __call__(self, step: int) -> Tensor:
        gates, (linear, square) = self.distiller.gates, self.distiller.multipliers
        # Validation comes after the update, and then settles by this.
        gates.wanted = self.target(step + 1)  # after this step
        gap = gates.sparsity() - self.target(step)
        return linear * gap + square * gap.square()

    def facts(self, step: int) -> dict[str, float]:
        """For the log."""
        return {"sparsity": float(self.distiller.gates.sparsity().detach()), "target_sparsity": self.target(step)}


def _name(group: Group) -> str:
    return f"{group.kind}_{group.layer}"
