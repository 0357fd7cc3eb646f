"""Students that come with the package are found by name, run, and answer as their bundles say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from speechpress.compressor.cli.show import ls
from speechpress.compressor.cli.show_tables import ls_table
from speechpress.compressor.data.audio import read_audio
from speechpress.compressor.evaluate.upstreams import open_upstream
from speechpress.compressor.heads.files import read_heads
from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.compressor.starter import SPEECH
from speechpress.compressor.teachers.hub_folder import pushed
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.engine import load_bundle
from speechpress.runtime.hub.fetch import local_folder
from speechpress.runtime.hub.ids import cached_id
from speechpress.runtime.hub.manifest import BUNDLE, CHECKPOINT
from speechpress.runtime.parity import compare
from speechpress.runtime.stream import StreamingExtractor
from speechpress.runtime.students.shipped import shipped_folder, shipped_students
from speechpress.runtime.verify import verify

MOST_BYTES = 12_000_000
HEADS = {"demo": [], "pocket": ["phones", "vad"], "pocket-s": ["phones", "vad", "words"], "pocket-words": ["words"]}


def test_each_is_small_has_a_card_and_names_no_place_of_the_machine_that_made_it():
    assert set(shipped_students()) == set(HEADS)
    for name, folder in shipped_students().items():
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) <= MOST_BYTES and (folder / "CARD.md").is_file()
        assert [head["name"] for head in read_bundle(folder).document.get("heads", [])] == HEADS[name]
        for path in files:  # heads say in their metadata what they were trained on
            assert not [place for place in (b"/tmp/", b"/work/", b"/home/", b"/root/") if place in path.read_bytes()], (
                path
            )


@pytest.mark.parametrize("name", list(HEADS))
def test_it_streams_frames_and_is_what_was_exported(name):
    engine = load_bundle(name, chunk_ms=80)
    wave = read_audio(sorted((SPEECH / "audio" / "en").rglob("*.opus"))[0])[:32_000]
    stream = StreamingExtractor(engine)
    outputs = [stream.push(wave), stream.flush()]
    frames = np.concatenate([output.frames for output in outputs])
    assert len(frames) > 50 and np.isfinite(frames).all() and frames.std(0).min() > 1e-3
    assert verify(name)["ok"]


def test_phones_are_heard_where_somebody_speaks():
    stream = StreamingExtractor(load_bundle("pocket", chunk_ms=320))
    clips = sorted((SPEECH / "audio" / "en").rglob("*.opus"))[:3]
    events = [event for clip in clips for event in stream.push(read_audio(clip)).events] + list(stream.flush().events)
    assert {event.head for event in events} == {"phones", "vad"}


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shipped_students()["pocket-words"]
    assert local_folder("pocket-words", BUNDLE) == folder == pushed("pocket-words", CHECKPOINT, BUNDLE)
    assert shipped_folder("pocket-words", CHECKPOINT) is None and cached_id(folder) == "pocket-words"
    assert open_upstream("pocket-words").layers == 1
    Path("pocket-words").mkdir()
    assert local_folder("pocket-words", BUNDLE) == Path("pocket-words")


def test_a_checkpoint_comes_with_its_bundle_and_gives_the_same_frames(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shipped_students()["pocket-s"]
    assert (
        local_folder("pocket-s", CHECKPOINT) == folder / "checkpoint" and cached_id(folder / "checkpoint") == "pocket-s"
    )
    assert local_folder("pocket-s", CHECKPOINT, BUNDLE) == folder
    wave = read_audio(sorted((SPEECH / "audio" / "en").rglob("*.opus"))[0])[:32_000]
    stream = StreamingExtractor(load_bundle("pocket-s", chunk_ms=320))
    frames = np.concatenate([stream.push(wave).frames, stream.flush().frames])
    encoder = load_encoder("pocket-s")
    # The head of words is in the program alone.
    assert set(read_heads(folder / "checkpoint")) == {"phones", "vad"}
    with torch.no_grad():
        whole = encoder(torch.from_numpy(wave)[None], chunk_frames=16)[0].numpy()
    count = min(len(frames), len(whole))
    found = compare(frames[:count], whole[:count])
    assert count > 90 and found["cosine"] > 0.99


def test_ls_lists_them():
    rows = {row["name"]: row for row in ls("students")["students"]}
    assert {name: row["heads"] for name, row in rows.items()} == HEADS and ls_table(ls("students"))
    assert {name: row["chunk_ms"] for name, row in rows.items()} == {
        "demo": [80, 160],
        "pocket": [320, 80],
        "pocket-s": [320, 160, 80],
        "pocket-words": [80, 160, 320],
    }
