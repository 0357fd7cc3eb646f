import copy
from dataclasses import replace

import pytest
import torch
from bundled import BASE, SMALL, make
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.compressor.quantize.fake_quant import (
    channel_weight,
    check_operators,
    dynamic,
    feeds_gelu,
    group_weight,
    grouped_weight,
    kinds,
    simulated,
    static,
)
from speechpress.compressor.quantize.scheme import FIRST_CONV, FLOAT, Operator, Quantization, scale_of
from speechpress.runtime.errors import SpeechpressError
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


@settings(max_examples=60, deadline=None)
@given(st.floats(-50, 50), st.floats(0, 60))
def test_fixed_ranges_round_as_the_program_is_told_to(low, width):
    """By the scale and zero point that stand in it."""
    scale, zero = scale_of((low, low + width))
    x = torch.linspace(low - 1, low + width + 1, 501)
    levels = (x.double() / scale).round().add(zero).clamp(-128, 127)
    wanted = ((levels - zero) * scale).float()
    off = (static(x, torch.tensor(low), torch.tensor(low + width)) - wanted).abs()
    # A tie may be broken either way; no number is off by more than a level.
    assert float(off.max()) <= 1.001 * scale and float((off > 0.01 * scale).float().mean()) < 0.02


def test_rows_are_rounded_by_their_own_range():
    """By hand: the range of a row is widened to zero, 256 levels lie in it, and zero is one of them."""
    x = torch.tensor([[0.0, 25.5, 10.04, 3.0], [-1.0, 1.55, 0.004, -0.5]])
    found = dynamic(x[None], convolution=False)[0]
    assert torch.allclose(found, torch.tensor([[0.0, 25.5, 10.0, 3.0], [-1.0, 1.55, 0.0, -0.5]]), atol=1e-5)
    tiny = dynamic(1e-9 * x[None], convolution=False)[0]
    assert torch.allclose(1e9 * tiny, found, atol=1e-4)  # also far below what a program can hold
    assert torch.equal(dynamic(torch.zeros(1, 2, 4), convolution=False), torch.zeros(1, 2, 4))


