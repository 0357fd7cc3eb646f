from dataclasses import replace

import pytest
import torch
from bundled import BASE, SMALL, make, speech_like

from speechpress.compressor.export.prepare import Offline, prepared
from speechpress.compressor.export.prepare_step import prepared_step
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import StreamingEncoder
from speechpress.runtime.errors import SpeechpressError

CLOSE = 1e-5
STREAMING = {
    "static": SMALL,
    "running": replace(SMALL, input_norm="running"),
    "frame": replace(SMALL, conv_norm="frame", pos_conv_kernel=15),
    "layer, pre-norm": replace(SMALL, conv_norm="layer", conv_bias=True, pre_norm=True),
    "no position conv": replace(SMALL, pos_conv_kernel=1, pos_conv_future=0),
    "all of the peers'": replace(
        SMALL,
        conv_channels=(16, 32),
        projection=False,
        num_heads=(2, 2) * 2,
        ffn_widths=(64, 48) * 2,
        distinct_layers=2,
        reuse_attention=(False, True) * 2,
        time_reduction=2,
    ),
    "patches and rms": replace(
        SMALL, front_end="patch", conv_kernels=(400, 1), conv_strides=(320, 1), norm="rms", pre_norm=True
    ),
    "patches of a hop and dyt": replace(
        SMALL,
        front_end="patch",
        conv_kernels=(320, 1),
        conv_strides=(320, 1),
        norm="dyt",
        conv_norm="layer",
        conv_bias=True,
    ),
    "log-mel": replace(
        SMALL, front_end="mel", mel_bins=20, conv_kernels=(3, 3), conv_strides=(1, 2), conv_norm="layer"
    ),
    "heads that do not fill the width": replace(SMALL, num_heads=(3,), head_dim=4),
}
WHOLE = {
    "base": BASE,
    "large": replace(BASE, conv_norm="layer", conv_bias=True, pre_norm=True, input_norm="utterance"),
}


def wave(samples, seed=0):
    return torch.from_numpy(speech_like(samples, seed))[None]


@pytest.mark.parametrize("name", STREAMING)
@torch.no_grad()
def test_the_prepared_step_is_the_step(name):
    encoder = make(STREAMING[name])
    ours, wanted = prepared_step(encoder, 4), StreamingEncoder(encoder, 4)
    mine = theirs = tuple(wanted.initial_state().values())
    for number in range(6):
        chunk = wave(wanted.spec.chunk_samples, number)
        (frames, *mine), (expected, *theirs) = ours(chunk, *mine), wanted(chunk, *theirs)
        assert (frames - expected).abs().max() <= CLOSE
        # Sums of a running norm count thousands of samples.
        assert all(torch.allclose(a, b, rtol=1e-6, atol=CLOSE) for a, b in zip(mine, theirs, strict=True))


@torch.no_grad()
def test_a_stream_that_ends_is_hidden_behind_its_end():
    encoder = make(STREAMING["layer, pre-norm"])
    ours, wanted = prepared_step(encoder, 4), StreamingEncoder(encoder, 4)
    state = wanted.initial_state() | {"end": torch.tensor([6])}
    mine = theirs = tuple(state.values())
    for number in range(3):
        chunk = wave(wanted.spec.chunk_samples, number)
        (frames, *mine), (expected, *theirs) = ours(chunk, *mine), wanted(chunk, *theirs)
        assert (frames - expected).abs().max() <= CLOSE


def test_a_backend_with_norms_of_its_own_keeps_them():
    encoder = make(SMALL)
    kept, written = (
        [part for part in step.modules() if isinstance(part, torch.nn.LayerNorm)]
        for step in (prepared_step(encoder, 4, own_norms=True), prepared_step(encoder, 4))
    )
    assert len(kept) == 2 + 2 * SMALL.num_layers and not written
    chunk = (wave(4 * SMALL.hop_samples), *StreamingEncoder(encoder, 4).initial_state().values())
    frames = [prepared_step(encoder, 4, own_norms=own)(*chunk)[0] for own in (True, False)]
    assert (frames[0] - frames[1]).abs().max() <= CLOSE


@pytest.mark.parametrize("samples", [1_360, 5_000, 16_001, 40_000])
@pytest.mark.parametrize("name", {**STREAMING, **WHOLE})
@torch.no_grad()
def test_the_prepared_recording_is_the_encoder(name, samples):
    encoder = make({**STREAMING, **WHOLE}[name])
    frames, wanted = Offline(encoder)(wave(samples)), encoder(wave(samples))
    assert frames.shape == wanted.shape and (frames - wanted).abs().max() <= CLOSE


@pytest.mark.parametrize("name", {**STREAMING, **WHOLE})
@torch.no_grad()
def test_layers_side_by_side(name):
    encoder = make({**STREAMING, **WHOLE}[name])
    layers = (encoder.config.num_layers, 0)
    last, first = encoder(wave(5_000)), encoder.hidden_states(wave(5_000))[0]
    frames = Offline(encoder, layers)(wave(5_000))
    assert (frames - torch.cat([last, first], -1)).abs().max() <= CLOSE
    if name in STREAMING:
        ours, wanted = prepared_step(encoder, 4, layers), StreamingEncoder(encoder, 4)
        chunk, state = wave(wanted.spec.chunk_samples), wanted.initial_state().values()
        assert (ours(chunk, *state)[0][..., : last.shape[-1]] - wanted(chunk, *state)[0]).abs().max() <= CLOSE
        assert ours.spec.width == 2 * wanted.spec.width


def test_preparing_leaves_the_encoder_as_it_was():
    encoder = make(SMALL)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    prepared(encoder)
    assert isinstance(encoder, Encoder) and before.keys() == encoder.state_dict().keys()
    assert all(torch.equal(tensor, encoder.state_dict()[name]) for name, tensor in before.items())


@pytest.mark.parametrize("name", {**STREAMING, **WHOLE})
@torch.no_grad()
def test_a_recording_of_any_length_is_one_program_of_what_a_backend_takes(name):
    encoder = make({**STREAMING, **WHOLE}[name])
    shortest = encoder.config.receptive_samples + encoder.config.hop_samples
    limits = {"min": shortest, "max": 160_000}
    # How long a spectrogram is, is more than torch.export works out.
    mel = encoder.config.front_end == "mel"
    samples = torch.export.Dim.AUTO(**limits) if mel else torch.export.Dim("samples", **limits)
    program = torch.export.export(Offline(encoder), (wave(32_000),), dynamic_shapes=({1: samples},), strict=False)
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    slow = ("conv1d", "group_norm", "layer_norm", "scaled_dot_product", "weight_norm")
    assert not [name for name in names if any(part in name for part in slow)]
    assert (program.module()(wave(5_001)) - encoder(wave(5_001))).abs().max() <= CLOSE


def test_silence_around_a_recording_is_not_carried_in_the_program():
    assert not list(prepared(make(BASE)).encoder.pos_conv_embed.buffers())


def test_no_state_is_empty():
    step = prepared_step(make(STREAMING["no position conv"]), 4)
    assert "features" not in step.state_names and all(tensor.numel() for tensor in step.initial_state().values())


def test_what_does_not_stream_has_no_step():
    with pytest.raises(SpeechpressError, match="cannot stream"):
        prepared_step(make(BASE), 4)
