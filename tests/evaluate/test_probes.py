"""Probes: what a linear reading of frozen features can and cannot find."""

import pytest
import torch

from speechpress.compressor.evaluate import probes
from speechpress.compressor.evaluate.probes import (
    Part,
    Probe,
    fit,
    pooled,
    probe,
    probe_each_layer,
    standardized,
    wilson,
)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(probes, "STEPS", 150)


def make_parts(sizes, layers=3, width=16, classes=4, signal_layer=None, seed=0):
    """Noise of one scale in every layer; in `signal_layer` the class stands in its first dimensions."""
    draw = torch.Generator().manual_seed(seed)
    parts = {}
    for split, size in zip(("train", "val", "test"), sizes, strict=True):
        x = torch.randn(size, layers, width, generator=draw)
        y = torch.randint(classes, (size,), generator=draw)
        if signal_layer is not None:
            x[:, signal_layer, :classes] += 12 * torch.nn.functional.one_hot(y, classes)
        parts[split] = Part(x, y)
    return parts


def test_a_separable_label_is_found_exactly_and_in_the_layer_that_has_it():
    score = probe(make_parts((200, 60, 80), signal_layer=1), classes=4, seeds=2)
    assert score.test == 1.0
    assert score.val == 1.0
    assert max(range(3), key=lambda k: score.layer_weights[k]) == 1
    assert sum(score.layer_weights) == pytest.approx(1.0, abs=1e-5)


def test_each_layer_alone_shows_which_one_carries_the_label():
    scores = probe_each_layer(make_parts((200, 60, 80), signal_layer=2), classes=4)
    assert scores[2].test == 1.0
    assert max(scores[0].test, scores[1].test) < 0.5


def test_labels_without_relation_to_the_features_give_chance():
    score = probe(make_parts((200, 60, 400)), classes=4)
    low, high = score.ci95
    assert low < 0.25 + 0.05
    assert high > 0.25 - 0.05
    assert 0.12 < score.test < 0.40


def test_the_interval_is_wilsons_and_shrinks_with_the_number_of_clips():
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-3)
    assert wilson(0.0, 10)[1] > 0.2
    widths = [high - low for low, high in (wilson(0.8, count) for count in (10, 100, 1000, 10000))]
    assert widths == sorted(widths, reverse=True)
    assert wilson(0.7, 0) == (0.0, 1.0)


def test_pooling_first_gives_the_same_logits_as_pooling_last():
    draw = torch.Generator().manual_seed(1)
    layers = [torch.randn(5, 30, 8, generator=draw) * scale for scale in (1.0, 7.0, 0.1)]
    reader = Probe(3, 8, 4)
    reader.layer_logits.data = torch.tensor([0.3, -1.0, 0.7])
    framewise = sum(
        weight * torch.nn.functional.layer_norm(layer, (8,))
        for weight, layer in zip(reader.layer_weights, layers, strict=True)
    )
    late = reader.classify(framewise).mean(1)
    assert torch.allclose(reader(pooled(layers)), late, atol=1e-5)


def test_pooling_ignores_a_layers_scale_but_keeps_the_level_when_asked():
    layer = torch.randn(4, 20, 8) + 1
    assert torch.allclose(pooled([layer]), pooled([100 * layer]), atol=1e-4)
    assert torch.allclose(pooled([3 * layer], norm=False), 3 * pooled([layer], norm=False), atol=1e-5)
    assert pooled([layer, layer]).shape == (4, 2, 8)


def test_standardizing_uses_the_training_clips_alone_and_survives_a_constant_dimension():
    parts = make_parts((50, 20, 20))
    parts["train"].x[:, 0, 3] = 5.0
    scaled = standardized(parts)
    assert scaled["train"].x.mean(0).abs().max() < 1e-5
    assert all(torch.isfinite(part.x).all() for part in scaled.values())
    moved = standardized({**parts, "test": Part(parts["test"].x + 100, parts["test"].y)})
    assert torch.equal(moved["train"].x, scaled["train"].x)
    assert moved["test"].x[:, 1].mean() > 50


def test_a_probe_is_the_same_for_the_same_seed_and_leaves_random_state_and_threads_alone():
    parts = standardized(make_parts((700, 60, 60), signal_layer=0))
    before = torch.get_rng_state()
    first, second, other = (fit(parts, 4, 1e-3, 0.01, seed)[1].classify.weight for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    threads = torch.get_num_threads()
    probe(parts, 4, seeds=1)
    assert torch.get_num_threads() == threads


def test_the_step_that_is_best_on_val_is_kept(monkeypatch):
    parts = standardized(make_parts((40, 200, 20), width=64))
    (best, _), kept = fit(parts, 4, 3e-2, 0.0, seed=0)
    assert probes.accuracy(kept(parts["val"].x), parts["val"].y) == pytest.approx(best)
    monkeypatch.setattr(probes, "STEPS", 300)
    (longer, _), _ = fit(parts, 4, 3e-2, 0.0, seed=0)
    assert longer >= best
