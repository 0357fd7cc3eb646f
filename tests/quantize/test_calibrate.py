import logging

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from bundled import BASE, SMALL, make, speech_like

from speechpress.compressor.quantize.calibrate import Seen, calibrate, heldout_speech, static_operators
from speechpress.compressor.quantize.fake_quant import simulated
from speechpress.compressor.quantize.scheme import FIRST_CONV, Quantization
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.parity import compare


def quiet(stage):
    pass


def folder_of(path, waves, rate=16_000):
    for number, wave in enumerate(waves):
        soundfile.write(path / f"{number}.wav", wave, rate)
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
    operators = static_operators(encoder, ranges)
    assert operators[FIRST_CONV].how == "float" and {item.how for item in operators.values()} == {"float", "static"}
    wave = torch.from_numpy(speech_like(16_000, 3))[None]
    found = simulated(encoder, Quantization("int8-static", operators))(wave)[0].detach().numpy()
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
