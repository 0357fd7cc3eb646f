import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_models import shake, tiny, waves
from transformers import HubertModel

from speechpress.compressor.models.checkpoint import load_encoder, save_encoder
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import ConvPositionalEmbedding, Encoder, normalize
from speechpress.runtime.errors import SpeechpressError

TOLERANCE = 2e-5
CASES = [
    pytest.param("hubert", "base", {}, id="hubert-base"),
    pytest.param("hubert", "large", {}, id="hubert-large"),
    pytest.param("wav2vec2", "base", {}, id="wav2vec2-base"),
    pytest.param("wav2vec2", "large", {}, id="wav2vec2-large"),
    pytest.param("hubert", "base", {"feat_proj_layer_norm": False}, id="distilhubert"),
    pytest.param(
        "hubert", "base", {"num_conv_pos_embeddings": 31, "num_conv_pos_embedding_groups": 4}, id="odd-pos-conv"
    ),
    pytest.param("hubert", "base", {"feat_extract_norm": "layer"}, id="layer-norm-front-end"),
]


def encoder_like(model):
    encoder = Encoder(EncoderConfig.from_hubert(model.config.to_dict()))
    encoder.load_state_dict(model.state_dict())
    return encoder.eval()


@pytest.mark.parametrize(("family", "style", "changes"), CASES)
@torch.no_grad()
def test_every_layer_equals_transformers(family, style, changes):
    model = tiny(family, style, **changes)
    encoder = encoder_like(model)
    batch, _ = waves(16000, 16000)
    theirs = model(batch, output_hidden_states=True)
    ours = encoder.hidden_states(batch)
    assert len(ours) == len(theirs.hidden_states) == 4
    for k in range(4):
        assert (ours[k] - theirs.hidden_states[k]).abs().max() < TOLERANCE, k
    assert (encoder(batch) - theirs.last_hidden_state).abs().max() < TOLERANCE


@pytest.mark.parametrize(("family", "style", "changes"), CASES)
@torch.no_grad()
def test_padded_rows_equal_transformers(family, style, changes):
    model = tiny(family, style, **changes)
    batch, lengths = waves(16000, 11000, 4321)
    mask = torch.arange(batch.shape[1]) < lengths[:, None]
    theirs = model(batch, attention_mask=mask.long(), output_hidden_states=True).hidden_states
    encoder = encoder_like(model)
    ours = encoder.hidden_states(batch, lengths)
    for row, frames in enumerate(encoder.config.frames(lengths).tolist()):
        for k in range(4):
            assert (ours[k][row, :frames] - theirs[k][row, :frames]).abs().max() < TOLERANCE, (row, k)


@torch.no_grad()
def test_padding_changes_nothing_in_a_layer_norm_encoder():
    encoder = encoder_like(tiny("hubert", "large"))
    batch, lengths = waves(16000, 9000)
    frames = int(encoder.config.frames(9000))
    padded = encoder.hidden_states(batch, lengths)
    alone = encoder.hidden_states(batch[1:, :9000])
    for k in range(4):
        assert (padded[k][1, :frames] - alone[k][0]).abs().max() < TOLERANCE


@pytest.mark.parametrize("style", ["base", "large"])
@torch.no_grad()
def test_saved_student_opens_as_hubert_model(style, tmp_path):
    encoder = shake(encoder_like(tiny("hubert", style)), seed=5)
    save_encoder(tmp_path, encoder)
    model, report = HubertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    batch, _ = waves(8000)
    assert (model.eval()(batch).last_hidden_state - encoder(batch)).abs().max() < TOLERANCE
    assert torch.equal(load_encoder(tmp_path)(batch), encoder(batch))


