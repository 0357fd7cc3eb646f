from dataclasses import replace

import pytest
import torch
from bundled import BASE, SMALL, make, speech_like

from speechpress.compressor.quantize.fake_quant import kinds
from speechpress.compressor.quantize.scheme import FIRST_CONV, FLOAT, Operator, Quantization
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
    loose, _, _ = mixed(yardstick, int8, Operator("dynamic"), alone - 15.5, quiet)
    strict, _, _ = mixed(yardstick, int8, Operator("dynamic"), alone - 14.5, quiet)
    assert loose.operators[FIRST_CONV].how == "dynamic" and strict.operators[FIRST_CONV].how == "float"


def in_float(quantization):
    return [name for name, item in quantization.operators.items() if item.how == "float"]


def test_no_fewer_would_do(yardstick, int8):
    """For several budgets: with one of the costly operators less in float it is not close enough."""
    everything = yardstick.snr_db(int8)
    for more_db in (1, 6, 12):
        kept, costs, reached = mixed(yardstick, int8, Operator("dynamic"), everything + more_db, quiet)
        order = [cost.name for cost in costs if int8.operators[cost.name].how != "float"]
        floats = [name for name in order if kept.operators[name].how == "float"]
        assert floats == order[: len(floats)] and reached >= everything + more_db
        one_less = replace(kept, operators=kept.operators | {floats[-1]: int8.operators[floats[-1]]})
        assert yardstick.snr_db(one_less) < everything + more_db


def test_a_budget_that_nothing_meets_leaves_everything_in_float(yardstick, int8):
    kept, _, reached = mixed(yardstick, int8, Operator("dynamic"), 500.0, quiet)
    assert set(in_float(kept)) == set(kinds(yardstick.encoder)) and reached == 200.0


def test_each_cost_is_that_of_the_operator_alone(yardstick, int8):
    said = []
    costs = yardstick.costs(int8, said.append)
    assert said == [f"int8: operator {number} of {len(costs)} alone" for number in range(1, len(costs) + 1)]
    for cost in costs[:3]:
        alone = dict.fromkeys(kinds(yardstick.encoder), FLOAT) | {cost.name: int8.operators[cost.name]}
        assert cost.snr_db == yardstick.snr_db(Quantization("mixed", alone)) and cost.how == "dynamic"


def test_it_is_heard_in_chunks_where_that_is_asked_for():
    """All frames of all clips, as the encoder itself gives them."""
    encoder = make(SMALL)
    waves = [torch.from_numpy(speech_like(samples))[None] for samples in (8_000, 6_000)]
    for chunk_frames in (None, 4):
        wanted = torch.cat([encoder(wave, chunk_frames=chunk_frames)[0] for wave in waves])
        yardstick = Yardstick(encoder, waves, chunk_frames)
        assert torch.equal(yardstick.wanted[""], wanted) and not yardstick.wanted[""].requires_grad
    assert not torch.equal(Yardstick(encoder, waves).wanted[""], wanted)


def test_it_is_the_first_convolution_that_decides_of_itself(yardstick, int8):
    """Also where operators of later names cost more."""
    half = Operator("half")
    costs = {cost.name: cost.snr_db for cost in mixed(yardstick, int8, half, 1.0, quiet)[1]}
    assert costs[FIRST_CONV] > 5 + min(snr_db for name, snr_db in costs.items() if name > FIRST_CONV)
    kept, _, _ = mixed(yardstick, int8, half, costs[FIRST_CONV] - 15.5, quiet)
    assert kept.operators[FIRST_CONV] == half
