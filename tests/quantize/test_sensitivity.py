import pytest
import torch
from bundled import BASE, make, speech_like

from speechpress.compressor.quantize.fake_quant import kinds
from speechpress.compressor.quantize.scheme import FIRST_CONV, Operator, Quantization
from speechpress.compressor.quantize.sensitivity import Yardstick, mixed

BAD = "encoder.layers.0.attention.out_proj"


def quiet(stage):
    pass


@pytest.fixture(scope="module")
def yardstick():
    """Of an encoder one of whose layers suffers from 8 bits: a few of its input's channels dwarf the others."""
    encoder = make(BASE)
    with torch.no_grad():
        value = encoder.get_submodule("encoder.layers.0.attention.v_proj")
        value.bias[0] += 300
    return Yardstick(encoder, [torch.from_numpy(speech_like(12_000, seed))[None] for seed in (1, 2)])


@pytest.fixture(scope="module")
def int8(yardstick):
    return Quantization("int8").settled(kinds(yardstick.encoder))


def test_the_costliest_operator_comes_first(yardstick, int8):
    costs = yardstick.costs(int8, quiet)
    assert costs[0].name == BAD and len(costs) == sum(item.how != "float" for item in int8.operators.values())
    assert [cost.snr_db for cost in costs] == sorted(cost.snr_db for cost in costs)
    assert yardstick.snr_db(int8) < costs[0].snr_db + 1


def test_as_few_stay_in_float_as_the_budget_needs(yardstick, int8):
    everything = yardstick.snr_db(int8)
    kept, costs, reached = mixed(yardstick, int8, Operator("dynamic"), everything + 3, quiet)
    floats = [name for name, item in kept.operators.items() if item.how == "float"]
    assert reached >= everything + 3 and yardstick.snr_db(kept) == reached
    assert BAD in floats and kept.scheme == "mixed"
    easy, _, _ = mixed(yardstick, int8, Operator("dynamic"), everything - 1, quiet)
    assert sum(item.how == "float" for item in easy.operators.values()) <= 1
    assert {cost.name for cost in costs} == set(kinds(yardstick.encoder))


def test_the_first_convolution_is_quantised_only_when_that_is_harmless(yardstick, int8):
    alone = next(
        cost.snr_db for cost in mixed(yardstick, int8, Operator("dynamic"), 1.0, quiet)[1] if cost.name == FIRST_CONV
    )
    loose, _, _ = mixed(yardstick, int8, Operator("dynamic"), alone - 16, quiet)
    strict, _, _ = mixed(yardstick, int8, Operator("dynamic"), alone - 14, quiet)
    assert loose.operators[FIRST_CONV].how == "dynamic" and strict.operators[FIRST_CONV].how == "float"
