"""Which units go, so that an encoder costs no more than it may: the least important, per what they save."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .unit_costs import UnitCost
from .units import Group, Masks, Sizes

ROUNDS = 24  # what a unit saves depends on what is left, so it is worked out anew so many times on the way


class OutOfReachError(Exception):
    """Less than the least that pruning can leave was asked for; `nearest` is that least."""

    def __init__(self, nearest: float) -> None:
        super().__init__(nearest)
        self.nearest = nearest


@dataclass
class Selection:
    """Units in the order in which they go, and how many of them have gone."""

    cost: UnitCost
    order: dict[Group, Tensor]  # the candidates of each group, the least important first
    scores: dict[Group, Tensor]  # of these
    whole: Sizes
    gone: Sizes

    def sizes(self, more: dict[Group, int] | None = None) -> Sizes:
        more = more or {}
        return {group: count - self.gone[group] - more.get(group, 0) for group, count in self.whole.items()}

    def masks(self) -> Masks:
        """(N,) per group, 0 for the units that have gone and 1 for the others."""
        masks = {group: torch.ones(count) for group, count in self.whole.items()}
        for group, mask in masks.items():
            mask[self.order[group][: self.gone[group]]] = 0.0
        return masks


def choose(importance: Masks, cost: UnitCost, target: float, floors: Sizes, per_cost: bool = True) -> Masks:
    """Masks of 0 and 1 under which the encoder costs at most `target`.

    Args:
        importance: (N,) per group.
        cost: what is to come down.
        target: how far.
        floors: the units that each group keeps at least.
        per_cost: whether importance is divided by what a unit saves.

    Raises:
        OutOfReachError: the floors cost more than that.
    """
    whole = {group: len(values) for group, values in importance.items()}
    if float(cost.of(floors)) > target:
        raise OutOfReachError(float(cost.of(floors)))
    # Stable, here and below: units of equal importance go in the same order every time.
    order = {group: values.argsort(stable=True)[: whole[group] - floors[group]] for group, values in importance.items()}
    scores = {group: importance[group][units].double() for group, units in order.items()}
    selection = Selection(cost, order, scores, whole, dict.fromkeys(whole, 0))
    start = float(cost.of(whole))
    for number in range(1, ROUNDS + 1):
        # Goals in equal ratios, so that savings are worked out anew after equal shares of what is left.
        _remove_until(selection, start * (target / start) ** (number / ROUNDS) if target < start else start, per_cost)
    return selection.masks()


def _remove_until(selection: Selection, goal: float, per_cost: bool) -> None:
    """Take out as few of the least important units as bring the cost down to `goal`."""
    sizes, groups = selection.sizes(), list(selection.whole)
    left = [selection.scores[group][selection.gone[group] :] for group in groups]
    # Units that save nothing, as those of a module that no trace has, go last instead of dividing by 0.
    savings = [max(selection.cost.saving(sizes, group), 1e-30) if per_cost else 1.0 for group in groups]
    scores = torch.cat([values / saving for values, saving in zip(left, savings, strict=True)])
    owners = torch.cat([torch.full((len(values),), index) for index, values in enumerate(left)])
    # Scores ascend within each group, so the first ones of the merged order are the first ones of every group.
    owners = owners[scores.argsort(stable=True)]

    def removing(count: int) -> dict[Group, int]:
        return dict(zip(groups, torch.bincount(owners[:count], minlength=len(groups)).tolist(), strict=True))

    # Every unit that goes lowers the cost or leaves it, so the fewest are found by bisection.
    low, high = 0, len(owners)
    while low < high:
        middle = (low + high) // 2
        if float(selection.cost.of(selection.sizes(removing(middle)))) <= goal:
            high = middle
        else:
            low = middle + 1
    for group, count in removing(low).items():
        selection.gone[group] += count
