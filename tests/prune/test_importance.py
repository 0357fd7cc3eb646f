from dataclasses import replace

import pytest
import torch
from bundled import BASE, SMALL, make

from speechpress.compressor.models.streaming import folded
from speechpress.compressor.prune.importance import magnitude, taylor, width_importance
from speechpress.compressor.surgery.subclone import WIDTH, axes_of
from speechpress.compressor.surgery.units import Group, sizes_of

WAVES = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)) * 0.1


def loss(encoder):
    return encoder(WAVES).square().mean()


@pytest.mark.parametrize("config", [BASE, SMALL], ids=["base", "static"])
def test_every_unit_gets_a_number(config):
    encoder = make(config)
    for found in (magnitude(encoder), taylor(encoder, [loss, loss])):
        assert {group: len(values) for group, values in found.items()} == sizes_of(config)
        assert all(bool((values >= 0).all() and values.isfinite().all()) for values in found.values())


def test_taylor_is_the_derivative_of_a_gate():
    """On every unit a gate where its output is read: the loss's derivative at 1."""
    from speechpress.compressor.surgery.masks import attach

    encoder = make(SMALL)
    found = taylor(encoder, [loss])
    masks = {group: torch.ones(count, requires_grad=True) for group, count in sizes_of(SMALL).items()}
    attach(encoder, masks.get)
    loss(encoder).backward()
    for group in (Group("conv", 0), Group("ffn", 0)):
        torch.testing.assert_close(found[group], masks[group].grad.abs(), atol=1e-6, rtol=1e-3)


def test_importance_is_of_the_loss_and_not_of_scaled_gradients():
    """A student's front end learns slower, by a tenth; its channels do not matter a tenth as much."""
    encoder = make(SMALL)
    wanted, across = taylor(encoder, [loss]), width_importance(encoder, [loss])
    encoder.front_end_grad = 0.1
    for group, values in taylor(encoder, [loss]).items():
        torch.testing.assert_close(values, wanted[group], msg=group.title)
    torch.testing.assert_close(width_importance(encoder, [loss]), across)


def test_importance_is_made_of_sizes_that_cannot_cancel():
    """By hand: what writes or reads a dimension, tensor by tensor; and the channels of a head, one by one."""
    encoder = make(SMALL)
    found, heads = width_importance(encoder, [loss]), taylor(encoder, [loss])[Group("head", 0)]
    whole = folded(encoder).requires_grad_(True)
    loss(whole).backward()
    changes = {name: (tensor * tensor.grad).detach() for name, tensor in whole.named_parameters() if "weight" in name}
    wanted = torch.zeros(SMALL.width)
    for name, change in changes.items():
        for dim, axis in enumerate(axes_of(name, len(SMALL.conv_channels) - 1)):
            if axis == WIDTH:
                wanted += change.movedim(dim, 0).reshape(SMALL.width, -1).sum(1).abs()
    # What the position convolution reads is not in `wanted`: it is little.
    torch.testing.assert_close(found, wanted, atol=0.02 * float(wanted.max()), rtol=0)
    channels = changes["encoder.layers.0.attention.out_proj.weight"].sum(0).view(-1, SMALL.head_dim)
    torch.testing.assert_close(heads, channels.square().sum(1).sqrt())


def test_dimensions_that_batches_pull_apart_matter_all_the_same():
    """Losses of opposite sign cancel in a mean of changes, not in that of their sizes."""
    encoder = make(SMALL)
    alone = width_importance(encoder, [loss])
    both = width_importance(encoder, [loss, lambda whole: -loss(whole)])
    assert alone.max() > 1e-4
    torch.testing.assert_close(both, alone)
    units = taylor(encoder, [loss, lambda whole: -loss(whole)])
    for group, values in taylor(encoder, [loss]).items():
        torch.testing.assert_close(units[group], values, msg=group.title)


def test_units_without_effect_matter_least():
    encoder = make(BASE)
    layer = encoder.encoder.layers[0]
    layer.feed_forward.output_dense.weight.data[:, 7] = 0.0
    layer.attention.out_proj.weight.data[:, :8] = 0.0
    found = taylor(encoder, [loss])
    assert found[Group("ffn", 0)][7] == 0 and int(found[Group("ffn", 0)].argmin()) == 7
    assert found[Group("head", 0)][0] == 0
    layer.attention.q_proj.weight.data[8:] *= 5
    assert int(magnitude(encoder)[Group("head", 0)].argmin()) == 0
    assert float(magnitude(encoder)[Group("head", 0)].mean()) == pytest.approx(1)


def test_the_encoder_is_left_as_it_was():
    encoder = make(BASE)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    taylor(encoder, [loss])
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())


@pytest.mark.parametrize("config", [BASE, SMALL, replace(BASE, pre_norm=True)], ids=["base", "static", "pre-norm"])
def test_dimensions_that_nothing_writes_and_nothing_reads_matter_least(config):
    encoder = make(config)
    with torch.no_grad():
        for name, tensor in encoder.named_parameters():
            axes = axes_of(name, len(config.conv_channels) - 1)
            for dim, axis in enumerate(axes):
                if axis == WIDTH:
                    tensor.index_fill_(dim, torch.tensor([3, 20]), 0.0)
    for found in (width_importance(encoder, None), width_importance(encoder, [loss, loss])):
        assert found.shape == (config.width,) and bool(found.isfinite().all() and (found >= 0).all())
        assert set(found.argsort()[:2].tolist()) == {3, 20}
