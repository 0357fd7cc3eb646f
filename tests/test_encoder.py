import dataclasses

import pytest
import torch
import torch.nn.functional as F
from tiny_models import shake, tiny, waves
from transformers import HubertModel

from speechpress.compressor.checkpoint import load_encoder, save_encoder
from speechpress.compressor.config import EncoderConfig
from speechpress.compressor.encoder import Encoder, normalize
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
