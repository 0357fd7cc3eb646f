"""Students that come with the package are found by name, run, and are what their checkpoints say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from speechpress.compressor.cli.show import ls
from speechpress.compressor.cli.show_tables import ls_table
from speechpress.compressor.data.audio import read_audio
from speechpress.compressor.evaluate.upstreams import open_upstream
from speechpress.compressor.export.source import open_source
from speechpress.compressor.heads.learn import HeadOptions
from speechpress.compressor.heads.place import check_place
from speechpress.compressor.models.checkpoint import load_checkpoint
from speechpress.compressor.starter import SPEECH
from speechpress.compressor.teachers.hub_folder import pushed
from speechpress.runtime.engine import load_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.fetch import local_folder
from speechpress.runtime.hub.manifest import BUNDLE, CHECKPOINT
from speechpress.runtime.stream import StreamingExtractor
from speechpress.runtime.students.shipped import shipped_folder, shipped_students
from speechpress.runtime.verify import verify

TRAINED = [name for name in shipped_students() if shipped_folder(name, CHECKPOINT) is not None]
MOST_BYTES = 12_000_000


def test_pocket_s_is_among_them_and_none_is_too_large_to_ship():
    assert {"demo", "pocket-s"} <= set(shipped_students()) and "pocket-s" in TRAINED
    for folder in shipped_students().values():
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= MOST_BYTES


@pytest.mark.parametrize("name", TRAINED)
def test_it_streams_what_its_checkpoint_computes(name):
    engine = load_bundle(name, chunk_ms=320)
    wave = read_audio(sorted((SPEECH / "audio").rglob("*.opus"))[0])[:48_000]
    stream = StreamingExtractor(engine)
    frames = np.concatenate([stream.push(wave).frames, stream.flush().frames])
    encoder = load_checkpoint(name).encoder.eval()
    with torch.no_grad():
        chunk = engine.spec.chunk_frames
        expected = encoder.hidden_states(torch.from_numpy(wave)[None], chunk_frames=chunk)[-1][0].numpy()
    count = min(len(frames), len(expected))
    error = np.square(frames[:count] - expected[:count]).mean() / np.square(expected[:count]).mean()
    assert count > 100 and error < 1e-3


def test_its_card_names_no_place_of_the_machine_that_made_it():
    for folder in shipped_students().values():
        for path in folder.rglob("*"):
            if path.suffix in (".json", ".md", ".yaml"):
                assert not [place for place in ("/tmp/", "/work/", "/home/") if place in path.read_text()], path


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert local_folder("pocket-s", BUNDLE) == shipped_students()["pocket-s"]
    assert local_folder("pocket-s", CHECKPOINT) == shipped_students()["pocket-s"] / "checkpoint"
    Path("pocket-s").mkdir()
    assert local_folder("pocket-s", BUNDLE) == Path("pocket-s")
    assert shipped_folder("demo", CHECKPOINT) is None


def test_verify_finds_it_by_name():
    assert verify("pocket-s")["ok"]


def test_ls_lists_them():
    rows = {row["name"]: row for row in ls("students")["students"]}
    assert rows["pocket-s"]["chunk_ms"] == [320, 160, 80] and rows["pocket-s"]["teacher"] == "openai/whisper-base"
    assert rows["demo"]["checkpoint"] is None and Path(rows["pocket-s"]["checkpoint"]).is_dir()
    assert round(rows["pocket-s"]["size_bytes"] / 1e6, 1) == 3.2 and round(rows["demo"]["size_bytes"] / 1e6, 1) == 4.5
    assert ls_table(ls("students"))


def test_every_command_that_reads_takes_the_name_and_none_writes_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = local_folder("pocket-s", CHECKPOINT)
    assert (
        pushed("pocket-s", CHECKPOINT, BUNDLE) == checkpoint
        and pushed("demo", CHECKPOINT, BUNDLE).name == "demo-bundle"
    )
    assert open_upstream("pocket-s").layers == 5 and open_source("pocket-s").folder == checkpoint
    with pytest.raises(SpeechpressError, match="--out"):
        check_place(load_checkpoint("pocket-s"), "vad", HeadOptions("vad", tmp_path))
