import math
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric
from tiny_models import ROWS, make_trainer

from speechpress.compressor.data.batches import Batch, Batches
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.distill.loop import Loop, diverged
from speechpress.compressor.distill.objectives import PredictionHeads
from speechpress.compressor.distill.process import Interrupt
from speechpress.compressor.distill.step import Distiller, learning_rate, make_optimizer, set_learning_rate
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.events import silent
from speechpress.compressor.recipe.schema import Train
from speechpress.compressor.teachers.load import load_teacher
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
    assert "train.warmup=0.15" in fp32 and "train.clip" not in fp32
    assert "train.clip=1.0" in str(diverged("x", replace(train, warmup=0.15), scaled=False))


@pytest.mark.parametrize(
    ("steps", "warmup", "rates"),
    [
        (5, 0.0, [1, 1, 0.75, 0.5, 0.25]),
        (5, 0.4, [0.5, 1, 1, 2 / 3, 1 / 3]),
        (5, 0.8, [0.25, 0.5, 0.75, 1, 1]),
        (4, 1.0, [0.25, 0.5, 0.75, 1]),
        (1, 0.07, [1]),
    ],
)
def test_the_schedule_by_hand(steps, warmup, rates):
    train = Train(steps=steps, lr=1.0, warmup=warmup)
    assert [learning_rate(train, step) for step in range(steps)] == pytest.approx(rates)
    group = {"lr": 0.0, "params": []}, {"lr": 0.0, "params": [], "lr_factor": 3.0}

    class Groups:
        param_groups = group

    set_learning_rate(Groups, train, steps - 1)
    assert group[0]["lr"] == pytest.approx(rates[-1]) and group[1]["lr"] == pytest.approx(3 * rates[-1])


@pytest.fixture(scope="module")
def make_loop(tiny_teacher, tiny_config):
    teacher = load_teacher(str(tiny_teacher))

    def make(listen=silent, **settings):
        return Loop(make_trainer(teacher, tiny_config, Fabric(accelerator="cpu", devices=1), **settings), listen)

    return make


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (99, 1), (200, 2), (1234, 12), (5000, 50), (200_000, 50)])
def test_a_run_has_about_a_hundred_lines_and_a_long_one_a_line_every_50_steps(make_loop, steps, every):
    assert make_loop(steps=steps).log_every == every


def test_the_loss_is_smoothed_and_its_best_is_kept(make_loop):
    loop, smooth = make_loop(), 2.0
    for number, loss in enumerate([2.0, 1.0, 4.0, 0.5, 3.0]):
        loop._watch(number, loss)
        smooth = smooth + (loss - smooth) / 50
        assert loop.progress.loss_ema == pytest.approx(smooth)
    assert loop.progress.best_ema == pytest.approx(1.98)


@pytest.mark.parametrize(("best", "limit"), [(1.0, 3.0), (0.25, 1.5), (-1.0, 1.0)])
def test_a_loss_that_has_risen_to_twice_its_best_and_one_more_stops_the_run(make_loop, best, limit):
    def risen(to):
        loop = make_loop()
        loop._watch(0, best)
        loop._watch(1, best + 50 * (to - best))

    risen(limit - 0.01)
    with pytest.raises(SpeechpressError, match="the loss has risen"):
        risen(limit + 0.01)


def batch(rows):
    return Batch(rows, [str(row) for row in range(len(rows))], 0, 0, len(rows) / 2, len(rows))


def test_a_line_has_the_means_since_the_one_before(make_loop):
    """Over frames, so that a step with more of them counts more; everything is counted anew after it."""
    loop = make_loop(steps=1000, lr=0.5)
    for many in (3, 7):
        loop.step(batch(ROWS[:many]))
    losses = [float(taken.loss) for taken in loop.unsettled]
    norms = [float(taken.grad_norm) for taken in loop.unsettled]
    loop.settle()
    loop.since.seconds = 0.5
    line = loop._log_line()
    assert line["loss"] == pytest.approx((3 * losses[0] + 7 * losses[1]) / 10, rel=1e-5)
    assert line["grad_norm"] == pytest.approx(norms[1]) and line["lr"] == 0.5 and line["step"] == 2
    assert line["event"] == "train" and line["audio_s"] == 5.0 and line["audio_s_per_s"] == 10.0
    layers = list(line["layers"].values())
    assert set(line["layers"]) == {"2", "4"} and all(-1 <= layer["cosine"] <= 1 for layer in layers)
    # The mean over layers of what the recipe weighs: L1, and -log sigmoid of the cosine, here about its value at 0.
    assert line["loss"] == pytest.approx(sum(one["l1"] for one in layers) / 2 + math.log(2), abs=0.35)
    loop.step(batch(ROWS[:2]))
    third = float(loop.unsettled[0].loss)
    loop.settle()
    again = loop._log_line()
    assert again["loss"] == pytest.approx(third, rel=1e-5) and again["audio_s"] == 6.0
    assert again["audio_s_per_s"] == pytest.approx(1.0 / 1e-9) and loop._log_line() is None


def test_a_run_says_saves_and_counts_when_it_is_due(make_loop, few_clips):
    """Lines every 3 steps and at the end; the numbers are looked at before each save, and seconds are seconds."""
    lines, looked = [], []
    loop = make_loop(lines.append, steps=10, lr=1e-3, checkpoint_every=4, validate_every=100)
    loop.log_every = 3

    def after_step():
        looked.append(len(loop.unsettled))
        time.sleep(0.05)

    started = time.perf_counter()
    batches = Batches(open_corpus(few_clips).cuts, batch=2, crop_s=0.5, workers=0)
    assert loop.run(batches, Interrupt(), after_step)
    wall = time.perf_counter() - started
    assert [line["step"] for line in lines] == [3, 6, 9, 10]
    assert looked == [1, 2, 0, 0, 1, 0, 1, 0, 0, 0]
    assert 0 < loop.progress.train_s < wall - 10 * 0.05
    heard = [0.0, *(line["audio_s"] for line in lines)]
    rates = [line["audio_s_per_s"] for line in lines]
    spent = sum((after - before) / rate for before, after, rate in zip(heard, heard[1:], rates, strict=False))
    assert spent == pytest.approx(loop.progress.train_s, rel=0.5) and heard[-1] == loop.progress.audio_s
    assert loop.progress.step == 10
