"""First weights of a student of another shape: a part of its source, or its source with room to grow."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.surgery.subclone import TAP_GAINS, TAPS, axes_of, subclone

SMALL = EncoderConfig(
    conv_channels=(12, 12, 16),
    conv_kernels=(10, 3, 3),
    conv_strides=(5, 2, 2),
    conv_norm="layer",
    width=32,
    head_dim=8,
    num_heads=(4, 4),
    ffn_widths=(48, 48),
    pos_conv_kernel=8,
    pos_conv_groups=4,
    dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
)


def shaped(**changes):
    return EncoderConfig(**{**SMALL.to_dict(), **changes})


def encoder(config, seed=0):
    torch.manual_seed(seed)
    made = Encoder(config).eval()
    with torch.no_grad():  # gains and biases that are not 1 and 0
        for name, tensor in made.named_parameters():
            if "norm" in name or name.endswith("bias"):
                tensor.add_(0.1 * torch.randn_like(tensor))
    return made


def grown(config, start):
    """An encoder of a shape, from another one."""
    student = encoder(config, seed=1)
    source = start.state_dict()
    own = student.state_dict()
    fitting = {name: tensor for name, tensor in source.items() if name in own and own[name].shape == tensor.shape}
    student.load_state_dict(fitting | subclone(own, source, config, start.config), strict=False)
    return student


@pytest.mark.parametrize(
    "more",
    [
        {"ffn_widths": (64, 48)},
        {"num_heads": (6, 4)},
        {"conv_channels": (12, 20, 16), "conv_norm": "static"},
        {"ffn_widths": (96, 64), "num_heads": (5, 7)},
    ],
    ids=str,
)
def test_room_to_grow_changes_nothing_at_first(more):
    start = encoder(shaped(conv_norm=more.get("conv_norm", "layer")))
    wave = torch.randn(1, 2000)
    student = grown(shaped(**more), start)
    for ours, theirs in zip(student.hidden_states(wave), start.hidden_states(wave), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_wider_stream_is_its_source_with_silent_dimensions():
    start = encoder(SMALL)
    wave = torch.randn(1, 2000)
    theirs = start.hidden_states(wave)
    ours = grown(shaped(width=64), start).hidden_states(wave)
    places = torch.cat([torch.arange(16 * group, 16 * group + 8) for group in range(4)])
    for one, other in zip(ours, theirs, strict=True):
        alike = torch.cosine_similarity(one[..., places].flatten(), other.flatten(), dim=0)
        assert alike > 0.95


def test_everything_that_is_new_learns_from_the_first_step_on():
    student = grown(shaped(width=40, ffn_widths=(64, 64), num_heads=(6, 6)), encoder(SMALL)).train()
    student.hidden_states(torch.randn(2, 2000))[-1].square().mean().backward()
    moved = {name: tensor.grad for name, tensor in student.named_parameters() if tensor.grad is not None}
    for name in ("encoder.layers.0.feed_forward.output_dense.weight", "encoder.layers.0.attention.out_proj.weight"):
        assert (moved[name].abs().amax(0) > 0).all() and (moved[name].abs().amax(1) > 0).all()


def test_a_narrower_one_has_the_strongest_units_everywhere_the_same():
    start = encoder(SMALL)
    weak = [1, 2, 30]
    with torch.no_grad():
        start.encoder.layers[0].feed_forward.intermediate_dense.weight[weak] = 0
        start.encoder.layers[0].feed_forward.output_dense.weight[:, weak] = 0
        start.encoder.layers[0].feed_forward.intermediate_dense.bias[weak] = 0
    wave = torch.randn(1, 2000)
    ours = grown(shaped(ffn_widths=(45, 48)), start).hidden_states(wave)
    for one, other in zip(ours, start.hidden_states(wave), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_channels_that_are_left_lie_in_their_order():
    start = encoder(shaped(conv_norm="static"))
    kept = [0, 2, 3, 5, 7, 8, 10, 11]
    name = "feature_extractor.conv_layers.1.conv.weight"
    state = start.state_dict()
    state[name] = state[name].clone()
    state[name][kept] *= 10
    student = shaped(conv_norm="static", conv_channels=(12, 8, 16))
    made = subclone(Encoder(student).state_dict(), state, student, start.config)
    assert torch.equal(made[name], state[name][kept])
    after = "feature_extractor.conv_layers.2.conv.weight"
    assert torch.equal(made[after], state[after][:, kept])


def test_the_position_convolution_keeps_its_groups_and_its_loudness():
    start = encoder(SMALL)
    source = start.state_dict()
    made = subclone(Encoder(shaped(width=16)).state_dict(), source, shaped(width=16), SMALL)
    taps, gains = made[TAPS], made[TAP_GAINS]
    weight = gains * taps / taps.norm(dim=(0, 1), keepdim=True)
    whole = start.encoder.pos_conv_embed.conv.weight
    assert weight.shape == (16, 4, 8)
    for row in weight[:, 0, 0]:
        assert torch.isclose(whole[..., 0], row, atol=1e-6).any()


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([16, 24, 32, 40]),
    st.integers(1, 6),
    st.integers(8, 60),
    st.integers(4, 20),
    st.sampled_from(["layer", "static", "frame", "group"]),
)
def test_every_shape_is_filled_with_finite_numbers(width, heads, ffn, channels, norm):
    student = shaped(
        width=width, num_heads=(heads, heads), ffn_widths=(ffn, ffn), conv_channels=(channels,) * 3, conv_norm=norm
    )
    made = grown(student, encoder(SMALL))
    made.measure_statistics(torch.randn(1, 4000))
    assert all(torch.isfinite(state).all() for state in made.hidden_states(torch.randn(1, 2000)))


def test_what_cannot_be_matched_is_left_out():
    source = encoder(SMALL).state_dict()
    other_heads = shaped(width=16, head_dim=4)
    assert subclone(Encoder(other_heads).state_dict(), source, other_heads, SMALL) == {}
    kernels = shaped(width=16, pos_conv_kernel=6)
    made = subclone(Encoder(kernels).state_dict(), source, kernels, SMALL)
    assert made and TAPS not in made and TAP_GAINS not in made
    assert subclone(source, source, SMALL, SMALL) == {}


def test_every_tensor_of_an_encoder_has_its_axes():
    sizes = {"conv": SMALL.conv_channels, "width": (32,), "head": (32, 32), "ffn": SMALL.ffn_widths}
    for name, tensor in encoder(SMALL).state_dict().items():
        if name not in (TAPS, TAP_GAINS):
            axes = axes_of(name, last=2)
            assert axes, name
            assert [sizes[axis.kind][axis.layer] for axis in axes] == list(tensor.shape[: len(axes)]), name
