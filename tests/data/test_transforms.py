"""The transforms of a recording that are followed: as Lhotse has them, within bounds, without its tables."""

import resource
import time

import numpy as np
import pytest
from hostile import cut, good, manifest, megabytes, recording
from lhotse import CutSet, Recording
from sounds import voice, write

from speechpress.compressor.data.audio import read_cut
from speechpress.compressor.data.corpus import open_corpus
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture
def wav(tmp_path):
    return write(tmp_path / "a.wav", 1.0)


@pytest.mark.parametrize(
    "transform",
    [
        {"name": "Resample", "kwargs": {"source_sampling_rate": 16_000, "target_sampling_rate": 10**9}},
        {"name": "Resample", "kwargs": {"source_sampling_rate": 1, "target_sampling_rate": 16_000}},
        {"name": "Resample", "kwargs": {"source_sampling_rate": "16000", "target_sampling_rate": 16_000}},
        {"name": "Speed", "kwargs": {"factor": 1e-9}},
        {"name": "Speed", "kwargs": {"factor": 0}},
        {"name": "Volume", "kwargs": {"factor": 1e300}},
        {"name": "Volume", "kwargs": {"factor": 2.0, "rir": {}}},
    ],
)
def test_numbers_of_transforms_are_bounded(tmp_path, wav, transform):
    line = good(wav)
    line["recording"]["transforms"] = [transform]
    begun = time.perf_counter()
    with pytest.raises(SpeechpressError, match=r"recording\.transforms: "):
        open_corpus(manifest(tmp_path, line))
    assert time.perf_counter() - begun < 1


def test_an_awkward_pair_of_rates_costs_nothing(tmp_path, wav):
    rates = {"source_sampling_rate": 16_000, "target_sampling_rate": 15_999}
    line = cut(recording({"type": "file", "channels": [0], "source": str(wav)}))
    line["recording"] |= {"sampling_rate": 15_999, "num_samples": 15_999}
    line["recording"]["transforms"] = [{"name": "Resample", "kwargs": rates}]
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    samples = read_cut(open_corpus(manifest(tmp_path, line)).cuts[0])
    assert time.perf_counter() - begun < 2 and megabytes(before) < 100
    assert np.corrcoef(samples, voice(1.0)[: len(samples)])[0, 1] > 0.999


@pytest.mark.parametrize(
    "change",
    [
        lambda cut: cut.resample(8_000),
        lambda cut: cut.resample(22_050),
        lambda cut: cut.perturb_speed(0.9),
        lambda cut: cut.perturb_speed(1.1).perturb_volume(0.5),
        lambda cut: cut.resample(24_000).perturb_speed(0.9).truncate(offset=0.3, duration=1.1),
        lambda cut: cut.truncate(offset=0.5, duration=1.0).perturb_volume(3.0),
    ],
)
def test_transforms_give_what_lhotse_gives(tmp_path, change):
    path = write(tmp_path / "a.wav", 2.0)
    theirs = change(Recording.from_file(path).to_cut())
    CutSet.from_cuts([theirs]).to_file(tmp_path / "c.jsonl")
    corpus = open_corpus(tmp_path / "c.jsonl")
    ours = read_cut(corpus.cuts[0])
    expected = theirs.resample(16_000).load_audio()[0]
    assert not corpus.notes and abs(len(ours) - len(expected)) <= 2
    length = min(len(ours), len(expected)) - 200
    np.testing.assert_allclose(ours[200:length], expected[200:length], atol=0.01 * np.abs(expected).max())
