import copy
from dataclasses import replace

import pytest
import torch
from bundled import BASE, SMALL, make
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.compressor.quantize.fake_quant import (
    channel_weight,
    dynamic,
    feeds_gelu,
    group_weight,
    grouped_weight,
    kinds,
    simulated,
    static,
)
from speechpress.compressor.quantize.scheme import FIRST_CONV, FLOAT, Operator, Quantization
from speechpress.runtime.parity import compare


def test_frames_are_scaled_one_by_one_and_convolutions_all_at_once():
    x = torch.randn(2, 3, 64)
    x[0, 0] *= 100
    frames, whole = dynamic(x, convolution=False), dynamic(x, convolution=True)
    quiet = slice(1, None)
    assert (frames[0, quiet] - x[0, quiet]).abs().max() < 0.02  # a loud frame does not harm its neighbours
    assert (whole[0, quiet] - x[0, quiet]).abs().max() > 0.2
    assert torch.equal(whole[1], dynamic(x[1:], convolution=True)[0])  # nor does one recording another


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-6, 1e4), st.integers(0, 1000))
def test_rounding_is_off_by_half_a_step_at_most(scale, seed):
    x = torch.randn(4, 96, generator=torch.Generator().manual_seed(seed)) * scale
    steps = (x.amax(1).clamp(min=0) - x.amin(1).clamp(max=0)) / 255
    assert bool(((dynamic(x[None], False)[0] - x).abs() <= 0.51 * steps[:, None] + 1e-12).all())


def test_fixed_ranges_clip_and_stop_gradients_there():
    x = torch.tensor([-3.0, -0.5, 0.0, 0.7, 5.0], requires_grad=True)
    y = static(x, torch.tensor(-1.0), torch.tensor(1.0))
    y.sum().backward()
    y = y.detach()
    assert y[2] == 0 and (y[1:4] - x.detach()[1:4]).abs().max() < 1 / 255 + 1e-6
    assert float(y[0]) == pytest.approx(-1, abs=1 / 127) and float(y[4]) == pytest.approx(1, abs=1 / 127)
    assert x.grad.tolist() == [0, 1, 1, 1, 0]


def test_weights_have_a_scale_per_channel_also_when_they_are_tiny():
    weight = torch.randn(5, 40) * torch.tensor([1.0, 0.1, 0.01, 0.003, 0.0])[:, None]
    error = (channel_weight(weight) - weight).abs().amax(1)
    assert bool((error <= 0.51 * weight.abs().amax(1) / 127 + 1e-9).all())
    assert torch.equal(channel_weight(channel_weight(weight)), channel_weight(weight))


def test_four_bits_take_the_better_of_several_scales():
    weight = torch.randn(6, 64)
    levels, scales = grouped_weight(weight)
    assert levels.dtype == torch.int8 and levels.min() >= -8 and levels.max() <= 7 and scales.shape == (6, 2)
    assert torch.equal(scales, scales.bfloat16().float())
    rebuilt = (levels.view(6, 2, 32) * scales[..., None]).view_as(weight)
    assert torch.allclose(rebuilt, group_weight(weight), atol=1e-6)
    widest = (weight.view(6, 2, 32).abs().amax(2) / 7.5)[..., None]
    plain = ((weight.view(6, 2, 32) / widest).round().clamp(-8, 7) * widest).view_as(weight)
    assert (rebuilt - weight).square().sum() < (plain - weight).square().sum()


def test_a_simulation_leaves_the_encoder_alone_and_costs_what_it_should():
    encoder, wave = make(replace(BASE, conv_channels=(16, 32), head_dim=16)), torch.randn(1, 8000) * 0.1
    before = copy.deepcopy(encoder.state_dict())
    wanted = encoder(wave)[0].detach().numpy()
    snr = {}
    for scheme in ("none", "int8", "int4", "fp16"):
        snr[scheme] = compare(simulated(encoder, Quantization(scheme))(wave)[0].numpy(), wanted)["snr_db"]
    assert snr["none"] > 100 and snr["fp16"] > snr["int8"] + 6 > snr["int4"] + 6 > 10
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_one_operator_alone_can_be_quantised():
    encoder, wave = make(SMALL), torch.randn(1, 8000) * 0.1
    name = "encoder.layers.0.feed_forward.output_dense"
    alone = Quantization("int8", dict.fromkeys(kinds(encoder), FLOAT) | {name: Operator("dynamic")})
    found = simulated(encoder, alone)
    states, wanted = found.hidden_states(wave), encoder.hidden_states(wave)
    assert torch.allclose(states[0], wanted[0], atol=1e-5) and not torch.allclose(states[1], wanted[1], atol=1e-5)


def test_what_a_gelu_follows():
    names = list(kinds(make(SMALL)))
    assert {name.removeprefix("encoder.") for name in names if feeds_gelu(name, SMALL)} == {
        "feature_extractor.conv_layers.1.conv",
        "pos_conv_embed.conv",
        "layers.0.feed_forward.intermediate_dense",
    }
    assert not feeds_gelu(FIRST_CONV, BASE)
