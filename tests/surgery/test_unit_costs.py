import random

import pytest

from speechpress.compressor.models import costs
from speechpress.compressor.surgery.unit_costs import UnitCost
from speechpress.compressor.surgery.units import Group, resized, sizes_of


@pytest.mark.parametrize("cost", [costs.parameters, costs.macs_per_s])
@pytest.mark.parametrize("changes", [{}, {"conv_norm": "layer", "conv_bias": True}, {"projection_norm": False}])
def test_a_cost_by_units_is_that_of_the_config(tiny_config, cost, changes):
    from dataclasses import replace

    config = replace(tiny_config, **changes)
    found = UnitCost.derived(config, cost)
    draw = random.Random(0)
    for _ in range(5):
        sizes = {group: draw.randint(1, count) for group, count in sizes_of(config).items()}
        assert found.of(sizes) == pytest.approx(cost(resized(config, sizes)), rel=1e-9)
        group = draw.choice([group for group in sizes if sizes[group] > 1])
        fewer = sizes | {group: sizes[group] - 1}
        assert found.saving(sizes, group) == pytest.approx(found.of(sizes) - found.of(fewer), rel=1e-6)


def test_measured_time_goes_with_the_units_of_its_module(tiny_config):
    modules = {
        "feature_extractor.conv_layers.0.0.conv": 2.0,
        "feature_extractor.conv_layers.3.0.conv": 4.0,
        "feature_projection.projection": 1.0,
        "encoder.pos_conv_embed.conv": 3.0,
        "encoder.layers.1.attention.q_proj": 0.5,
        "encoder.layers.1.attention": 0.5,
        "encoder.layers.1.feed_forward.output_dense": 0.8,
        "stream": 0.2,
    }
    cost, whole = UnitCost.timed(tiny_config, modules), sizes_of(tiny_config)
    assert cost.of(whole) == pytest.approx(12.0)
    half = {Group("conv", 2): 8, Group("conv", 3): 8, Group("head", 1): 2, Group("conv", 0): 4, Group("conv", 6): 8}
    # Time of a convolution falls with inputs and outputs; what no unit changes stays.
    assert cost.of(whole | half) == pytest.approx(0.5 + 1.0 + 0.5 + 3.0 + 0.5 + 0.8 + 0.2)
    assert cost.scaled(2).of(whole) == pytest.approx(24.0)
    assert cost.saving(whole, Group("conv", 2)) == pytest.approx(4.0 / 16)