def test_weights_in_8_bits_by_hand():
    weight = torch.tensor([[12.7, -6.34, 0.04, 0.06], [-127.0, 1.4, 63.6, 0.0], [0.0, 0.0, 0.0, 0.0]])
    wanted = torch.tensor([[12.7, -6.3, 0.0, 0.1], [-127.0, 1.0, 64.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.allclose(channel_weight(weight), wanted, atol=1e-5)
    assert torch.allclose(channel_weight(weight[:, :, None])[:, :, 0], wanted, atol=1e-5)
    tiny = torch.tensor([[2.0**-16 * 3.4, 2.0**-20]])
    assert channel_weight(tiny).tolist() == [[2.0**-16 * 3, 0.0]]  # no scale lies below 2^-16


def squared_error(rows, scales):
    levels = (rows / scales[:, None]).round().clamp(-8, 7)
    return (levels * scales[:, None] - rows).square().sum(1)


def test_four_bits_take_the_best_of_the_scales_from_the_widest_to_seven_tenths():
    """For each group on its own; where all weights but one lie on the levels of a smaller scale, it is that."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 96, generator=generator) * torch.logspace(-2, 1, 64)[:, None]
    for row, (share, levels) in enumerate([(0.8, (2, -3, 6, -7)), (0.75, (3, -3, 6, -6))]):
        weight[row] = share * torch.tensor(levels).repeat(24)
        weight[row, ::32] = -7.5
    _, scales = grouped_weight(weight)
    rows = weight.reshape(-1, 32)
    widest = rows.abs().amax(1) / 7.5
    shrinks = torch.tensor([1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7])
    errors = torch.stack([squared_error(rows, (shrink * widest).bfloat16().float()) for shrink in shrinks])
    chosen = squared_error(rows, scales.flatten())
    assert torch.allclose(chosen, errors.amin(0)) and (chosen < errors[0]).float().mean() > 0.3
    shares = scales.flatten() / widest
    assert shares[:6].tolist() == pytest.approx([0.8] * 3 + [0.75] * 3, abs=0.005)
    assert {round(20 * share) for share in shares.tolist()} == {15, 16, 17, 18, 19, 20}
    _, none = grouped_weight(torch.zeros(2, 32))
    assert none.tolist() == [[2.0**-16]] * 2


def test_gradients_of_weights_pass_the_rounding():
    for quantised in (channel_weight, group_weight):
        weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        (quantised(weight) * torch.arange(64.0)).sum().backward()
        passed = weight.grad == torch.arange(64.0)
        assert passed.float().mean() > 0.9 and bool((passed | (weight.grad == 0)).all())


def test_a_program_in_halves_rounds_input_weights_and_output():
    """Of one linear layer and one convolution, by hand in 16 bits."""
    encoder = make(SMALL)
    found = simulated(encoder, Quantization("fp16"))
    for name in ("encoder.layers.0.attention.q_proj", "feature_extractor.conv_layers.1.conv"):
        part = found.get_submodule(name)
        x = torch.randn(1, *((part.in_features,) if isinstance(part, torch.nn.Linear) else (part.in_channels, 30)))
        y = part(x)
        assert torch.equal(y, y.half().float())
        near = x + 1e-5 * x
        same = near.half() == x.half()
        assert same.any() and torch.equal(part(torch.where(same, near, x)), y)


def test_fixed_ranges_are_those_of_input_and_of_output():
    """An input that its range clips gives what the clipped input gives; so an output, at its ends."""
    encoder = make(SMALL)
    name = "encoder.layers.0.feed_forward.output_dense"
    fixed = Operator("static", (-1.0, 3.0), (-0.25, 0.5))
    plain = dict.fromkeys(kinds(encoder), FLOAT)
    part = simulated(encoder, Quantization("int8-static", plain | {name: fixed})).get_submodule(name)
    x = 2 * torch.randn(5, part.in_features, generator=torch.Generator().manual_seed(0))
    y = part(x)
    assert torch.equal(y, part(x.clamp(-1.0, 3.0))) and not torch.equal(y, part(x.clamp(-0.9, 2.9)))
    assert float(y.min()) == pytest.approx(-0.25, abs=0.003) and float(y.max()) == pytest.approx(0.5, abs=0.003)
    assert not torch.equal(part(x)[:1], encoder.get_submodule(name)(x)[:1])


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_where_a_norm_stands_between_a_gelu_is_not_fed(norm):
    config = replace(BASE, conv_norm=norm)
    found = {name for name in kinds(make(config)) if feeds_gelu(name, config)}
    assert ("feature_extractor.conv_layers.1.conv" in found) == (norm != "layer") and FIRST_CONV not in found
    assert "encoder.pos_conv_embed.conv" in found and "encoder.layers.0.feed_forward.output_dense" not in found


@pytest.mark.parametrize(("widths", "odd"), [((64, 100), 1), ((100, 72), 2)])
def test_all_layers_whose_inputs_make_no_groups_are_counted(widths, odd):
    """A feed-forward width is the input of its second linear layer."""
    encoder = make(replace(BASE, ffn_widths=widths, num_heads=(2, 2), conv_channels=(16, 32), head_dim=16))
    with pytest.raises(
        SpeechpressError, match=rf"^a: int4 gives each 32 inputs.*has 100 inputs.*\({odd} such layers\)"
    ):
        check_operators("a", encoder, Quantization("int4"))
    check_operators("a", encoder, Quantization("int8"))
    settled = Quantization("int4").settled(kinds(encoder)).operators
    eased = {name: FLOAT if item.how == "int4" else item for name, item in settled.items()}
    check_operators("a", encoder, Quantization("int4", eased))
