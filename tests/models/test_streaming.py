from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import StreamingEncoder, TorchEngine, chunk_frames_of, folded
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.stream import StreamingExtractor

BASE = EncoderConfig(
    conv_channels=(16,) * 7,
    conv_norm="static",
    width=32,
    head_dim=8,
    num_heads=(4, 2, 3),
    ffn_widths=(64, 32, 48),
    pos_conv_kernel=16,
    pos_conv_groups=4,
    pos_conv_future=0,
    left_context=10,
)
CONFIGS = {
    "static": BASE,
    "look-ahead": replace(BASE, pos_conv_future=5),
    "running": replace(BASE, input_norm="running", left_context=3),
    "frame": replace(BASE, conv_norm="frame", pos_conv_kernel=15, left_context=40),
    "large": replace(BASE, conv_norm="layer", conv_bias=True, pre_norm=True, pos_conv_future=15),
    "no position conv": replace(BASE, pos_conv_kernel=1),
    "reused attention": replace(BASE, num_heads=(4, 4, 4), reuse_attention=(False, True, True)),
    "shared layers": replace(BASE, num_heads=(4, 2) * 2, ffn_widths=(64, 32) * 2, distinct_layers=2),
    "time reduction": replace(BASE, time_reduction=2, pos_conv_future=4, input_norm="running"),
    "all of it": replace(
        BASE,
        num_heads=(2, 2) * 2,
        ffn_widths=(64, 32) * 2,
        distinct_layers=2,
        reuse_attention=(False, True) * 2,
        time_reduction=3,
        pos_conv_future=3,
        pre_norm=True,
    ),
    "other front end": replace(
        BASE, conv_channels=(16, 16), conv_kernels=(400, 3), conv_strides=(80, 4), conv_norm="layer"
    ),
    "patches and rms": replace(
        BASE, front_end="patch", conv_channels=(16, 24), conv_kernels=(400, 1), conv_strides=(320, 1), norm="rms"
    ),
    "log-mel": replace(
        BASE, front_end="mel", conv_channels=(16, 24), conv_kernels=(3, 3), conv_strides=(1, 2), conv_norm="static"
    ),
    "dyt, pre-norm": replace(BASE, norm="dyt", pre_norm=True),
}
CHUNKS = (1, 2, 4, 8, 16, 32, 500)


def speech_like(samples, seed=0):
    """Noise whose loudness comes and goes, (S,) float32."""
    noise = np.random.default_rng(seed).standard_normal(samples)
    return (noise * 0.1 * (1.2 + np.sin(np.arange(samples) / 3000))).astype(np.float32)


def make(config):
    torch.manual_seed(0)
    encoder = Encoder(config).eval()
    encoder.measure_statistics(torch.from_numpy(speech_like(20_000, seed=9))[None])
    return encoder


ENCODERS = {name: make(config) for name, config in CONFIGS.items()}


def push_all(extractor, wave, cuts=()):
    """Frames and end times of a whole wave, pushed in pieces."""
    parts = [extractor.push(piece) for piece in np.split(wave, sorted(cuts))]
    parts.append(extractor.flush())
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


@torch.inference_mode()
def at_once(encoder, wave, chunk):
    return encoder(torch.from_numpy(wave)[None], chunk_frames=chunk)[0].numpy()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("chunk", CHUNKS)
