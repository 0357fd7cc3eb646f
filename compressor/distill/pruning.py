"""What the `prune` section of a recipe adds to a run: at its beginning, after every step and when it has ended."""

from dataclasses import replace

import torch
from lightning_fabric import Fabric

from speechpress.runtime.errors import SpeechpressError

from ..models import costs
from ..models.config import EncoderConfig
from ..recipe.schema import Recipe
from ..surgery.cut import cut
from ..surgery.unit_costs import UnitCost
from ..surgery.units import check_prunable, removed, sizes_of
from .gates import GatedDistiller, SparsityPenalty, gated_optimizer
from .plan import Plan
from .sparse import WeightPruner
from .step import Distiller, make_optimizer, scales_gradients


class Pruning:
    """Of a recipe without a `prune` section: nothing is done."""

    def begin(self, fresh: bool) -> None:
        """Before the first step of a new run, or once an interrupted one has its weights again."""

    def after_step(self, step: int) -> None:
        """Before that step is validated or saved."""

    def finish(self, job: Plan) -> Plan:
        """The plan with the student that is kept."""
        return job


class GatePruning(Pruning):
    """Gates are learned as the run goes; in the end the units whose gates are closed are taken out."""

    def __init__(self, distiller: GatedDistiller) -> None:
        self.distiller = distiller

    def finish(self, job: Plan) -> Plan:
        # eval() settles the gates: now 0 for the units that go, and for no other.
        gates, before = self.distiller.eval().gates, job.student.config
        student = cut(job.student, gates.current)
        whole, left = costs.parameters(before), costs.parameters(student.config)
        pruned = {
            "method": "l0",
            "sparsity": 1 - left / whole,
            "expected_sparsity": float(gates.sparsity().detach()),
            "parameters": [whole, left],
            "macs_per_s": [costs.macs_per_s(before), costs.macs_per_s(student.config)],
            "units": removed(before, student.config),
        }
        notes = [f"prune: no gate of the {group.title} was open; one unit stays" for group in gates.clamped()]
        return replace(job, student=student, pruned=pruned, notes=[*job.notes, *notes])


class WeightPruning(Pruning):
    """Single weights are set to zero by magnitude, see `sparse`."""

    def __init__(self, pruner: WeightPruner) -> None:
        self.pruner = pruner

    def begin(self, fresh: bool) -> None:
        self.pruner.begin(fresh)

    def after_step(self, step: int) -> None:
        self.pruner.after_step(step)

    def finish(self, job: Plan) -> Plan:
        pruned = self.pruner.report()
        return replace(job, pruned=pruned, notes=[*job.notes, pruned["note"]])


def make_distiller(job: Plan) -> Distiller:
    """The module that is trained.

    Raises SpeechpressError when gates cannot bring the student to the recipe's sparsity.
    """
    prune = job.recipe.prune
    if prune is None or not prune.by_gates:
        return Distiller(job.student, job.heads, job.units)
    check_prunable(job.student.config)
    # Before training: a sparsity that cannot be had would show after hours, as a penalty that only grows.
    check_reachable(job.recipe, job.student.config)
    return GatedDistiller(job.student, job.heads, prune)


def optimizer_of(module: Distiller, recipe: Recipe, fabric: Fabric) -> torch.optim.AdamW:
    scaled = scales_gradients(fabric)
    if isinstance(module, GatedDistiller):
        assert recipe.prune is not None
        return gated_optimizer(module, recipe.train, recipe.prune, scaled=scaled)
    return make_optimizer(module, recipe.train, scaled=scaled)


def penalty_of(module: Distiller, recipe: Recipe) -> SparsityPenalty | None:
    if isinstance(module, GatedDistiller):
        assert recipe.prune is not None
        return SparsityPenalty(module, recipe.prune)
    return None


def pruning_of(job: Plan, module: Distiller) -> Pruning:
    """What the recipe asks for."""
    prune = job.recipe.prune
    if prune is None:
        return Pruning()
    if isinstance(module, GatedDistiller):
        return GatePruning(module)
    return WeightPruning(WeightPruner(job.student, prune, job.recipe.train.steps))


def check_reachable(recipe: Recipe, config: EncoderConfig) -> None:
    """Raises SpeechpressError when one unit of every gated group is already more than the sparsity leaves."""
    prune = recipe.prune
    assert prune is not None
    cost, sizes = UnitCost.derived(config, costs.parameters), sizes_of(config)
    gated = [group for group in sizes if group.kind in prune.of]
    most = 1 - float(cost.of(sizes | dict.fromkeys(gated, 1))) / costs.parameters(config)
    if prune.sparsity > most:
        raise SpeechpressError(
            f"{recipe.where('prune.sparsity')}: prune.sparsity {prune.sparsity:g} would leave nothing of the "
            f"{gated[0].title}, and of others; with one unit in each of the {len(gated)} gated groups it is {most:.3f}"
        )
