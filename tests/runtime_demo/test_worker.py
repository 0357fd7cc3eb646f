import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import talked
from bundled import CHUNK_MS, speech_like
from sounds import voice

from speechpress.runtime.answers.event import Event
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.demo.enrol import stream_frames
from speechpress.runtime.demo.sources import Block, WavSource
from speechpress.runtime.demo.worker import SHIPPED, Levels, Stats, listen
from speechpress.runtime.engine import PteEngine
from speechpress.runtime.verify import verify


@pytest.fixture(scope="module")
def engine(small_bundle):
    return PteEngine(small_bundle, threads=1)


@pytest.fixture
def clip(tmp_path):
    soundfile.write(tmp_path / "clip.wav", speech_like(20_000), 16_000, subtype="FLOAT")
    return tmp_path / "clip.wav"


def test_a_chunk_for_every_chunk_and_the_frames_of_the_stream(engine, clip):
    chunks = list(listen(WavSource(clip), engine))
    frames = np.concatenate([chunk.frames for chunk in chunks])
    wanted = stream_frames(engine, [speech_like(20_000)])
    assert np.allclose(frames, wanted, atol=1e-5)
    for chunk in chunks:
        assert chunk.colours.shape == (len(chunk.frames), 3) and chunk.levels_db.shape == (len(chunk.frames),)
    steps_s = {round(b.t_s - a.t_s, 3) for a, b in itertools.pairwise(chunks[:-1])}
    assert steps_s == {0.08} and len(chunks[1].frames) == 4


def test_a_line_of_json(engine, clip):
    line = next(iter(listen(WavSource(clip), engine))).to_dict()
    assert set(line) == {"t_s", "frames", "infer_ms", "dropped", "level_db", "words", "heard_s", "events"}
    assert line["words"] == [] and line["events"] == [] and line["dropped"] == 0 and line["frames"] > 0


def test_stats(engine, clip):
    stats = Stats(CHUNK_MS)
    assert stats.to_dict()["rtf"] == 0 and stats.percentile_ms(99) == 0
    for chunk in listen(WavSource(clip), engine):
        stats.add(chunk)
    assert 0 < stats.percentile_ms(50) <= stats.percentile_ms(99) and stats.real_time_factor > 0


def test_stats_of_answers():
    stats = Stats(80)
    for chunk in talked.chunks(6.0):
        stats.add(chunk)
    wanted = Counter(event.head for event in talked.spoken(6.0) if event.final and event.end_s + talked.LATE_S <= 6.0)
    assert stats.events == wanted and stats.words == {"computer": 2} and stats.heard_s == pytest.approx(6.0)
    # Events come 200 ms after their end, rounded up to a chunk of 80 ms, and 3 ms are the model's.
    assert all(203 - 1e-6 <= stats.answer_ms(head.name) < 283 for head in talked.HEADS if head.kind != "speaker")
    assert stats.answer_ms("nobody") is None and 203 <= stats.to_dict()["answer_ms"] < 283


def test_partial_answers_and_those_of_the_end_of_a_stream_are_no_measure_of_lateness():
    stats, chunk = Stats(80), next(talked.chunks(1.0))
    stats.add(replace(chunk, events=(Event("p", "ctc", 0, "a", 0.0, 0.02, 1.0, final=False),)))
    assert not stats.events and stats.answer_ms() is None
    stats.add(replace(chunk, events=(Event("p", "ctc", 0, "a", 0.0, 0.02, 1.0),), last=True))
    assert stats.events == {"p": 1} and stats.answer_ms() is None


def test_the_percentiles_of_the_end_are_those_of_all_chunks():
    stats, chunk = Stats(80), next(talked.chunks(1.0))
    for number in range(2000):
        stats.add(replace(chunk, infer_ms=10.0 if number < 1500 else 2.0))
    assert stats.percentile_ms(50) == 2.0 and stats.overall_ms(50) == 10.0 and stats.percentile_ms(99) == 2.0


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_levels_are_those_of_each_frame(rate):
    wave = np.concatenate([np.zeros(rate // 2), 0.5 * np.ones(rate // 2)]).astype(np.float32)
    levels = Levels(0.02)
    for piece in np.array_split(wave, 37):
        levels.hear(Block(piece, rate, 0.0))
    found = levels.take(60)
    assert found[:24].max() <= -99 and np.allclose(found[26:49], -6.02, atol=0.1) and (found[51:] == -100).all()


def test_levels_of_integers_and_of_several_channels():
    levels = Levels(0.02)
    levels.hear(Block(np.full((640, 2), 16384, np.int16), 16_000, 0.0))
    assert np.allclose(levels.take(2), -6.02, atol=0.01)


def test_the_bundle_that_ships():
    """Made elsewhere, so it has to be tried with this ExecuTorch; small, or the package is not."""
    bundle = read_bundle(SHIPPED)
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 6e6
    assert bundle.stream()["worst_age_ms"] <= 100
    report = verify(SHIPPED, threads=1)
    assert report["ok"], report
    frames = stream_frames(PteEngine(SHIPPED, threads=1), [voice(0.5).astype(np.float32)])
    assert frames.shape == (24, bundle.document["features"]["width"]) and np.isfinite(frames).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e38, -3e38])
def test_levels_of_impossible_samples_are_numbers(bad):
    levels = Levels(0.02)
    levels.hear(Block(np.full(640, bad, np.float32), 16_000, 0.0))
    assert np.isfinite(levels.take(2)).all() and np.isfinite(levels.now_db)
