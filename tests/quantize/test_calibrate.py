import logging

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from bundled import BASE, SMALL, make, speech_like

from speechpress.compressor.quantize.calibrate import Seen, calibrate, heldout_speech, static_operators
from speechpress.compressor.quantize.fake_quant import feeds_gelu, operators, simulated
from speechpress.compressor.quantize.scheme import FIRST_CONV, Quantization
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.parity import compare


def quiet(stage):
    pass


def folder_of(path, waves, rate=16_000):
    for number, wave in enumerate(waves):
        soundfile.write(path / f"{number}.wav", wave, rate, "FLOAT")
    return path


def test_a_range_spares_no_levels_for_a_single_outlier():
    seen, x = Seen(), torch.cat([torch.randn(2_000_000), torch.tensor([60.0])])
    seen.limit(x)
    seen.count(x)
    low, high = seen.range(lambda y: y)
    assert seen.high == 60 and high < 20 and low < -3


def test_a_range_before_a_gelu_needs_no_negative_values():
    seen, x = Seen(), torch.randn(100_000) * 4
    seen.limit(x)
    seen.count(x)
    assert seen.low < -12 and seen.range(F.gelu)[0] > -6 and seen.range(lambda y: y)[0] < -6


def test_nothing_but_zeros_has_a_range():
    seen = Seen()
    seen.limit(torch.zeros(5))
    seen.count(torch.zeros(5))
    assert seen.range(lambda y: y) == (0.0, 0.0)


@pytest.mark.parametrize(("config", "chunks"), [(SMALL, (4, 16)), (BASE, ())], ids=["streaming", "whole"])
def test_ranges_keep_the_features(config, chunks):
    encoder = make(config)
    waves = [torch.from_numpy(speech_like(16_000, seed))[None] for seed in (1, 2)]
    ranges = calibrate(encoder, waves, chunks, quiet)
    settled = static_operators(encoder, ranges)
    assert settled[FIRST_CONV].how == "float" and {item.how for item in settled.values()} == {"float", "static"}
    assert all((item.input, item.output) == ranges[name] for name, item in settled.items() if name != FIRST_CONV)
    wave = torch.from_numpy(speech_like(16_000, 3))[None]
    found = simulated(encoder, Quantization("int8-static", settled))(wave)[0].detach().numpy()
    assert compare(found, encoder(wave)[0].detach().numpy())["snr_db"] > 18


def test_chunks_are_heard_through_the_state():
    """Attention sees fewer frames in a stream, so what comes out of it is another."""
    encoder, waves = make(SMALL), [torch.from_numpy(speech_like(8_000))[None]]
    steps = []

    def say(stage):
        steps.append(stage)

    streamed, whole = calibrate(encoder, waves, (4,), say), calibrate(encoder, waves, (), quiet)
    name = "encoder.layers.0.attention.out_proj"
    assert len(steps) == 3 and streamed[name] != whole[name]
    assert np.isfinite(streamed[name]).all()


def test_clips_are_for_calibration_or_for_measuring(few_clips):
    speech = heldout_speech(few_clips)
    assert speech.calibration and speech.test and speech.about["recordings"] == len(speech.calibration)
    assert not {id(wave) for wave in speech.calibration} & {id(wave) for wave in speech.test}


def test_another_rate_is_resampled_and_said(tmp_path, caplog):
    folder_of(tmp_path, [speech_like(8_000, seed) for seed in range(8)], rate=8_000)
    with caplog.at_level(logging.WARNING):
        about = heldout_speech(tmp_path).about
    assert about["resampled"] == {"8000": 8} and "resampled to 16 kHz" in caplog.text


def test_silence_is_refused(tmp_path):
    folder_of(tmp_path, [np.zeros(16_000)] * 6)
    with pytest.raises(SpeechpressError, match=r"are silence.*--data"):
        heldout_speech(tmp_path)


def test_silent_recordings_among_others_are_left_out(tmp_path):
    folder_of(tmp_path, [speech_like(16_000, seed) if seed % 3 else np.zeros(16_000) for seed in range(24)])
    assert heldout_speech(tmp_path).about["silent"] > 0


