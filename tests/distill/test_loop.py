import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.distill.loop import diverged
from speechpress.compressor.distill.objectives import PredictionHeads
from speechpress.compressor.distill.step import Distiller, learning_rate, make_optimizer
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.schema import Train
from speechpress.runtime.errors import SpeechpressError


@given(st.integers(2, 1000), st.floats(0, 1))
def test_the_rate_rises_to_its_peak_and_falls_towards_zero(steps, warmup):
    train = Train(steps=steps, lr=1e-3, warmup=warmup)
    rates = [learning_rate(train, step) for step in range(steps)]
    assert max(rates) <= 1e-3 * (1 + 1e-9) and min(rates) > 0
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)


def test_the_rate_is_distilhuberts():
    train = Train(steps=200_000)
    assert learning_rate(train, 13_999) == pytest.approx(2e-4)
    assert learning_rate(train, 107_000) == pytest.approx(1e-4)
    assert learning_rate(replace(train, schedule="constant"), 199_999) == 2e-4


def test_frozen_parameters_are_not_optimised(tiny_config):
    distiller = Distiller(Encoder(tiny_config), PredictionHeads([1], 32, 32))
    count = sum(len(group["params"]) for group in make_optimizer(distiller, Train(steps=1), scaled=False).param_groups)
    assert count == len(list(distiller.parameters())) - 1  # masked_spec_embed


def test_advice_on_a_diverging_run_depends_on_the_recipe():
    train = Train(steps=1, precision="fp16", lr=2e-4)
    assert "precision=bf16" in str(diverged("x", train, scaled=True))
    fp32 = str(diverged("x", train, scaled=False))
    assert "precision" not in fp32 and "train.lr=5e-05" in fp32
    assert isinstance(diverged("x", train, scaled=False), SpeechpressError)
    assert math.isfinite(Train(steps=1).lr)
