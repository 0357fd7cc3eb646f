from dataclasses import replace

import pytest

from speechpress.compressor.surgery.units import Group, check_prunable, counts, floors_of, removed, resized, sizes_of
from speechpress.runtime.errors import SpeechpressError


def test_sizes_and_back(tiny_config):
    sizes = sizes_of(tiny_config)
    assert sizes[Group("conv", 6)] == 16 and sizes[Group("head", 3)] == 4 and sizes[Group("ffn", 0)] == 64
    assert resized(tiny_config, sizes) == tiny_config
    smaller = resized(tiny_config, {Group("head", 1): 2, Group("conv", 0): 5})
    assert smaller.num_heads == (4, 2, 4, 4) and smaller.conv_channels == (5, *(16,) * 6)
    assert smaller.ffn_widths == tiny_config.ffn_widths


def test_floors_keep_every_layer_working(tiny_config):
    floors = floors_of(tiny_config)
    assert floors[Group("head", 0)] == 1 and floors[Group("ffn", 0)] == 2 and floors[Group("conv", 0)] == 1


def test_what_was_removed_is_told_per_layer(tiny_config):
    after = resized(tiny_config, {Group("ffn", 2): 10})
    assert removed(tiny_config, after)["ffn"] == [[64, 64], [64, 64], [64, 10], [64, 64]]
    assert Group("head", 0).title == "heads of layer 1"


def test_masks_are_counted():
    import torch

    assert counts({Group("head", 0): torch.tensor([0.0, 0.3, 1.0])}) == {Group("head", 0): 2}


def test_units_that_belong_to_several_layers_are_left_alone(tiny_config):
    check_prunable(replace(tiny_config, time_reduction=2))
    for changes in ({"reuse_attention": (False, True) * 2}, {"distinct_layers": 2}):
        with pytest.raises(SpeechpressError, match=f"cannot be taken out.*{next(iter(changes))}.*--method parp"):
            check_prunable(replace(tiny_config, **changes))