def test_speech_that_cannot_be_read(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no audio")
    with pytest.raises(SpeechpressError, match="can be used"):
        heldout_speech(tmp_path)


def saw(*values):
    seen = Seen()
    for x in values:
        seen.limit(x)
    for x in values:
        seen.count(x)
    return seen


def test_limits_are_those_of_all_that_was_seen_and_of_zero():
    seen = saw(torch.tensor([2.0, 3.0]), torch.tensor([-1.0, 2.5]), torch.tensor([0.5]))
    assert (seen.low, seen.high) == (-1.0, 3.0) and float(seen.counts.sum()) == 5
    assert (saw(torch.tensor([2.0, 3.0])).low, saw(torch.tensor([-2.0])).high) == (0.0, 0.0)


def test_each_side_is_kept_whole_or_cut_down_to_a_fifth_in_fortieths():
    flat = torch.linspace(-1.0, 3.0, 100_000)
    assert saw(flat).range(lambda y: y) == (-1.0, 3.0)
    noise = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    low, high = saw(*[noise] * 10, torch.tensor([60.0])).range(lambda y: y)
    assert high == pytest.approx(12.0) and low == pytest.approx(float(noise.min()), rel=0.3)
    some = saw(noise, torch.tensor([-9.0, 12.0]))
    shares = [40 * end / limit for end, limit in zip(some.range(lambda y: y), (some.low, some.high), strict=True)]
    assert shares == pytest.approx([round(share) for share in shares], abs=1e-3) and max(shares) < 39


def error_of(x, low, high, through):
    """Mean squared error of x in 256 levels over a range with a level at zero, by rounding and clipping."""
    step = (high - low) / 255
    zero = round(-128 - low / step)
    levels = (x / step).round().add(zero).clamp(-128, 127)
    return float((through((levels - zero) * step) - through(x)).square().mean())


@pytest.mark.parametrize("through", [lambda y: y, F.gelu], ids=["plain", "gelu"])
@pytest.mark.parametrize("skew", [0.0, 0.3])
def test_no_other_range_is_better(through, skew):
    """On the values themselves, not on their histogram."""
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(1)) * 3
    x = x + skew * x.square()
    seen = saw(x)
    chosen = error_of(x, *seen.range(through), through)
    shares = (0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
    others = [error_of(x, low * seen.low, high * seen.high, through) for low in shares for high in shares]
    assert chosen <= 1.01 * min(others)


def test_behind_a_gelu_what_it_makes_nothing_of_gets_no_levels():
    encoder, waves = make(SMALL), [torch.from_numpy(speech_like(8_000, 4))[None]]
    gelus = {name for name in operators(encoder) if feeds_gelu(name, encoder.config)}
    plain = "encoder.layers.0.feed_forward.output_dense"
    gelus.remove("feature_extractor.conv_layers.1.conv")  # which has no bias
    with torch.no_grad():
        for name in (*gelus, plain):
            encoder.get_submodule(name).bias.normal_(0, 20)
    ranges = calibrate(encoder, waves, (), quiet)
    for name in (*gelus, plain):
        outputs = []
        hook = encoder.get_submodule(name).register_forward_hook(lambda part, given, y, kept=outputs: kept.append(y))
        encoder(waves[0])
        hook.remove()
        lowest = float(outputs[0].detach().min())
        assert lowest < -25 and (ranges[name][1][0] > 0.5 * lowest) == (name in gelus)


def test_half_of_a_small_corpus_is_held_out_and_half_of_that_calibrated_on(tmp_path):
    folder_of(tmp_path, [speech_like(16_000, seed) for seed in range(12)])
    speech = heldout_speech(tmp_path)
    assert len(speech.calibration) == len(speech.test) == 3
    assert speech.about["recordings"] == 3 and speech.about["seconds"] == 3.0 and speech.about["silent"] == 0
    assert speech.about["source"] == str(tmp_path) and speech.about["resampled"] == {}
    assert len({float(wave.square().sum()) for wave in (*speech.calibration, *speech.test)}) == 6


def test_two_minutes_of_a_large_corpus_are_enough_in_crops_of_what_hubert_was_trained_on(tmp_path):
    folder_of(tmp_path, [speech_like(20 * 16_000, seed) for seed in range(15)])  # five minutes
    speech = heldout_speech(tmp_path)
    assert [wave.shape for wave in (*speech.calibration, *speech.test)] == [(1, 250_000)] * 6  # of 20 s each
    assert speech.about["seconds"] == 3 * 15.625


def test_silence_is_what_is_80_db_below_full_scale(tmp_path):
    sign = np.sign(speech_like(16_000)).astype(np.float32)
    folder_of(tmp_path, [level * sign for level in (0.9e-4, 1.1e-4) for _ in range(8)])
    speech = heldout_speech(tmp_path)
    loud = [float(wave.square().mean().sqrt()) for wave in (*speech.calibration, *speech.test)]
    assert loud == pytest.approx([1.1e-4] * len(loud), rel=1e-3) and speech.about["silent"] == 8 - len(loud) > 0


@pytest.mark.parametrize("loud", [1, 2])
def test_one_recording_that_holds_sound_is_not_enough(tmp_path, loud):
    """Whichever is held out: of four recordings two are, and of those, one or two hold sound."""
    folder_of(tmp_path, [speech_like(16_000, seed) for seed in range(4)])
    held = [wave.numpy()[0] for wave in (*heldout_speech(tmp_path).calibration, *heldout_speech(tmp_path).test)]
    assert len(held) == 2
    for path in tmp_path.glob("*.wav"):
        wave, _ = soundfile.read(path, dtype="float32")
        if loud == 1 and np.array_equal(wave, held[0]):
            soundfile.write(path, 0 * wave, 16_000, "FLOAT")
    if loud == 2:
        assert len(heldout_speech(tmp_path).calibration) == 1
    else:
        with pytest.raises(SpeechpressError, match="only one held-out recording holds sound"):
            heldout_speech(tmp_path)
