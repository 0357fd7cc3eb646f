"""Any corpus as Shar: the same sound, the same bytes however often it was stopped, no shard made twice."""

import hashlib
import json
import tarfile

import numpy as np
import pytest
import soundfile
from killing import changes
from lhotse import CutSet
from sounds import voice, write
from written import FORMATS, kaldi, nemo

from speechpress.compressor.data.audio import cut_samples, read_cut
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.formats.shards import shard_id
from speechpress.compressor.data.labels import label
from speechpress.compressor.data.to_shar import SKIPPED, SUMMARY, SharOptions, write_shar
from speechpress.compressor.distill.distill import distill
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.recipe.files import load_recipe
from speechpress.runtime.errors import SpeechpressError

STEP = 0.5 / 32_768  # half a step of 16 bits


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Seven recordings, one of 8 kHz, one beyond full scale, and one that is damaged in its middle."""
    folder = tmp_path_factory.mktemp("speech")
    for index in range(7):
        write(folder / f"{index}.wav", 0.5, 8_000 if index == 3 else 16_000, index)
    soundfile.write(folder / "5.wav", 3 * voice(0.5), 16_000, subtype="FLOAT")
    soundfile.write(folder / "6.flac", voice(2.0), 16_000)
    whole = bytearray((folder / "6.flac").read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 2000] = bytes(2000)
    (folder / "6.flac").write_bytes(whole)
    return folder


@pytest.fixture(scope="module")
def once(speech, tmp_path_factory):
    out = tmp_path_factory.mktemp("once") / "shar"
    return out, write_shar([speech], SharOptions(out, per_shard=3, workers=2))


def test_counts_and_what_was_left_out(once):
    out, document = once
    assert (document["shards"], document["shards_in_all"], document["complete"]) == (3, 3, True)
    assert document["recordings"] == 7 and document["audio_s"] == pytest.approx(3.5)
    assert document["resampled"] == {"8000": 1} and document["attenuated"] == ["5.wav"]
    listed = json.loads((out / SKIPPED).read_text())
    assert [item["path"].rpartition("/")[2] for item in listed] == ["6.flac"] and listed[0]["reason"]
    assert json.loads((out / SUMMARY).read_text())["skipped"] == 1


def test_the_same_sound_for_us_and_for_lhotse(once, speech):
    out, _ = once
    corpus = open_corpus(out, check=True)
    source = {cut.id: cut for cut in open_corpus(speech).cuts}
    lhotse = {cut.id: cut.load_audio()[0] for cut in CutSet.from_shar(in_dir=out)}
    assert {cut.id for cut in corpus.cuts} == set(lhotse) == set(source) - {"6.flac"} and not corpus.notes
    for cut in corpus.cuts:
        heard, was = read_cut(cut), read_cut(source[cut.id])
        if cut.id == "5.wav":
            was = was / np.abs(was).max()
        assert len(heard) == cut_samples(source[cut.id])
        # 16 bits before are the same 16 bits; what was resampled is rounded to them.
        np.testing.assert_allclose(heard, was, atol=0 if cut.id in ("0.wav", "1.wav") else 2.1 * STEP)
        np.testing.assert_array_equal(heard, lhotse[cut.id])


def test_called_again_it_makes_nothing_again(once, speech):
    out, _ = once
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    again = write_shar([speech], SharOptions(out, per_shard=3))
    assert (again["written"], again["kept"]) == (0, 3)
    assert before == {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}


def test_a_damaged_shard_is_made_again(once, speech, tmp_path):
    out = tmp_path / "shar"
    write_shar([speech], SharOptions(out, per_shard=3))
    (out / "recording.000001.tar").write_bytes(b"half")
    (out / "cuts.000002.json").write_text("{")
    again = write_shar([speech], SharOptions(out, per_shard=3))
    assert again["written"] == 2 and digests(out) == digests(once[0])


def test_shares_of_several_processes_are_the_whole(once, speech, tmp_path):
    out = tmp_path / "shar"
    first = write_shar([speech], SharOptions(out, per_shard=3, number=2, count=2))
    assert first["shards"] == 1 and not first["complete"]
    second = write_shar([speech], SharOptions(out, per_shard=3, number=1, count=2))
    assert second["complete"] and digests(out) == digests(once[0])


def test_killed_anywhere_and_called_again_the_result_is_the_same(once, speech, tmp_path):
    """At every third change of the disk; what is there at any time is whole shards."""

    def work(out):
        return lambda: write_shar([speech], SharOptions(out, per_shard=3, workers=1))

    (tmp_path / "count").mkdir()
    points = changes(work(tmp_path / "count" / "shar"), tmp_path / "count")
    assert points > 20
    for kill_at in range(2, points, max(1, points // 8)):
        place = tmp_path / f"killed-{kill_at}"
        place.mkdir()
        assert changes(work(place / "shar"), place, kill_at) is None
        work(place / "shar")()
        assert digests(place / "shar") == digests(once[0]), kill_at


def test_a_folder_of_something_else_is_left_alone(speech, tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(SpeechpressError, match="contains something other"):
        write_shar([speech], SharOptions(tmp_path))
    out = tmp_path / "shar"
    write_shar([speech], SharOptions(out, per_shard=3))
    with pytest.raises(SpeechpressError, match="per_shard differ"):
        write_shar([speech], SharOptions(out, per_shard=4))
    assert write_shar([speech], SharOptions(out, per_shard=4, overwrite=True))["shards"] == 2
    assert not list(out.glob("*.000002.*"))
    with pytest.raises(SpeechpressError, match="not beside --shard"):
        SharOptions(out, number=1, count=2, overwrite=True)


def test_a_student_is_trained_from_the_shards(tiny_teacher, few_clips, tmp_path):
    write_shar([few_clips], SharOptions(tmp_path / "shar", per_shard=5))
    settings = ("train.steps=3", "train.precision=fp32", "train.batch=4", "train.crop_s=0.5", "train.validate_every=3")
    recipe = load_recipe("distilhubert", [f"teacher={tiny_teacher}", *settings])
    events = []
    outcome = distill(recipe, RunOptions((tmp_path / "shar",), tmp_path / "run", "cpu"), events.append)
    assert outcome.finished and outcome.card["steps"] == 3
    assert open_corpus(tmp_path / "shar").hours == pytest.approx(open_corpus(few_clips).hours, rel=1e-3)


def test_the_command(cli, tmp_path):
    nemo(tmp_path)
    (tmp_path / "bad.wav").write_text("no sound")
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"audio_filepath": "bad.wav", "duration": 1.0}\n')
    done = cli("data", "nemo:train.jsonl", "--out", "shar", "--per-shard", 2, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["recordings"] == 3 and document["shards"] == 2 and document["skipped"][0]["path"].endswith(":4")
    again = cli("data", "train.jsonl", "--out", "shar", "--per-shard", 2, "--shard", "2/2")
    assert again.returncode == 0 and "0 written now, 1 before" in again.stdout and "bad.wav" in again.stdout
    wrong = cli("data", "train.jsonl", "--out", "shar", "--per-shard", 1)
    assert wrong.returncode == 1 and "per_shard differ" in wrong.stderr


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_becomes_shar(name, tmp_path):
    (tmp_path / "source").mkdir()
    made = FORMATS[name](tmp_path / "source")
    write_shar([made.source], SharOptions(tmp_path / "shar", per_shard=2))
    cuts = sorted(open_corpus(tmp_path / "shar").cuts, key=lambda cut: cut.duration)
    was = sorted(open_corpus(made.source).cuts, key=lambda cut: cut.duration)
    for cut, source in zip(cuts, was, strict=True):
        np.testing.assert_allclose(read_cut(cut), read_cut(source), atol=2.1 * STEP)
        assert label(cut, "text") == label(source, "text") and label(cut, "speaker") == label(source, "speaker")


def test_ids_lead_nowhere_when_a_tar_is_unpacked(tmp_path):
    assert shard_id("/a/../b//./c") == "a/%2E%2E/b/c" and shard_id("..") == "%2E%2E" and shard_id("/") == "%"
    made = kaldi(tmp_path)
    scp = made.source / "wav.scp"
    scp.write_text(scp.read_text().replace("u1 ", "/../../u1 "))
    write_shar([made.source], SharOptions(tmp_path / "shar"))
    with tarfile.open(tmp_path / "shar" / "recording.000000.tar") as archive:
        assert not [name for name in archive.getnames() if name.startswith("/") or ".." in name.split("/")]
    assert len(list(CutSet.from_shar(in_dir=tmp_path / "shar"))) == 3
