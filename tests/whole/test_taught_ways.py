"""What benchmarks/taught_ways.py makes of a recording that a late student of the package hears."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from speechpress.compressor.data.golden import golden_clip
from speechpress.runtime.demo.head_engine import words_head
from speechpress.runtime.engine import load_bundle
from speechpress.runtime.stream import StreamingExtractor
from speechpress.runtime.students.shipped import shipped_students

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["demo", "pocket-s"])
def test_frames_are_on_time_and_reach_to_the_end(monkeypatch, name):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    ways = importlib.import_module("taught_ways")
    wave, engine = golden_clip(2.0), load_bundle(name, chunk_ms=80, threads=1)
    frames = ways.bundle_way(shipped_students()[name], 80).extract(wave)
    stream, spec = StreamingExtractor(engine), engine.spec
    heard = [stream.push(wave), stream.push(np.zeros(spec.lag_frames * spec.hop_samples, np.float32)), stream.flush()]
    told, end_s = (np.concatenate([getattr(part, kind) for part in heard]) for kind in ("frames", "end_s"))
    # The first frame of a recording ends where its first samples that a frame is made of do.
    first_s = spec.receptive_samples / spec.sample_rate
    assert np.array_equal(frames, told[end_s > first_s - 1e-6])
    assert len(frames) == (len(wave) - spec.receptive_samples) // spec.hop_samples + 1


def test_what_a_head_gives_is_its_vectors_without_their_weight(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    ways = importlib.import_module("taught_ways")
    wave, folder = golden_clip(2.0), shipped_students()["pocket-s"]
    features, vectors = (ways.bundle_way(folder, 80, head=head).extract(wave) for head in (False, True))
    head = words_head(load_bundle("pocket-s", threads=1))
    assert vectors.shape == (len(features), sum(head.widths) - 1)
    with pytest.raises(SystemExit, match="has no words head"):
        ways.bundle_way(shipped_students()["demo"], 80, head=True)
