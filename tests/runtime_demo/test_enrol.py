import numpy as np
import pytest
import soundfile
from sounds import mp3, voice, without_xing

from speechpress.runtime.demo.enrol import example_of, read_example, stream_frames
from speechpress.runtime.engine import PteEngine
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.word_span import word_span_s

RATE = 16_000


def silence(seconds, rate=RATE, loud=1e-4):
    return loud * np.random.default_rng(0).standard_normal(round(seconds * rate))


@pytest.fixture(scope="module")
def engine(small_bundle):
    return PteEngine(small_bundle, threads=1)


@pytest.mark.parametrize("noise", [0.0, 1e-4, 5e-3])
def test_the_word_is_found_between_silence(noise):
    wave = np.concatenate([silence(0.7, loud=noise), voice(0.5), silence(0.6, loud=noise)])
    start_s, stop_s = word_span_s(wave, RATE)
    assert abs(start_s - 0.7) < 0.06 and abs(stop_s - 1.2) < 0.06


def test_a_click_of_the_key_is_not_the_word():
    wave = np.concatenate([silence(0.2), 0.8 * np.ones(160), silence(0.5), voice(0.4), silence(0.3)])
    start_s, _ = word_span_s(wave, RATE)
    assert abs(start_s - 0.71) < 0.06


def test_a_stop_consonant_does_not_cut_the_word():
    wave = np.concatenate([silence(0.4), voice(0.2), silence(0.12), voice(0.3), silence(0.4)])
    start_s, stop_s = word_span_s(wave, RATE)
    assert abs(stop_s - start_s - 0.68) < 0.1


def test_a_recording_that_was_cut_at_the_word_is_all_word():
    """There is no room to be heard in it; its softest tenth is the end of the word."""
    wave = voice(0.5) * np.geomspace(1, 0.05, RATE // 2)
    start_s, stop_s = word_span_s(wave, RATE)
    assert start_s < 0.03 and stop_s > 0.47


@pytest.mark.parametrize(("wave", "said"), [(np.zeros(0), "empty"), (np.zeros(RATE), "silent")])
def test_nothing_was_said(wave, said):
    with pytest.raises(SpeechpressError, match=said):
        word_span_s(wave, RATE)


def test_features_of_the_word_alone(engine):
    wave = np.concatenate([silence(0.7), voice(0.5), silence(0.6)]).astype(np.float32)
    frames = example_of(engine, wave, RATE)
    assert frames.shape[1] == engine.spec.width and abs(len(frames) * 0.02 - 0.56) < 0.1


def test_any_rate_and_channels_of_a_file(engine, tmp_path):
    path = tmp_path / "word.wav"
    wave = np.concatenate([silence(0.4, 44_100), voice(0.5, 44_100), silence(0.4, 44_100)])
    soundfile.write(path, np.stack([wave, wave], 1), 44_100, subtype="PCM_24")
    assert abs(len(read_example(engine, path)) * 0.02 - 0.56) < 0.1


def test_a_file_that_is_none(engine, tmp_path):
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(SpeechpressError, match=r"a\.wav: is not an audio file"):
        read_example(engine, tmp_path / "a.wav")
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    with pytest.raises(SpeechpressError, match=r"silent\.wav: .*silent"):
        read_example(engine, tmp_path / "silent.wav")


def test_one_stream_of_pieces(engine):
    wave = voice(1.0).astype(np.float32)
    assert np.allclose(stream_frames(engine, np.split(wave, [3_000, 9_000])), stream_frames(engine, [wave]), atol=1e-5)


def test_an_mp3_whose_header_misleads_is_heard_to_its_end(engine, tmp_path, monkeypatch):
    """libsndfile alone would stop early in a file of a variable rate without a Xing header."""
    heard = []
    monkeypatch.setattr(
        "speechpress.runtime.demo.enrol.example_of", lambda engine, samples, rate: heard.append(samples)
    )
    (tmp_path / "word.mp3").write_bytes(without_xing(mp3(6.0)))
    read_example(engine, tmp_path / "word.mp3")
    assert abs(len(heard[0]) - 6 * RATE) < 4_000
