"""Operators of heads are calibrated, simulated and judged as the encoder's are, by their names."""

import pytest
import torch
from bundled import SMALL, make, speech_like
from carried import kept_heads

from speechpress.compressor.models.answering import hear, with_heads
from speechpress.compressor.quantize.calibrate import calibrate, static_operators
from speechpress.compressor.quantize.fake_quant import check_operators, kinds, simulated
from speechpress.compressor.quantize.scheme import Operator, Quantization
from speechpress.compressor.quantize.sensitivity import Yardstick, mixed
from speechpress.runtime.errors import SpeechpressError

NAMES = ("letters", "vad")
OWN = {"heads.letters.classify", "heads.vad.conv.conv", "heads.vad.classify"}


@pytest.fixture(scope="module")
def encoder():
    return with_heads(make(SMALL), kept_heads(SMALL, NAMES))


@pytest.fixture(scope="module")
def waves():
    return [torch.from_numpy(speech_like(8_000, seed))[None] for seed in (1, 2)]


def test_operators_of_heads_are_calibrated_offline_and_in_chunks(encoder, waves):
    ranges = calibrate(encoder, waves[:1], (4,), lambda text: None)
    assert set(ranges) >= OWN and all(low < high for name in OWN for low, high in ranges[name])
    settled = Quantization("int8-static", static_operators(encoder, ranges))
    with torch.inference_mode():
        exact, close = hear(encoder, waves[1])[1], hear(simulated(encoder, settled), waves[1])[1]
    error = (exact["letters"]["logits"] - close["letters"]["logits"]).abs().max()
    assert 0 < error < 0.5 * exact["letters"]["logits"].abs().max()


def test_a_calibration_that_was_made_before_the_head_is_refused(encoder):
    bare = Quantization("int8-static", {name: Operator("dynamic") for name in kinds(make(SMALL))})
    with pytest.raises(SpeechpressError, match=r"says nothing of heads\.letters\.classify.*before this head"):
        check_operators("student", encoder, bare)


def test_mixed_judges_operators_of_heads_by_their_own_answers(encoder, waves):
    yardstick = Yardstick(encoder, waves[:1])
    plain = Quantization("int8").settled(kinds(encoder))
    some = {name: plain.operators[name] for name in [*OWN, "encoder.layers.0.attention.out_proj"]}
    floats = {name: Operator("float") for name in plain.operators}
    quantised = Quantization("int8", floats | some)
    costs = {cost.name: cost.snr_db for cost in yardstick.costs(quantised, lambda text: None)}
    assert set(costs) == set(some) and all(10 < costs[name] < 100 for name in OWN)
    worst = min(costs[name] for name in OWN)
    found, _, reached = mixed(yardstick, quantised, Operator("dynamic"), worst + 0.01, lambda text: None)
    assert {name for name in OWN if found.operators[name].how == "float"} == {
        name for name in OWN if costs[name] < worst + 0.01
    }
    assert reached >= worst
