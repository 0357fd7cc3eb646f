"""Standardised targets: the statistics of the teacher's frames, learned by heads, and folded into what is saved."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric import Fabric
from tiny_models import ROWS, make_trainer

from speechpress.compressor.data.batches import Batch, Batches
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.distill import standardise
from speechpress.compressor.distill.loop import Loop
from speechpress.compressor.distill.objectives import LayerPairs, PredictionHeads, load_heads, save_heads
from speechpress.compressor.distill.standardise import Standard, least_scale
from speechpress.compressor.distill.step import compared, rescale_heads
from speechpress.compressor.distill.validation import validate
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.events import silent
from speechpress.compressor.recipe.schema import Match
from speechpress.compressor.teachers.load import load_teacher

LAYERS = (4, 2)  # as a recipe may have them


@pytest.fixture(scope="module")
def teacher(tiny_teacher):
    return load_teacher(str(tiny_teacher))


@pytest.fixture(scope="module")
def batches(few_clips):
    return Batches(open_corpus(few_clips).cuts, batch=4, crop_s=1.0, workers=0)


@pytest.fixture(scope="module")
def measured(teacher, batches):
    standard = Standard(LAYERS, 32)
    standard.measure(teacher, batches)
    return standard


def first_epoch(batches):
    stream = batches.start(0)
    while (batch := next(stream)).epoch == 0:
        yield batch.waves


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_a_power_leaves_large_dimensions_larger(power):
    standard = Standard([1], 3, power)
    standard.take(torch.zeros(1, 3), torch.tensor([[1.0, 4.0, 100.0]]))
    given = standard({1: torch.tensor([[[1.0, 4.0, 100.0]]])})[1].flatten()
    torch.testing.assert_close(given, torch.tensor([1.0, 4.0, 100.0]) ** (1 - power))


def test_standardised_frames_have_zero_mean_and_unit_variance(measured, teacher, batches):
    """Of a corpus of less than 20 minutes, those of one epoch."""
    frames = {layer: [] for layer in LAYERS}
    for waves in first_epoch(batches):
        for layer, state in measured(teacher.hidden_states(waves, layers=LAYERS)).items():
            frames[layer].append(state.flatten(0, 1))
    for layer in LAYERS:
        variance, mean = torch.var_mean(torch.cat(frames[layer]), dim=0, correction=0)
        torch.testing.assert_close(mean, torch.zeros(32), atol=1e-4, rtol=0)
        torch.testing.assert_close(variance, torch.ones(32), atol=1e-3, rtol=0)


def test_measuring_again_gives_the_same_and_stops_where_it_should(measured, teacher, batches, monkeypatch):
    again = Standard(LAYERS, 32)
    again.measure(teacher, batches)
    assert torch.equal(again.mean, measured.mean) and torch.equal(again.scale, measured.scale)
    monkeypatch.setattr(standardise, "MEASURED_S", 0.5)
    again.measure(teacher, batches)
    waves = next(first_epoch(batches))
    mean = teacher.hidden_states(waves, layers=[4])[4].mean((0, 1))
    torch.testing.assert_close(again.mean[0], mean, atol=1e-5, rtol=0)


def test_a_dimension_that_hardly_varies_does_not_blow_up():
    found = least_scale(torch.tensor([[1.0, 2.0, 3.0, 0.0, 1e-9], [0.0, 0.0, 0.0, 0.0, 50.0]]))
    torch.testing.assert_close(found, torch.tensor([[1, 2, 3, 0.1, 0.1], [1e-5, 1e-5, 1e-5, 1e-5, 50]]))


def test_statistics_do_not_depend_on_a_large_mean():
    moments = standardise._Moments(torch.Size((1, 2)))
    parts = torch.randn(3, 1, 500, 2, generator=torch.Generator().manual_seed(0)) + torch.tensor([1e4, -3.0])
    for part in parts:
        moments.add(part)
    whole = parts[:, 0].flatten(0, 1).double()
    torch.testing.assert_close(moments.mean[0], whole.mean(0), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(moments.deviation[0], whole.std(0, correction=0), rtol=1e-3, atol=0)


def test_heads_learn_standardised_numbers_and_are_saved_in_the_teachers_scale(tmp_path, measured):
    torch.manual_seed(0)
    heads, states = PredictionHeads(LAYERS, 16, 32), [torch.randn(2, 5, 16)]
    plain = {layer: state.detach() for layer, state in heads(states).items()}
    heads.rescale(measured.mean, measured.scale, keep=False)
    for layer, state in measured(heads(states)).items():
        torch.testing.assert_close(state, plain[layer], atol=1e-4, rtol=1e-4)
    save_heads(tmp_path, heads)
    loaded = load_heads(tmp_path, 16, 32)
    assert loaded.scale is None
    for layer, state in heads(states).items():
        torch.testing.assert_close(loaded(states)[layer], state, atol=1e-5, rtol=1e-5)
    # A later run goes on with them, by whatever statistics.
    loaded.rescale(measured.mean * 2, measured.scale * 3, keep=True)
    for layer, state in heads(states).items():
        torch.testing.assert_close(loaded(states)[layer], state, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(loaded.weight, heads.weight)


def standardised(trainer, measured):
    module = trainer.distiller.module
    module.standard = measured
    rescale_heads(module, keep=False)
    return replace(trainer, standard=measured)


def test_the_loss_is_that_of_standardised_frames_and_validation_tells_both(teacher, tiny_config, measured):
    fabric, match = Fabric(accelerator="cpu", devices=1), Match(layers=LAYERS, cosine=0.0)
    trainer = standardised(make_trainer(teacher, tiny_config, fabric, 2, match=match, pull=False), measured)
    module = trainer.distiller.module.eval()
    with torch.no_grad():
        targets, raw = measured(teacher.hidden_states(ROWS, layers=LAYERS)), module(ROWS)
        wanted = torch.stack([(measured(raw)[layer] - targets[layer]).abs().mean() for layer in LAYERS]).mean()
    found = validate(module, teacher, LAYERS, [ROWS[:1]], standard=measured)
    plain = validate(module, teacher, LAYERS, [ROWS[:1]])
    for layer in map(str, LAYERS):
        assert found[layer]["l1"] == plain[layer]["l1"] and found[layer]["cosine"] == plain[layer]["cosine"]
        assert found[layer]["standard_l1"] != plain[layer]["l1"] and plain[layer].keys() == {"l1", "cosine"}
    loop = Loop(trainer, silent)
    loop.step(Batch(ROWS, [str(row) for row in range(7)], 0, 0, 3.5, 7))
    assert float(loop.unsettled[0].loss) == pytest.approx(float(wanted), rel=1e-4)


def test_both_scales_are_compared_where_the_recipe_weighs_both(measured):
    draw = torch.Generator().manual_seed(0)
    said, wanted = ({layer: torch.randn(2, 5, 32, generator=draw) * 9 for layer in LAYERS} for _ in range(2))
    plain, scaled = Match(layers=LAYERS), Match(layers=LAYERS, standardise=True)
    own, _ = compared(said, wanted, plain, None)
    standard, told = compared(said, wanted, scaled, measured)
    both, parts = compared(said, wanted, replace(scaled, standardise_plain=0.25), measured)
    assert float(own) != pytest.approx(float(standard), rel=0.1)
    torch.testing.assert_close(both, standard + 0.25 * own)
    assert parts == told  # the log stays on the scale of training


@pytest.mark.parametrize("named", [None, [1, 0]])
def test_projections_onto_another_width_learn_standardised_numbers_too(tmp_path, measured, named):
    torch.manual_seed(0)
    heads, states = LayerPairs([(1, 4), (2, 2)], 16, 32, named), [torch.randn(2, 5, 16) for _ in range(3)]
    plain = {layer: state.detach() for layer, state in heads(states).items()}
    rescale_heads(SimpleNamespace(standard=measured, heads=heads), keep=False)
    for layer, state in measured(heads(states)).items():
        torch.testing.assert_close(state, plain[layer], atol=1e-4, rtol=1e-4)
    save_heads(tmp_path, heads)
    loaded = load_heads(tmp_path, 16, 32)
    loaded.rescale(measured.mean * 2, measured.scale * 3, keep=True)
    for layer, state in heads(states).items():
        torch.testing.assert_close(loaded(states)[layer], state, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(loaded.projections[0].weight, heads.projections[0].weight)


def test_hidden_layers_are_compared_on_the_same_scale_and_stay_as_they_are(measured):
    module = SimpleNamespace(standard=measured, heads=LayerPairs([(1, 4), (2, 2)], 32, 32))
    rescale_heads(module, keep=False)
    states = [torch.randn(1, 3, 32) for _ in range(3)]
    assert torch.equal(module.heads(states)[4], states[1])


def spread_of(encoder, waves, chunk_frames):
    with torch.no_grad():
        states = [encoder.hidden_states(one, chunk_frames=chunk_frames)[-1] for one in waves]
        return torch.std_mean(torch.cat([encoder.encoder.last(x).flatten(0, 1) for x in states]), 0, correction=0)


@pytest.mark.parametrize("norm", ["layer", "rms", "dyt"])
def test_an_output_is_standardised_by_its_final_norm_alone(tiny_config, norm):
    config = replace(tiny_config, pre_norm=True, norm=norm, conv_norm="layer", pos_conv_future=0, left_context=8)
    encoder = Encoder(config)
    with torch.no_grad():  # as training leaves some dimensions
        encoder.encoder.layers[-1].feed_forward.output_dense.bias[3] += 40
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    waves = [0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    for _ in range(2):  # a second time changes nothing
        standardise.standardise_output(encoder, waves, 4)
        changed = {name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[name])}
        assert changed == {"encoder.layer_norm.weight"} | ({"encoder.layer_norm.bias"} if norm != "rms" else set())
        spread, mean = spread_of(encoder.eval(), waves, 4)
        if norm == "rms":  # it has nothing to take a mean off with
            torch.testing.assert_close((spread.square() + mean.square()).sqrt(), torch.ones(32), atol=1e-3, rtol=0)
        else:
            torch.testing.assert_close(mean, torch.zeros(32), atol=1e-3, rtol=0)
            assert float(spread.median()) == pytest.approx(1, abs=1e-2) and float(spread.max()) < 1.01
        encoder.train()