def test_pushing_pieces_is_one_call_with_the_chunk_mask(name, chunk):
    encoder = ENCODERS[name]
    wave = speech_like(16_000 + 7 * chunk)
    frames, end_s, *_ = push_all(StreamingExtractor(TorchEngine(encoder, chunk)), wave, (0, 1, 399, 400, 401, 9_999))
    wanted = at_once(encoder, wave, chunk)
    assert frames.shape == wanted.shape
    assert np.abs(frames - wanted).max() <= 1e-4
    field, hop = encoder.config.receptive_samples, encoder.config.hop_samples
    assert np.allclose(end_s, (np.arange(len(frames)) * hop + field) / 16_000)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(CONFIGS)),
    chunk=st.sampled_from(CHUNKS),
    samples=st.integers(0, 12_000),
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(0, 12_000), max_size=12),
)
def test_any_cuts_give_the_same_frames(name, chunk, samples, seed, cuts):
    encoder, wave = ENCODERS[name], speech_like(samples, seed)
    frames, *_ = push_all(StreamingExtractor(TorchEngine(encoder, chunk)), wave, [min(cut, samples) for cut in cuts])
    assert len(frames) == max(0, encoder.config.frames(samples))
    if len(frames):
        assert np.abs(frames - at_once(encoder, wave, chunk)).max() <= 1e-4


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("chunk", (2, 8))
def test_no_frame_depends_on_later_audio_bit_for_bit(name, chunk):
    """Whatever comes after the samples that the first n chunks take changes none of their frames."""
    encoder, wave = ENCODERS[name], speech_like(32_000)
    spec = encoder.config.stream_spec(chunk)
    before = at_once(encoder, wave, chunk)
    for heard_s in (0.8, 1.7):
        chunks = int(heard_s * 16_000) // spec.chunk_samples
        heard = chunks * spec.chunk_samples - spec.silence_samples
        changed = wave.copy()
        changed[heard:] = speech_like(len(wave) - heard, seed=5) * 3
        frames = chunks * chunk + spec.first_frame
        after = at_once(encoder, changed, chunk)
        assert np.array_equal(before[:frames], after[:frames])
        assert not np.array_equal(before[frames:], after[frames:])
        pushed = StreamingExtractor(TorchEngine(encoder, chunk)).push(changed[:heard]).frames
        assert len(pushed) == frames and np.abs(pushed - before[:frames]).max() <= 1e-4


def test_a_frame_waits_for_its_look_ahead_and_no_more():
    """Of one frame, found by changing single hops: it sees to the end of its chunk and the look-ahead beyond it."""
    encoder, chunk = ENCODERS["look-ahead"], 4
    spec, wave = encoder.config.stream_spec(chunk), speech_like(16_000)
    before = at_once(encoder, wave, chunk)
    frame = 3 * chunk + spec.first_frame  # the first of its chunk
    heard = 4 * spec.chunk_samples - spec.silence_samples
    assert 1000 * (heard - frame * spec.hop_samples) / 16_000 == spec.worst_age_ms
    for start, seen in ((heard - 1, True), (heard, False)):
        changed = wave.copy()
        changed[start] += 0.5
        assert np.array_equal(before[frame], at_once(encoder, changed, chunk)[frame]) is not seen


def test_interleaved_streams_do_not_touch():
    engine = TorchEngine(ENCODERS["running"], 4)
    one, two = StreamingExtractor(engine), StreamingExtractor(engine)
    waves = speech_like(9_000, 1), speech_like(9_000, 2)
    parts = [[], []]
    for start in range(0, 9_000, 700):
        for index, extractor in enumerate((one, two)):
            parts[index].append(extractor.push(waves[index][start : start + 700]).frames)
    for index, extractor in enumerate((one, two)):
        parts[index].append(extractor.flush().frames)
        alone, *_ = push_all(StreamingExtractor(engine), waves[index])
        assert np.array_equal(np.concatenate(parts[index]), alone)


@pytest.mark.parametrize("name", ("static", "look-ahead", "running"))
def test_layers_stream_side_by_side(name):
    encoder, chunk, wave = ENCODERS[name], 4, speech_like(9_000, 3)
    layers = (0, encoder.config.num_layers)
    streamed, *_ = push_all(StreamingExtractor(TorchEngine(encoder, chunk, layers)), wave, (700, 4_000))
    waves = torch.from_numpy(wave)[None]
    with torch.inference_mode():
        states = encoder.hidden_states(waves, chunk_frames=chunk)
        wanted = encoder(waves, chunk_frames=chunk, layers=layers)[0]
    assert torch.equal(wanted[..., : states[0].shape[2]], states[0][0]) and streamed.shape == wanted.shape
    assert (torch.from_numpy(streamed) - wanted).abs().max() <= 1e-4


