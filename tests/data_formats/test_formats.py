"""Every format gives the same recordings: their samples, lengths, texts and speakers."""

import numpy as np
import pytest
import soundfile
from written import FORMATS, fairseq, wav_bytes

from speechpress.compressor.data.audio import read_audio, read_cut, read_samples
from speechpress.compressor.data.batches import Batches
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.labels import label


@pytest.fixture(params=sorted(FORMATS))
def made(request, tmp_path):
    return FORMATS[request.param](tmp_path)


def expected(made, folder):
    """What the reader of single files makes of each recording, by its rounded length."""
    for index, (wave, rate) in enumerate(zip(made.waves, made.rates, strict=True)):
        path = folder / f"expected-{index}.raw"
        path.write_bytes(wav_bytes(wave, rate))
        yield read_audio(path)


def test_the_same_samples_texts_and_speakers(made, tmp_path):
    corpus = open_corpus(made.source, check=True)
    truth = list(expected(made, tmp_path))
    assert not corpus.skipped and not corpus.notes
    cuts = sorted(corpus.cuts, key=lambda cut: cut.duration)  # as they were made
    assert [cut.sampling_rate for cut in cuts] == list(made.rates)
    for cut, wave in zip(cuts, truth, strict=True):
        heard = read_cut(cut)
        assert abs(len(heard) - len(wave)) <= 1
        np.testing.assert_allclose(heard, wave[: len(heard)], atol=1e-6)
        np.testing.assert_allclose(read_samples(cut, 3000, 5000), wave[3000:8000], atol=1e-4)
    if made.texts:
        assert [label(cut, "text") for cut in cuts] == list(made.texts)
        assert [label(cut, "speaker") for cut in cuts] == list(made.speakers)
    assert corpus.resampled == {8_000: 1, 44_100: 1} and len(corpus.fingerprint) == 64
    assert corpus.hours * 3600 == pytest.approx(0.8 + 1.1 + 1.4, abs=1e-3)


def test_training_reads_it(made):
    stream = Batches(open_corpus(made.source).cuts, 2, 0.5, workers=0).start()
    waves = next(stream).waves
    stream.close()
    assert waves.shape[0] > 0 and waves.abs().max() > 0.05


def test_frames_of_fairseq_are_held_against_the_file(tmp_path):
    made = fairseq(tmp_path)
    lines = made.source.read_text().splitlines()
    lines[1] = lines[1].rpartition("\t")[0] + "\t13000"  # 12800 are there
    lines[2] = lines[2].rpartition("\t")[0] + "\t80000"
    made.source.write_text("\n".join(lines) + "\n")
    corpus = open_corpus(made.source)
    assert len(corpus.cuts) == 2 and "by up to 0.013 s" in corpus.notes[0]
    assert "lasts 1.100 s, but its manifest has a cut until 10.000 s" in corpus.skipped[0].reason


def test_a_stereo_file_is_mixed_down(tmp_path):
    made = fairseq(tmp_path)
    soundfile.write(tmp_path / "audio" / "a.wav", np.stack([made.waves[0], 0 * made.waves[0]], 1), 16_000)
    cut = open_corpus(made.source).cuts[0]
    np.testing.assert_allclose(read_cut(cut), made.waves[0] / 2, atol=1e-4)
