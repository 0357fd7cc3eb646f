import pytest
import torch

from speechpress.compressor.models import costs
from speechpress.compressor.surgery.select import OutOfReachError, choose
from speechpress.compressor.surgery.unit_costs import UnitCost
from speechpress.compressor.surgery.units import Group, counts, floors_of, resized, sizes_of


def importance_of(config, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {group: torch.rand(count, generator=generator) for group, count in sizes_of(config).items()}


@pytest.mark.parametrize("share", [0.9, 0.5, 0.3])
def test_the_target_is_met_closely_and_no_group_is_emptied(tiny_config, share):
    cost, floors = UnitCost.derived(tiny_config, costs.macs_per_s), floors_of(tiny_config)
    goal = share * costs.macs_per_s(tiny_config)
    masks = choose(importance_of(tiny_config), cost, goal, floors)
    left = counts(masks)
    found = costs.macs_per_s(resized(tiny_config, left))
    assert 0.95 * goal <= found <= goal
    assert all(left[group] >= floors[group] for group in left)


def test_the_least_important_of_a_group_go_first(tiny_config):
    importance = importance_of(tiny_config)
    cost = UnitCost.derived(tiny_config, costs.parameters)
    for group, mask in choose(importance, cost, 0.6 * costs.parameters(tiny_config), floors_of(tiny_config)).items():
        gone, stay = importance[group][mask == 0], importance[group][mask == 1]
        assert not len(gone) or gone.max() <= stay.min()


def test_units_that_save_more_go_before_equally_important_ones(tiny_config):
    even = {group: torch.ones(count) for group, count in sizes_of(tiny_config).items()}
    cost = UnitCost.derived(tiny_config, costs.macs_per_s)
    goal = 0.8 * costs.macs_per_s(tiny_config)
    left = counts(choose(even, cost, goal, floors_of(tiny_config)))
    # The early convolutions run at the highest rate; the FFN units cost next to nothing.
    assert left[Group("conv", 1)] < 16 and left[Group("ffn", 0)] == 64
    alike = counts(choose(even, cost, goal, floors_of(tiny_config), per_cost=False))
    assert alike != left


def test_out_of_reach_says_what_is_not(tiny_config):
    cost, floors = UnitCost.derived(tiny_config, costs.parameters), floors_of(tiny_config)
    with pytest.raises(OutOfReachError) as caught:
        choose(importance_of(tiny_config), cost, 100, floors)
    assert caught.value.nearest == pytest.approx(costs.parameters(resized(tiny_config, floors)))
    assert counts(choose(importance_of(tiny_config), cost, caught.value.nearest, floors)) == floors