@pytest.mark.parametrize("name", ("static", "look-ahead", "running"))
def test_a_batch_of_streams_steps_as_one_call(name):
    encoder, chunk = ENCODERS[name], 8
    waves = torch.from_numpy(np.stack([speech_like(12_345, 1), speech_like(12_345, 2)]))
    model = StreamingEncoder(encoder, chunk)
    spec, state, parts = model.spec, model.initial_state(2), []
    end = encoder.config.frames(waves.shape[1])
    state["end"] = torch.full_like(state["end"], end)
    # Silence until every frame is out: the first hop before the audio, the rest after it.
    chunks = -(-(end - spec.first_frame) // chunk)
    after = chunks * spec.chunk_samples - spec.silence_samples - waves.shape[1]
    for piece in torch.nn.functional.pad(waves, (spec.silence_samples, after)).split(spec.chunk_samples, 1):
        frames, new = model.step(piece, state)
        assert {key: value.shape for key, value in new.items()} == {key: value.shape for key, value in state.items()}
        assert frames.shape == (2, chunk, 32)
        parts.append(frames)
        state = new
    streamed = torch.cat(parts, 1)[:, -spec.first_frame :][:, :end]
    with torch.inference_mode():
        wanted = encoder(waves, chunk_frames=chunk)
    assert streamed.shape == wanted.shape
    assert (streamed - wanted).abs().max() <= 1e-4


def test_step_is_pure():
    model = StreamingEncoder(ENCODERS["static"], 4)
    state, chunk = model.initial_state(), torch.randn(1, 4 * 320)
    before = {name: tensor.clone() for name, tensor in state.items()}
    first, after = model.step(chunk, state)
    assert all(torch.equal(before[name], state[name]) for name in state)
    assert torch.equal(first, model.step(chunk, state)[0])
    assert list(after) == list(state) == list(model.state_names)


def test_a_step_hands_through_what_it_does_not_change():
    """Wrapped anew by every step, each wrapper would keep the one before: half a gigabyte in an hour."""
    engine = TorchEngine(ENCODERS["running"], 4)
    state = engine.initial_state()
    _, new, _ = engine.step(np.zeros((1, 1280), np.float32), state)
    assert new["end"] is state["end"]
    assert [name for name in new if new[name] is state[name]] == ["end"]


@pytest.mark.parametrize("name", ("static", "running", "large"))
def test_step_can_be_exported(name):
    model = StreamingEncoder(ENCODERS[name], 4).eval()
    state = tuple(model.initial_state().values())
    program = torch.export.export(model, (torch.zeros(1, 1280), *state), strict=True).module()
    for seed in range(3):  # the state goes round
        chunk = torch.from_numpy(speech_like(1280, seed))[None]
        wanted, got = model(chunk, *state), program(chunk, *state)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(wanted, got, strict=True))
        state = wanted[1:]


@pytest.mark.parametrize("name", CONFIGS)
def test_folding_changes_nothing_and_leaves_the_original_alone(name):
    encoder, wave = ENCODERS[name], torch.from_numpy(speech_like(8_000))[None]
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with torch.inference_mode():
        wanted, got = encoder(wave), folded(encoder)(wave)
        assert (wanted - got).abs().max() <= 1e-5
        assert torch.equal(encoder(wave), wanted)
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_an_encoder_that_cannot_stream_says_why(tiny_config):
    why = r"conv_norm is 'group'.*look-ahead.*left_context.*distilhubert-streaming"
    with pytest.raises(SpeechpressError, match=why):
        StreamingEncoder(Encoder(tiny_config), 4)
    with pytest.raises(SpeechpressError, match="0 frames"):
        StreamingEncoder(ENCODERS["static"], 0)


def test_look_ahead_that_cuts_a_time_reduced_frame_does_not_stream():
    config = replace(BASE, time_reduction=2, pos_conv_future=3)
    assert config.blockers == ("pos_conv_future is 3 frames of the front end, no multiple of time_reduction 2",)
    with pytest.raises(SpeechpressError, match="no multiple of time_reduction 2"):
        StreamingEncoder(Encoder(config), 4)


def test_a_layer_that_reuses_attention_keeps_no_keys():
    state = StreamingEncoder(ENCODERS["all of it"], 4).initial_state()
    caches = [name for name in state if name.startswith(("key", "value"))]
    assert caches == ["key_0", "value_0", "value_1", "key_2", "value_2", "value_3"]


def test_a_chunk_is_made_of_whole_frames():
    time_reduced = replace(BASE, time_reduction=2)
    assert [chunk_frames_of(time_reduced, ms) for ms in (40, 80, 640)] == [1, 2, 16]
    with pytest.raises(SpeechpressError, match="whole frames of 40 ms"):
        chunk_frames_of(time_reduced, 20)
    assert [chunk_frames_of(BASE, ms) for ms in (20, 80, 640)] == [1, 4, 32]
    for wrong in (0, 10, 90, -20):
        with pytest.raises(SpeechpressError, match="whole frames of 20 ms"):
            chunk_frames_of(BASE, wrong)
