"""Reading: whatever the format, rate and channels, the same speech comes out as float32 mono 16 kHz."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import AudioSource, MonoCut, Recording
from sounds import voice, write

from speechpress.compressor.data.audio import UnreadableAudio, cut_samples, probe, read_audio, read_cut, read_samples

FORMATS = {
    "a.wav": {},
    "a24.wav": {"subtype": "PCM_24"},
    "afloat.wav": {"subtype": "FLOAT"},
    "a8.wav": {"subtype": "PCM_U8"},
    "a.flac": {},
    "a.ogg": {},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.mp3": {},
}


def cut_of(path, **changes):
    cut = probe(str(path), path.name).to_cut()
    for name, value in changes.items():
        setattr(cut, name, value)
    return cut


def correlation(a, b):
    return np.corrcoef(a[: len(b)], b[: len(a)])[0, 1]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_every_format_and_rate_gives_the_same_speech(tmp_path, name, rate):
    path = write(tmp_path / name, 1.5, rate, **FORMATS[name])
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert abs(len(samples) - 24_000) < 2_000  # mp3 adds encoder padding
    assert correlation(samples, voice(1.5)) > (0.9 if name == "a.mp3" else 0.99)


def test_channels_are_averaged_and_a_chosen_channel_is_read_alone(tmp_path):
    left, right = voice(1.0, seed=1), voice(1.0, seed=2)
    soundfile.write(tmp_path / "s.wav", np.stack([left, right], 1), 16_000, subtype="PCM_24")
    cut = cut_of(tmp_path / "s.wav")
    np.testing.assert_allclose(read_audio(tmp_path / "s.wav"), (left + right) / 2, atol=1e-6)
    np.testing.assert_allclose(read_cut(cut), (left + right) / 2, atol=1e-6)
    only = MonoCut(id="r", start=0.25, duration=0.5, channel=1, recording=cut.recording)
    np.testing.assert_allclose(read_cut(only), right[4000:12_000], atol=1e-6)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
def test_a_part_equals_the_same_samples_of_the_whole(tmp_path, name, rate):
    if name == "a.opus" and rate in (11_025, 22_050, 44_100):
        pytest.skip("Opus has no such rate")
    cut = cut_of(write(tmp_path / name, 2.0, rate, **FORMATS[name]))
    whole = read_cut(cut)
    assert len(whole) == cut_samples(cut)
    for start, count in ((0, 400), (1, 5_000), (639, 8_001), (12_345, 16_000), (len(whole) - 500, 500)):
        part = read_samples(cut, start, count)
        np.testing.assert_allclose(part, whole[start : start + count], atol=0.03 if name == "a.opus" else 2e-6)
        np.testing.assert_array_equal(part, read_samples(cut, start, count))


@settings(max_examples=60, deadline=None)
@given(st.integers(1_700, 9_000), st.sampled_from([7_350, 8_000, 11_025, 16_000, 32_000, 44_100]), st.data())
def test_every_part_of_every_length_can_be_read(frames, rate, data):
    file = io.BytesIO()
    soundfile.write(file, voice(1.3, rate)[:frames], rate, format="WAV")
    source = AudioSource(type="memory", channels=[0], source=file.getvalue())
    cut = Recording(id="m", sources=[source], sampling_rate=rate, num_samples=frames, duration=frames / rate).to_cut()
    start = data.draw(st.integers(0, cut_samples(cut)))
    count = data.draw(st.integers(0, cut_samples(cut) - start))
    assert read_samples(cut, start, count).shape == (count,)


def test_a_cut_inside_a_recording_starts_where_it_says(tmp_path):
    path = write(tmp_path / "a.wav", 3.0, 8_000)
    cut = cut_of(path, start=1.0, duration=1.5)
    whole = read_audio(path)
    part = read_cut(cut, 0.5, 0.5)
    np.testing.assert_allclose(part, whole[24_000:32_000], atol=2e-6)


def test_samples_outside_a_cut_are_a_mistake_of_the_caller(tmp_path):
    cut = cut_of(write(tmp_path / "a.wav", 1.0))
    for start, count in ((-1, 10), (0, 16_001), (16_000, 1)):
        with pytest.raises(ValueError, match="16000"):
            read_samples(cut, start, count)


def bad_files(folder):
    """(path, part of the reason) of files that cannot be used."""
    good = write(folder / "good.flac", 1.0).read_bytes()
    (folder / "empty.wav").touch()
    (folder / "noise.mp3").write_bytes(bytes(range(256)) * 8)
    (folder / "text.ogg").write_text("no audio here")
    (folder / "cut.flac").write_bytes(good[:60])
    nan = voice(1.0)
    nan[100] = np.nan
    soundfile.write(folder / "nan.wav", nan, 16_000, subtype="FLOAT")
    write(folder / "short.wav", 0.05)
    soundfile.write(folder / "none.wav", np.zeros(0), 16_000)
    return {
        "empty.wav": "empty file",
        "noise.mp3": "",
        "text.ogg": "not readable",
        "cut.flac": "",
        "nan.wav": "NaN",
        "short.wav": "too short: 0.050 s",
        "none.wav": "no samples",
        "absent.wav": "no such file",
    }


def test_bad_files_are_told_apart(tmp_path):
    for name, reason in bad_files(tmp_path).items():
        with pytest.raises(UnreadableAudio) as caught:
            probe(str(tmp_path / name), name)
        assert caught.value.skipped.path == str(tmp_path / name)
        assert reason in caught.value.skipped.reason


def test_nan_behind_the_first_samples_is_met_in_reading_only_where_it_is(tmp_path):
    samples = voice(2.0)
    samples[30_000] = np.inf
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    cut = cut_of(tmp_path / "nan.wav")
    assert read_samples(cut, 0, 30_000).shape == (30_000,)
    with pytest.raises(UnreadableAudio, match="NaN or infinite"):
        read_samples(cut, 10_000, 22_000)
    with pytest.raises(UnreadableAudio):
        read_audio(tmp_path / "nan.wav")


def test_a_file_that_is_shorter_than_its_header_says(tmp_path):
    whole = write(tmp_path / "a.flac", 4.0).read_bytes()
    (tmp_path / "b.flac").write_bytes(whole[: len(whole) // 2])
    cut = cut_of(tmp_path / "b.flac")
    assert read_samples(cut, 0, 16_000).shape == (16_000,)
    with pytest.raises(UnreadableAudio) as caught:
        read_samples(cut, 40_000, 20_000)
    assert caught.value.skipped.path.endswith("b.flac")


def test_a_manifest_that_is_wrong_about_a_file(tmp_path):
    path = write(tmp_path / "a.wav", 1.0)
    cut = cut_of(path)
    cut.recording.num_samples, cut.recording.duration, cut.duration = 32_000, 2.0, 2.0
    with pytest.raises(UnreadableAudio, match=r"ends 1\.000 s before"):
        read_cut(cut)
    with pytest.raises(UnreadableAudio, match=r"ends at 1\.000 s"):
        read_cut(cut, 1.5, 0.2)
    cut.recording.sampling_rate = 8_000
    with pytest.raises(UnreadableAudio, match="is 16000 Hz, but its manifest says 8000 Hz"):
        read_cut(cut, 0, 0.5)
    path.unlink()
    with pytest.raises(UnreadableAudio, match="no such file"):
        read_cut(cut, 0, 0.5)


def test_recordings_of_several_files_are_mixed_down(tmp_path):
    one, two = write(tmp_path / "1.wav", 1.0, seed=1), write(tmp_path / "2.wav", 1.0, seed=2)
    sources = [AudioSource(type="file", channels=[index], source=str(path)) for index, path in enumerate((one, two))]
    cut = Recording(id="pair", sources=sources, sampling_rate=16_000, num_samples=16_000, duration=1.0).to_cut()
    mean = (read_audio(one) + read_audio(two)) / 2
    np.testing.assert_allclose(read_cut(cut, 0.25, 0.5), mean[4000:12_000], atol=1e-6)
    two.unlink()
    with pytest.raises(UnreadableAudio, match="no such file"):
        read_cut(cut)
