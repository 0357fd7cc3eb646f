"""Shar shards are read at random, with the very samples that Lhotse streams from them."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hostile import command, listening, recording, reverb
from lhotse import CutSet, RecordingSet
from sounds import write

from speechpress.compressor.data.audio import UnreadableAudio, read_cut, read_samples
from speechpress.compressor.data.corpus import open_corpus
from speechpress.runtime.errors import SpeechpressError


def shards(root, kind="flac", number=5, shard_size=2):
    for index in range(number):
        write(root / "audio" / f"{index}.wav", 1.0 + index / 4, seed=index)
    cuts = CutSet.from_manifests(recordings=RecordingSet.from_dir(root / "audio", "*.wav")).sort_by_recording_id()
    cuts = CutSet.from_cuts([*list(cuts)[:-1], cuts[number - 1].truncate(offset=0.5, duration=1.0)])
    (root / "shar").mkdir()
    cuts.to_shar(root / "shar", fields={"recording": kind}, shard_size=shard_size)
    return root / "shar"


@pytest.mark.parametrize("kind", ["flac", "wav"])
@pytest.mark.parametrize("shard_size", [2, None])
def test_the_same_samples_as_lhotse_in_any_order(tmp_path, kind, shard_size):
    folder = shards(tmp_path, kind, shard_size=shard_size)
    corpus = open_corpus(folder)
    expected = {cut.id: cut.load_audio()[0] for cut in CutSet.from_shar(in_dir=folder)}
    assert {cut.id for cut in corpus.cuts} == set(expected)
    for cut in reversed(list(corpus.cuts)):
        np.testing.assert_array_equal(read_cut(cut), expected[cut.id])
        np.testing.assert_array_equal(read_samples(cut, 777, 4000), expected[cut.id][777:4777])
    assert len(corpus.fingerprint) == 64


def test_a_shard_without_its_tar_or_with_a_packed_one(tmp_path):
    folder = shards(tmp_path)
    tar = folder / "recording.000001.tar"
    tar.rename(f"{tar}.gz")
    with pytest.raises(SpeechpressError, match=r"cuts\.000001\.jsonl\.gz: .*recording\.000001\.tar, .*unpack it"):
        open_corpus(folder)


def test_a_tar_of_another_shard(tmp_path):
    folder = shards(tmp_path)
    (folder / "recording.000001.tar").write_bytes((folder / "recording.000000.tar").read_bytes())
    with pytest.raises(SpeechpressError, match=r"cuts\.000001\.jsonl\.gz:1: .* do not belong together"):
        open_corpus(folder)


def test_a_tar_that_ends_early(tmp_path):
    folder = shards(tmp_path)
    with tarfile.open(folder / "recording.000000.tar") as archive:
        second = archive.getmembers()[2]
    whole = (folder / "recording.000000.tar").read_bytes()
    (folder / "recording.000000.tar").write_bytes(whole[: second.offset])
    with pytest.raises(SpeechpressError, match="fewer recordings than the manifest has cuts"):
        open_corpus(folder)
    (folder / "recording.000000.tar").write_bytes(whole[: second.offset_data + 100])
    with pytest.raises(SpeechpressError, match="the shard cannot be read"):
        open_corpus(folder)
    (folder / "recording.000000.tar").write_bytes(b"no tar at all")
    with pytest.raises(SpeechpressError, match="the shard cannot be read"):
        open_corpus(folder)


def test_damage_inside_a_tar_is_met_in_reading(tmp_path):
    folder = shards(tmp_path)
    cut = open_corpus(folder).cuts[0]
    tar, offset, _ = cut.recording.sources[0].source.rsplit(":", 2)
    with Path(tar).open("r+b") as file:
        file.seek(int(offset))
        file.write(bytes(64))
    with pytest.raises(UnreadableAudio, match="not readable"):
        read_cut(cut)


def test_a_manifest_of_shards_alone_points_to_the_folder(tmp_path):
    folder = shards(tmp_path)
    with pytest.raises(SpeechpressError, match="open their folder"):
        open_corpus(folder / "cuts.000000.jsonl.gz")


def described_anew(tar, change):
    """Write a tar again with the first recording's description changed."""
    with tarfile.open(tar) as archive:
        members = [(member.name, archive.extractfile(member).read()) for member in archive]
    members[1] = (members[1][0], change(json.loads(members[1][1])))
    with tarfile.open(tar, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("where", ["sources", "transforms", "custom"])
def test_a_description_inside_a_tar_runs_nothing_either(tmp_path, where):
    folder, owned = shards(tmp_path), tmp_path / "owned"
    bad = {"sources": [command(owned)], "transforms": [reverb(command(owned))], "custom": recording(command(owned))}
    described_anew(folder / "recording.000000.tar", lambda data: json.dumps({**data, where: bad[where]}).encode())
    with listening() as heard:
        corpus = open_corpus(folder, check=True)
    assert heard == [] and not owned.exists() and len(corpus.cuts) == 4
    assert "shell command" in corpus.skipped[0].reason or "Reverb" in corpus.skipped[0].reason


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b"no json", b"[]", b'{"id": 1, "sources": []}', b"\xff", json.dumps(recording([])).encode()],
)
def test_a_description_inside_a_tar_that_is_none(tmp_path, content):
    folder = shards(tmp_path)
    described_anew(folder / "recording.000000.tar", lambda data: content)
    with pytest.raises(SpeechpressError, match="not a line of a Shar manifest"):
        open_corpus(folder)
