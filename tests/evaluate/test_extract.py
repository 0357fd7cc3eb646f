"""Features are made once: every sound is read once, heard once by each upstream, and never again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sounds import write

from speechpress.compressor.data.sounds import clip, identity, read_sound
from speechpress.compressor.evaluate import extract as extraction
from speechpress.compressor.evaluate.extract import extract, stores
from speechpress.compressor.evaluate.features import LOG_MEL, framed, log_mel
from speechpress.compressor.evaluate.probes import pooled
from speechpress.runtime.errors import SpeechpressError


class Counting:
    """Log-mel that counts the waves it hears."""

    def __init__(self, key="counting"):
        self.heard = 0
        self.upstream = replace(LOG_MEL, states=self.states, key=key)

    def states(self, waves):
        self.heard += len(waves)
        return [log_mel(waves)]


@pytest.fixture
def clips(tmp_path):
    return [clip(write(tmp_path / f"{n}.wav", 0.3 + 0.1 * (n % 2), seed=n)) for n in range(4)]


def run(upstreams, wanted, cache, kept_read=None):
    with stores(cache, upstreams) as kept:
        skipped = extract(upstreams, wanted, kept, listen=lambda line: None)
        if kept_read is not None:
            kept_read(kept)
    return skipped


def test_a_second_run_hears_nothing(clips, tmp_path, monkeypatch):
    one = Counting()
    wanted = {"frames": clips[:2], "means": clips}
    run({"one": one.upstream}, wanted, tmp_path / "cache")
    assert one.heard == 4  # also the two of which both are wanted
    monkeypatch.setattr(extraction, "read_sound", lambda sound: pytest.fail("read again"))
    run({"one": one.upstream}, wanted, tmp_path / "cache")
    assert one.heard == 4


def test_a_further_sound_and_a_further_upstream_are_all_that_is_heard(clips, tmp_path):
    one, other = Counting("one"), Counting("other")
    run({"one": one.upstream}, {"frames": clips[:3], "means": []}, tmp_path)
    run({"one": one.upstream, "other": other.upstream}, {"frames": clips, "means": []}, tmp_path)
    assert (one.heard, other.heard) == (4, 4)


def test_features_are_those_of_each_clip_alone(clips, tmp_path):
    def compare(kept):
        for sound in clips:
            wave = torch.from_numpy(read_sound(sound))[None]
            layers = LOG_MEL.states(wave)
            frames = framed(LOG_MEL, layers)[0].numpy()
            assert np.allclose(kept["mel"].frames(identity(sound)), frames, atol=2e-2)
            assert torch.allclose(kept["mel"].means([identity(sound)])[0], pooled(layers, False)[0], atol=1e-4)

    run({"mel": LOG_MEL}, {"frames": clips, "means": clips}, tmp_path, compare)


def test_without_a_cache_or_a_key_nothing_is_left(clips, tmp_path):
    one = Counting()
    run({"one": one.upstream}, {"frames": [], "means": clips}, None)
    run({"one": replace(one.upstream, key="")}, {"frames": [], "means": clips}, tmp_path / "cache")
    assert one.heard == 8 and not list((tmp_path / "cache").rglob("*.npy"))


def test_the_room_asked_for_is_that_of_the_files(tmp_path, monkeypatch):
    asked, clips = [], [clip(write(tmp_path / f"{n}.wav", 1.0 + n, seed=n)) for n in range(3)]
    monkeypatch.setattr(extraction, "check_space", lambda folder, needed_bytes: asked.append(needed_bytes))
    for kind in ("frames", "means"):
        wanted = {"frames": [], "means": []} | {kind: clips}
        run({"mel": LOG_MEL}, wanted, tmp_path / kind)
        written = sum(path.stat().st_size for path in (tmp_path / kind).rglob("*.npy"))
        assert asked.pop() == pytest.approx(written - 128, rel=0.05) and not asked  # 128: the header of an array


def test_unreadable_sounds_are_told_and_fatal_only_if_all_are(clips, tmp_path, caplog):
    bad = [clip(tmp_path / f"bad{n}.wav") for n in range(2)]
    for sound in bad:
        (tmp_path / sound.place.rsplit("/", 1)[1]).write_bytes(b"RIFF")
    skipped = run({"mel": LOG_MEL}, {"frames": [], "means": [*clips, *bad]}, tmp_path / "cache")
    assert {item.path for item in skipped} == {sound.place for sound in bad} and "2 clips were left out" in caplog.text
    with pytest.raises(SpeechpressError, match="none of 2 clips can be read"):
        run({"mel": LOG_MEL}, {"frames": [], "means": bad}, tmp_path / "cache")


def test_what_was_heard_before_an_interruption_is_kept(clips, tmp_path, monkeypatch):
    one = Counting()
    monkeypatch.setattr("speechpress.compressor.evaluate.features.BATCH_S", 0.1)

    def stop(waves):
        if one.heard == 2:
            raise KeyboardInterrupt
        return one.states(waves)

    with pytest.raises(KeyboardInterrupt):
        run({"one": replace(one.upstream, states=stop)}, {"frames": clips, "means": []}, tmp_path)
    assert one.heard == 2
    run({"one": one.upstream}, {"frames": clips, "means": []}, tmp_path)
    assert one.heard == 4