@torch.no_grad()
def test_layers_of_different_sizes_run_and_come_back_from_their_folder(tmp_path):
    config = EncoderConfig(
        conv_channels=(32,) * 7, width=48, head_dim=12, num_heads=(4, 1, 2), ffn_widths=(96, 8, 64), pos_conv_groups=4
    )
    encoder = shake(Encoder(config))
    save_encoder(tmp_path, encoder)
    batch, lengths = waves(8000, 5000)
    again = load_encoder(tmp_path)
    assert again.config == config
    for ours, theirs in zip(encoder.hidden_states(batch, lengths), again.hidden_states(batch, lengths), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(SpeechpressError, match="different sizes"):
        config.to_hubert()


def test_frames_hop_and_receptive_field_are_those_of_the_convolutions():
    config = EncoderConfig(
        conv_channels=(8,) * 7, width=16, head_dim=8, num_heads=(2,), ffn_widths=(16,), pos_conv_groups=4
    )
    assert (config.hop_samples, config.receptive_samples) == (320, 400)
    encoder = Encoder(config).eval()
    for samples in (400, 719, 720, 16000):
        assert encoder.hidden_states(torch.zeros(1, samples))[0].shape[1] == config.frames(samples)


def test_front_end_gradient_is_scaled():
    encoder = encoder_like(tiny("hubert", "base"))
    encoder.requires_grad_(True)
    batch, _ = waves(4000)
    grads = []
    for scale in (1.0, 0.1):
        encoder.zero_grad()
        encoder.front_end_grad = scale
        encoder(batch).square().mean().backward()
        layer, projection = encoder.feature_extractor.conv_layers[0].conv, encoder.feature_projection.projection
        grads.append((layer.weight.grad.clone(), projection.weight.grad.clone()))
    assert torch.allclose(grads[1][0], grads[0][0] * 0.1, rtol=1e-4, atol=1e-8)
    assert torch.allclose(grads[1][1], grads[0][1], rtol=1e-5)


def test_normalize_has_the_form_of_fairseq_and_leaves_padding_at_zero():
    batch, lengths = waves(16000, 9000)
    batch = (batch + 0.3) * (torch.arange(16000) < lengths[:, None])
    normal = normalize(batch, lengths)
    for row, end in enumerate(lengths.tolist()):
        assert (normal[row, :end] - F.layer_norm(batch[row, :end], (end,))).abs().max() < TOLERANCE
        assert not normal[row, end:].any()


@torch.no_grad()
def test_normalize_input_makes_loudness_irrelevant():
    encoder = encoder_like(tiny("hubert", "large"))
    encoder.config = dataclasses.replace(encoder.config, input_norm="utterance")
    batch, lengths = waves(8000, 6000)
    quiet, loud = (encoder.hidden_states(batch * gain, lengths)[-1] for gain in (10.0, 1000.0))
    assert (quiet - loud).abs().max() < 1e-3


def test_a_config_that_needs_what_the_encoder_lacks_is_refused():
    values = tiny("hubert").config.to_dict()
    with pytest.raises(SpeechpressError, match="conv_pos_batch_norm"):
        EncoderConfig.from_hubert({**values, "conv_pos_batch_norm": True})
    with pytest.raises(SpeechpressError, match="unknown keys"):
        EncoderConfig.from_dict({**EncoderConfig().to_dict(), "streaming": 1})


PATCHES = {
    "front_end": "patch",
    "conv_channels": (16, 16),
    "conv_kernels": (30, 1),
    "conv_strides": (20, 1),
    "conv_norm": "frame",
}
PEERS = {
    "time reduction": {"time_reduction": 2},
    "reused attention": {"reuse_attention": (False, True, False, True)},
    "shared layers": {"distinct_layers": 2},
    "no projection": {"conv_channels": (16,) * 6 + (32,), "projection": False},
    "rms": {"norm": "rms"},
    "dyt": {"norm": "dyt"},
}


def shaken(config):
    torch.manual_seed(0)
    return shake(Encoder(config))


@pytest.mark.parametrize("changes", PEERS.values(), ids=PEERS)
@torch.no_grad()
def test_what_hubert_lacks_comes_back_from_its_folder_and_is_refused_elsewhere(changes, tiny_config, tmp_path):
    encoder = shaken(dataclasses.replace(tiny_config, **changes))
    save_encoder(tmp_path, encoder)
    batch, lengths = waves(8000, 5000)
    again = load_encoder(tmp_path)
    assert again.config == encoder.config
    for ours, theirs in zip(encoder.hidden_states(batch, lengths), again.hidden_states(batch, lengths), strict=True):
        assert torch.equal(ours, theirs)
    (part,) = encoder.config.own_parts
    with pytest.raises(SpeechpressError, match=f"no counterpart of {part}"):
        encoder.config.to_hubert()


def test_old_configs_are_those_without_the_parts_that_came_later(tiny_config):
    values = tiny_config.to_dict()
    for name in ("projection", "time_reduction", "reuse_attention", "distinct_layers", "norm", "front_end"):
        del values[name]
    assert EncoderConfig.from_dict(values) == tiny_config and tiny_config.own_parts == ()


@pytest.mark.parametrize("changes", PEERS.values(), ids=PEERS)
@torch.no_grad()
def test_padding_changes_nothing_in_the_peers_encoders(changes, tiny_config):
    encoder = shaken(dataclasses.replace(tiny_config, conv_norm="layer", **changes))
    batch, lengths = waves(16000, 9000)
    frames = int(encoder.config.frames(9000))
    padded, alone = encoder.hidden_states(batch, lengths), encoder.hidden_states(batch[1:, :9000])
    for k in range(5):
        assert alone[k].shape[1] == frames
        assert (padded[k][1, :frames] - alone[k][0]).abs().max() < TOLERANCE


@torch.no_grad()
def test_layers_that_share_weights_are_a_copy_repeated(tiny_config):
    shared = shaken(dataclasses.replace(tiny_config, distinct_layers=2))
    plain = Encoder(tiny_config).eval()
    tensors = shared.state_dict()
    copies = {
        name.replace("layers.0.", "layers.2.").replace("layers.1.", "layers.3."): tensor
        for name, tensor in tensors.items()
        if name.startswith("encoder.layers.")
    }
    plain.load_state_dict({**tensors, **copies})
    batch, _ = waves(8000)
    for ours, theirs in zip(shared.hidden_states(batch), plain.hidden_states(batch), strict=True):
        assert torch.equal(ours, theirs)


@torch.no_grad()
def test_time_reduction_is_a_product_of_neighbours_before_the_first_layer(tiny_config):
    plain = shaken(tiny_config)
    reduced = Encoder(dataclasses.replace(tiny_config, time_reduction=2)).eval()
    reduced.load_state_dict(plain.state_dict(), strict=False)
    batch, _ = waves(400 + 320 * 6)  # seven frames: the last fills up none
    before, after = (
        plain.hidden_states(batch[:, : 400 + 320 * 5])[0],
        reduced.hidden_states(batch[:, : 400 + 320 * 5])[0],
    )
    conv = reduced.encoder.time_reduction.conv
    naive = torch.einsum("oik,btki->bto", conv.weight, before.unflatten(1, (3, 2))) + conv.bias
    assert torch.allclose(after, naive, atol=1e-5)
    assert [reduced.config.frames(400 + 320 * n) for n in range(5)] == [0, 1, 1, 2, 2]
    assert (reduced.config.hop_samples, reduced.config.receptive_samples) == (640, 720)


@torch.no_grad()
def test_hidden_frames_are_the_mask_vector_wherever_their_audio_is_heard(tiny_config):
    encoder = shaken(dataclasses.replace(tiny_config, conv_norm="layer"))
    batch, _ = waves(8000)
    frames = encoder.config.frames(8000)
    masked = torch.zeros(1, frames, dtype=torch.bool)
    masked[:, 5:9] = True
    other = batch.clone()
    other[:, 5 * 320 + 80 : 9 * 320] += 1.0  # heard by frames 5 to 8 alone
    for one, two in zip(
        encoder.hidden_states(batch, masked=masked), encoder.hidden_states(other, masked=masked), strict=True
    ):
        assert torch.equal(one, two)
    assert not torch.equal(encoder(batch), encoder(other))


@torch.no_grad()
def test_layers_above_the_last_wanted_one_are_not_computed(tiny_config):
    encoder = shaken(tiny_config)
    batch, _ = waves(4000)
    some, every = encoder.hidden_states(batch, last=2), encoder.hidden_states(batch)
    assert len(some) == 3 and all(torch.equal(one, two) for one, two in zip(some, every, strict=False))


def test_gradients_scaled_by_depth_leave_the_states_as_they_are(tiny_config):
    encoder = Encoder(dataclasses.replace(tiny_config, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0))
    batch, _ = waves(4000)
    grads = []
    for scaled in (False, True):
        encoder.zero_grad()
        encoder.encoder.scale_layer_grads = scaled
        states = encoder.hidden_states(batch)
        states[-1].square().sum().backward()
        weight = encoder.encoder.layers[3].feed_forward.output_dense.weight
        grads.append((weight.grad.clone(), [state.detach() for state in states]))
    assert all(torch.equal(one, two) for one, two in zip(grads[0][1], grads[1][1], strict=True))
    share = 1 / 2  # of the last of four layers: (4 - 3) / (4 - 3 + 1), and what its result gets is the rest of it
    assert torch.allclose(grads[1][0], grads[0][0] * share * (1 - share), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reuse_attention": (True, False, False, False)}, "reuse_attention is true for the first layer"),
        ({"reuse_attention": (False, True)}, "reuse_attention has 2 entries, but there are 4 layers"),
        ({"reuse_attention": (False, True, False, False), "num_heads": (4, 2, 4, 4)}, "same num_heads, not 2 and 4"),
        ({"distinct_layers": 3}, "distinct_layers is 3, which does not divide 4 layers"),
        ({"distinct_layers": 2, "ffn_widths": (64, 64, 32, 64)}, "ffn_widths must repeat after 2 layers"),
        ({"distinct_layers": 2, "reuse_attention": (False, True, False, False)}, "reuse_attention must repeat"),
        ({"projection": False}, "the last of conv_channels, 16, must be the width, 32"),
        ({"time_reduction": 0}, "at least 1, but time_reduction is 0"),
        ({"norm": "batch"}, "norm is 'batch', but must be one of layer, rms, dyt"),
        ({**PATCHES, "conv_kernels": (50, 1)}, "20, to twice as many samples, but conv_kernels begins with 50"),
        ({**PATCHES, "conv_kernels": (30, 2)}, r"conv_kernels is \[30, 2\]: all but the first must be 1"),
        ({**PATCHES, "conv_norm": "group"}, "but conv_norm is group. Set it to static, frame or layer"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(changes, message, tiny_config):
    with pytest.raises(SpeechpressError, match=message):
        dataclasses.replace(tiny_config, **changes)


@torch.no_grad()
def test_rms_is_pytorchs_own_and_dyt_is_its_formula(tiny_config):
    x = torch.randn(3, 7, tiny_config.width) * 3
    rms = shaken(dataclasses.replace(tiny_config, norm="rms")).encoder.layer_norm
    wanted = torch.nn.functional.rms_norm(x, x.shape[-1:], rms.weight, tiny_config.layer_norm_eps)
    torch.testing.assert_close(rms(x), wanted, atol=1e-6, rtol=1e-6)
    dyt = shaken(dataclasses.replace(tiny_config, norm="dyt")).encoder.layer_norm
    a, w, b = (tensor.numpy() for tensor in (dyt.alpha, dyt.weight, dyt.bias))
    torch.testing.assert_close(dyt(x), torch.from_numpy(w * np.tanh(a * x.numpy()) + b), atol=1e-6, rtol=1e-6)
    assert a.shape == (1,)


@torch.no_grad()
def test_a_patch_hears_its_own_samples_and_no_others(tiny_config):
    encoder = shaken(dataclasses.replace(tiny_config, **PATCHES))
    wave = torch.randn(1, 200)
    before, wave[0, 100:120] = encoder.feature_extractor(wave), 0.0
    moved = (encoder.feature_extractor(wave) != before).any(-1)[0].nonzero().flatten().tolist()
    # Patch k is the samples from 20 k to 20 k + 30.
    assert moved == [4, 5]


@pytest.mark.parametrize(("width", "kernel"), [(128, 64), (192, 64), (96, 31), (384, 128)])
@torch.no_grad()
def test_in_bfloat16_on_a_cpu_the_position_convolution_is_right(width, kernel):
    """Some of these are wrong in oneDNN's bfloat16 (torch 2.13, with AMX), by as much as the signal."""
    torch.manual_seed(0)
    config = EncoderConfig(
        width=width, head_dim=32, num_heads=[2], ffn_widths=[8], pos_conv_kernel=kernel, pos_conv_groups=16
    )
    positions, x = ConvPositionalEmbedding(config), torch.randn(2, 90, width)
    with torch.autocast("cpu", torch.bfloat16):
        y = positions(x)
    assert (y - positions(x)).square().mean() < 1e-3 * positions(x).square().mean()
