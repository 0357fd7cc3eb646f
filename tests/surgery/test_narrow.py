"""Dimensions of the residual stream taken out: what is left computes what the whole did without them."""

from dataclasses import replace

import pytest
import torch
from bundled import BASE, SMALL, make

from speechpress.compressor.distill.objectives import LayerPairs, PredictionHeads, load_heads, save_heads
from speechpress.compressor.models.checkpoint import load_encoder, save_encoder
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.norms import RmsNorm
from speechpress.compressor.models.streaming import StreamingEncoder
from speechpress.compressor.prune.heads import narrow_heads
from speechpress.compressor.surgery.masks import masked_layer_norm
from speechpress.compressor.surgery.narrow import check_width, narrow, strongest
from speechpress.runtime.errors import SpeechpressError

LAYERS = {"num_heads": (2, 3), "ffn_widths": (20, 30)}
CONFIG, STREAMS = replace(BASE, **LAYERS), replace(SMALL, **LAYERS)
VARIANTS = {
    "base": CONFIG,
    "large": replace(CONFIG, conv_norm="layer", conv_bias=True, pre_norm=True, input_norm="utterance"),
    "static": STREAMS,
    "reduced": replace(CONFIG, time_reduction=2),
    "rms": replace(STREAMS, norm="rms"),
    "dyt": replace(CONFIG, norm="dyt"),
    "no position conv": replace(STREAMS, pos_conv_kernel=1, pos_conv_future=0),
}
KEPT = torch.tensor([0, 2, 5, 7, 8, 9, 12, 15, 17, 18, 19, 23, 24, 26, 29, 30])  # of every group of eight, four
WAVES = torch.randn(2, 4000, generator=torch.Generator().manual_seed(1)) * 0.1


def masked(encoder, kept):
    """Nothing is written to the other dimensions, and norms count those that are kept only."""
    mask = torch.zeros(encoder.config.width)
    mask[kept] = 1.0
    context = encoder.encoder
    writers = [encoder.feature_projection.projection, context.pos_conv_embed]
    writers += [
        part for layer in context.layers for part in (layer.attention.out_proj, layer.feed_forward.output_dense)
    ]
    if context.time_reduction is not None:
        writers.append(context.time_reduction)
    for writer in writers:
        writer.register_forward_hook(lambda module, inputs, output: output * mask)
    norms = [context.layer_norm, *(n for layer in context.layers for n in (layer.layer_norm, layer.final_layer_norm))]
    for norm in norms:
        norm.register_forward_hook(lambda m, inputs, output: counted(m, inputs[0], output, mask) * mask)
    return encoder


def counted(norm, x, output, mask):
    """What a norm gives when it counts the dimensions that are kept only."""
    if isinstance(norm, torch.nn.LayerNorm):
        return masked_layer_norm(x, norm, mask != 0)
    if isinstance(norm, RmsNorm):
        return x * ((x * mask).square().sum(-1, keepdim=True) / mask.sum() + norm.eps).rsqrt() * norm.weight
    return output


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_the_narrow_encoder_equals_the_masked_one(name):
    encoder = make(VARIANTS[name])
    small, whole = narrow(encoder, KEPT), encoder.hidden_states(WAVES)
    assert small.config.width == 16
    for found, wanted in zip(small.hidden_states(WAVES), masked(encoder, KEPT).hidden_states(WAVES), strict=True):
        torch.testing.assert_close(found, wanted[..., KEPT], atol=1e-5, rtol=0)
        assert not wanted.index_select(-1, torch.tensor([1, 3])).any()
    assert not torch.allclose(small.hidden_states(WAVES)[-1], whole[-1][..., KEPT], atol=1e-4, rtol=0)


def test_it_is_an_ordinary_encoder_that_streams_and_can_be_saved(tmp_path):
    encoder = make(STREAMS)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    small = narrow(encoder, KEPT)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    save_encoder(tmp_path, small)
    again = load_encoder(tmp_path)
    assert isinstance(again, Encoder) and again.config == small.config
    with torch.inference_mode():
        frames, _ = StreamingEncoder(again, 4).step(torch.randn(1, 4 * 320), StreamingEncoder(again, 4).initial_state())
    assert frames.shape == (1, 4, 16)


def test_the_strongest_of_every_group_stay():
    importance = torch.zeros(24)
    importance[[3, 4, 11, 12, 13, 23]] = torch.tensor([2.0, 1.0, 3.0, 4.0, 5.0, 6.0])
    importance[[9, 18]] = 0.5
    assert strongest(importance, 8, 4).tolist() == [3, 4, 9, 11, 12, 13, 18, 23]


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (32, "less than the 32 of the checkpoint and a multiple of 4, the groups of.*nearest is 28"),
        (100, "nearest is 28"),
        (11, "nearest is 12"),
        (1, "nearest is 4"),
        (0, "nearest is 4"),
    ],
)
def test_widths_that_cannot_be(width, said):
    with pytest.raises(SpeechpressError, match=said):
        check_width(width, CONFIG)
    check_width(12, CONFIG)


def test_the_narrowest_has_no_narrower_one():
    with pytest.raises(SpeechpressError, match="as narrow as its position convolution allows"):
        check_width(2, replace(CONFIG, width=4))


@torch.no_grad()
def test_predictions_read_what_is_left_and_keep_their_strongest_units(tmp_path):
    torch.manual_seed(0)
    heads = PredictionHeads([2, 4], 32, 10)
    heads.weight[:, 16:] *= 1e-4  # of the heads' own units, half matter
    small = narrow_heads(heads, KEPT, 10)
    states = torch.randn(1, 5, 32)
    masked_states = torch.zeros_like(states)
    masked_states[..., KEPT] = states[..., KEPT]
    for layer, wanted in heads([masked_states]).items():
        torch.testing.assert_close(small([states[..., KEPT]])[layer], wanted, atol=1e-3, rtol=0)
    save_heads(tmp_path, small)
    assert load_heads(tmp_path, 16, 10) is not None


@torch.no_grad()
@pytest.mark.parametrize("teacher_width", [32, 10])
@pytest.mark.parametrize("factor", [1, 2])
def test_pairs_read_what_is_left(teacher_width, factor):
    torch.manual_seed(0)
    heads = LayerPairs([(0, 2), (1, 4)], 32, teacher_width, factor=factor)
    small = narrow_heads(heads, KEPT, teacher_width)
    states = [torch.randn(1, 5, 32) for _ in range(2)]
    gone = [torch.zeros_like(state).index_copy(2, KEPT, state[..., KEPT]) for state in states]
    for layer, wanted in heads(gone).items():
        torch.testing.assert_close(small([state[..., KEPT] for state in states])[layer], wanted, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_learned_upsampling_is_narrowed_too():
    heads = PredictionHeads([2], 32, 10, factor=2, upsample="conv")
    small = narrow_heads(heads, KEPT, 10)
    torch.testing.assert_close(small.upsample.conv.weight, heads.upsample.conv.weight[KEPT][:, KEPT])
    assert small([torch.randn(1, 5, 16)])[2].shape == (1, 10, 10)
