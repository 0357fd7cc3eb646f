import pytest
import torch
from bundled import SMALL, make

from speechpress.compressor.distill.sparse import WeightPruner, prunable, zero_smallest
from speechpress.compressor.recipe.schema import Prune


def zero_share(encoder):
    weights = [module.weight for _, module in prunable(encoder).values()]
    return float(sum((w == 0).sum() for w in weights) / sum(w.numel() for w in weights))


@pytest.mark.parametrize("sparsity", [0.25, 0.9])
def test_the_smallest_weights_of_all_become_zero(sparsity):
    encoder = make(SMALL)
    before = {name: module.weight.detach().clone() for name, (_, module) in prunable(encoder).items()}
    zero_smallest(prunable(encoder), sparsity)
    assert zero_share(encoder) == pytest.approx(sparsity, abs=1e-3)
    weights = {name: module.weight for name, (_, module) in prunable(encoder).items()}
    gone = max(float(before[name][weight == 0].abs().max()) for name, weight in weights.items() if (weight == 0).any())
    # The position convolution's lengths are spread over what is left of its directions, so its zeros alone count.
    stay = min(float(before[name][weight != 0].abs().min()) for name, weight in weights.items())
    assert gone <= stay


def test_a_tap_of_no_length_keeps_a_direction():
    """A student that looks less far ahead than its teacher has such: directions of zeros would make them no numbers."""
    encoder = make(SMALL)
    gains = encoder.encoder.pos_conv_embed.conv.parametrizations.weight.original0
    gains.data[..., 3:6] = 0.0
    zero_smallest(prunable(encoder), 0.9)
    assert encoder.encoder.pos_conv_embed.conv.weight.isfinite().all()


def shaken(encoder, seed):
    generator = torch.Generator().manual_seed(seed)
    for stored, _ in prunable(encoder).values():
        stored.data.add_(torch.randn(stored.shape, generator=generator) * 0.1)


def test_one_shot_holds_its_zeros_and_parp_lets_them_move():
    encoders = {method: make(SMALL) for method in ("one-shot", "parp")}
    for method, encoder in encoders.items():
        pruner = WeightPruner(encoder, Prune(0.5, method, every=4), steps=6)
        pruner.begin(fresh=True)
        first = {name: stored == 0 for name, (stored, _) in pruner.weights.items()}
        shares = []
        for step in range(1, 7):
            shaken(encoder, step)
            pruner.after_step(step)
            shares.append(zero_share(encoder))
        same = all(torch.equal(first[name], stored == 0) for name, (stored, _) in pruner.weights.items())
        assert same == (method == "one-shot")
        expected = [0.5] * 6 if method == "one-shot" else [0, 0, 0, 0.5, 0, 0.5]
        assert shares == pytest.approx(expected, abs=1e-3)


def test_a_run_that_goes_on_knows_its_zeros_again():
    encoder = make(SMALL)
    WeightPruner(encoder, Prune(0.5, "one-shot"), steps=6).begin(fresh=True)
    again = WeightPruner(encoder, Prune(0.5, "one-shot"), steps=6)
    again.begin(fresh=False)
    shaken(encoder, 0)
    again.after_step(3)
    assert zero_share(encoder) == pytest.approx(0.5, abs=1e-3)


def test_the_report_has_every_layer():
    encoder = make(SMALL)
    pruner = WeightPruner(encoder, Prune(0.5, "parp"), steps=6)
    pruner.begin(fresh=True)
    report = pruner.report()
    assert report["sparsity"] == pytest.approx(0.5, abs=1e-3) and "no program faster" in report["note"]
    assert report["layers"].keys() == prunable(encoder).keys() and "encoder.pos_conv_embed.conv" in report["layers"]
    assert len(set(report["layers"].values())) > 3
