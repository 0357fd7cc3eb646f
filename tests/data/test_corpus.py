"""Corpora: folders, Lhotse manifests and Shar shards open as one list of cuts, and say what they left out."""

import gzip
import json
import logging

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment
from sounds import voice, write

from speechpress.compressor.data.audio import read_audio, read_cut
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.labels import label
from speechpress.runtime.errors import SpeechpressError


def ids(corpus):
    return [cut.id for cut in corpus.cuts]


def folder_of(root, number=3, **kwargs):
    for index in range(number):
        write(root / "audio" / f"{index}.wav", 1.0 + index / 2, seed=index, **kwargs)
    return root


def lhotse_cuts(root, number=5):
    folder = folder_of(root, number)
    recordings = RecordingSet.from_dir(folder / "audio", "*.wav")
    return CutSet.from_manifests(recordings=recordings).sort_by_recording_id()


def test_a_folder_is_searched_for_every_format_in_any_case(tmp_path):
    for name in ("b.WAV", "x/a.flac", "x/y/c.Opus", "d.MP3", "e.ogg"):
        kwargs = {"format": "OGG", "subtype": "OPUS"} if name.endswith("Opus") else {}
        write(tmp_path / name, 1.0, **kwargs)
    write(tmp_path / "._b.wav")
    write(tmp_path / ".hidden" / "z.wav")
    (tmp_path / "notes.txt").write_text("no audio")
    corpus = open_corpus(tmp_path)
    assert ids(corpus) == ["b.WAV", "d.MP3", "e.ogg", "x/a.flac", "x/y/c.Opus"]
    assert corpus.hours == pytest.approx(5 / 3600, rel=0.05)
    assert corpus.speakers == frozenset() and not corpus.skipped and not corpus.resampled


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    folder_of(tmp_path / "real", 1)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "back").symlink_to(tmp_path / "corpus")
    assert ids(open_corpus(tmp_path / "corpus")) == ["link/audio/0.wav"]


def test_bad_files_are_skipped_counted_and_listed(tmp_path, caplog):
    folder_of(tmp_path, 2)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "broken.flac").write_bytes(b"fLaC" + bytes(500))
    write(tmp_path / "short.ogg", 0.06)
    soundfile.write(tmp_path / "nan.wav", np.full(16_000, np.nan), 16_000, subtype="FLOAT")
    corpus = open_corpus(tmp_path)
    assert ids(corpus) == ["audio/0.wav", "audio/1.wav"]
    assert [item.path.rsplit("/", 1)[1] for item in corpus.skipped] == [
        "broken.flac",
        "empty.wav",
        "nan.wav",
        "short.ogg",
    ]
    assert "4 skipped" in corpus.describe() and "empty file" in corpus.describe()
    assert caplog.text.count("4 recordings skipped") == 1


def test_check_decodes_everything(tmp_path):
    folder_of(tmp_path, 2)
    samples = voice(2.0)
    samples[-5] = np.nan
    soundfile.write(tmp_path / "late.wav", samples, 16_000, subtype="FLOAT")
    assert len(open_corpus(tmp_path).cuts) == 3
    checked = open_corpus(tmp_path, check=True)
    assert ids(checked) == ["audio/0.wav", "audio/1.wav"]
    assert [item.reason for item in checked.skipped] == ["holds NaN or infinite samples"]


def test_nothing_to_use_is_an_error_that_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("no audio")
    with pytest.raises(SpeechpressError, match=rf"{tmp_path}: no audio .*\.wav, \.flac, \.ogg, \.opus, \.mp3"):
        open_corpus(tmp_path)
    with pytest.raises(SpeechpressError, match="no such file or folder"):
        open_corpus(tmp_path / "absent")
    with pytest.raises(SpeechpressError, match="neither audio"):
        open_corpus(tmp_path / "notes.txt")
    (tmp_path / "a.wav").touch()
    with pytest.raises(SpeechpressError, match=r"none of its 1 recordings can be used: .*a\.wav: empty file"):
        open_corpus(tmp_path)
    with pytest.raises(SpeechpressError, match="no audio given"):
        open_corpus()


def test_resampling_is_said_once_in_total(tmp_path, caplog):
    folder_of(tmp_path, 3, rate=8_000)
    write(tmp_path / "good.wav")
    corpus = open_corpus(tmp_path)
    assert corpus.resampled == {8_000: 3}
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: 3 of 4 recordings are resampled to 16 kHz (3 of 8000 Hz)"
    ]


def test_labels_of_a_folder(tmp_path, caplog):
    folder_of(tmp_path)
    rows = (
        "path\tspeaker\tsplit\tkeyword\naudio/0.wav\tann\ttrain\tyes\naudio/1.wav\tbob\tval\tno\naudio/9.wav\tx\ty\tz\n"
    )
    (tmp_path / "labels.tsv").write_text(rows)
    corpus = open_corpus(tmp_path)
    assert corpus.speakers == {"ann", "bob"}
    assert [label(cut, "keyword") for cut in corpus.cuts] == ["yes", "no", None]
    assert "1 labelled files are not there, the first is" in caplog.text
    assert "1 of 3 recordings have no row" in caplog.text


def test_metadata_in_folders_below(tmp_path):
    for split in ("train", "test"):
        folder_of(tmp_path / split, 1)
        (tmp_path / split / "metadata.csv").write_text(f"file_name,speaker\naudio/0.wav,{split}-speaker\n")
    assert open_corpus(tmp_path).speakers == {"train-speaker", "test-speaker"}


def test_librispeech_layout_names_speakers(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write(tmp_path / "dev-clean" / "84" / "121" / "84-121-0000.flac")
    write(tmp_path / "dev-clean" / "85" / "121" / "85-121-0000.flac")
    assert open_corpus(tmp_path).speakers == {"84", "85"}
    assert "like LibriSpeech" in caplog.text
    write(tmp_path / "extra.flac")
    assert open_corpus(tmp_path).speakers == frozenset()


def test_several_sources_become_one(tmp_path):
    for name in ("one", "two"):
        folder_of(tmp_path / name, 1)
        (tmp_path / name / "labels.tsv").write_text("path\tspeaker\naudio/0.wav\t1\n")
    corpus = open_corpus(tmp_path / "two", tmp_path / "one")
    assert ids(corpus) == ["one/audio/0.wav", "two/audio/0.wav"]
    assert corpus.speakers == {"one/1", "two/1"}
    again = open_corpus(tmp_path / "one", tmp_path / "one")
    assert ids(again) == ["0-one/audio/0.wav", "1-one/audio/0.wav"]


def test_the_fingerprint_is_of_the_content_not_of_the_place(tmp_path):
    first = open_corpus(folder_of(tmp_path / "a")).fingerprint
    assert open_corpus(folder_of(tmp_path / "b")).fingerprint == first
    (tmp_path / "b" / "labels.tsv").write_text("path\tspeaker\naudio/0.wav\tann\n")
    assert open_corpus(tmp_path / "b").fingerprint != first
    write(tmp_path / "a" / "audio" / "2.wav", 2.5)
    assert open_corpus(tmp_path / "a").fingerprint != first


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_a_lhotse_manifest(tmp_path, name):
    cuts = lhotse_cuts(tmp_path)
    cuts = CutSet.from_cuts([*list(cuts)[:4], cuts[4].truncate(offset=0.5, duration=1.25, preserve_id=True)])
    cuts.to_file(tmp_path / name)
    corpus = open_corpus(tmp_path / name)
    assert ids(corpus) == sorted(cut.id for cut in cuts)
    for cut in corpus.cuts:
        np.testing.assert_array_equal(read_cut(cut), cuts[cut.id].load_audio()[0])


def test_a_manifest_with_paths_relative_to_itself_and_recordings_without_cuts(tmp_path):
    folder_of(tmp_path, 2)
    recordings = RecordingSet.from_dir(tmp_path / "audio", "*.wav")
    recordings.with_path_prefix("").to_file(tmp_path / "recordings.jsonl.gz")
    text = gzip.decompress((tmp_path / "recordings.jsonl.gz").read_bytes()).decode()
    (tmp_path / "moved.jsonl").write_text(text.replace(f"{tmp_path}/", ""))
    corpus = open_corpus(tmp_path / "moved.jsonl")
    assert len(corpus.cuts) == 2
    np.testing.assert_array_equal(read_cut(corpus.cuts[0]), read_audio(tmp_path / "audio" / "0.wav"))


def test_cuts_that_cannot_be_used_are_skipped_with_their_line(tmp_path):
    cuts = lhotse_cuts(tmp_path, 6)
    items = [cut.to_dict() for cut in cuts]
    items[1].pop("recording")
    items[2]["recording"]["sources"][0].update(type="command", source="touch owned; cat x.wav")
    items[3]["recording"]["sources"][0]["source"] = "/absent.wav"
    items[4]["duration"] = 0.05
    mixed = cuts[5].pad(duration=10.0).to_dict()
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps(item) for item in [*items[:5], mixed]) + "\n")
    corpus = open_corpus(tmp_path / "c.jsonl")
    assert ids(corpus) == [items[0]["id"]]
    reasons = " | ".join(f"{item.path}: {item.reason}" for item in corpus.skipped)
    for words in (
        "c.jsonl:2: cut",
        "c.jsonl:3: would run a shell command",
        "/absent.wav: no such",
        "too short",
        "MixedCut",
    ):
        assert words in reasons
    assert len(corpus.skipped) == 5


@pytest.mark.parametrize("line", ["{not json", '{"id": 1}', '["list"]', '{"type": "MonoCut", "id": "x"}'])
def test_a_manifest_line_that_is_none(tmp_path, line):
    text = json.dumps(lhotse_cuts(tmp_path, 1)[0].to_dict())
    (tmp_path / "c.jsonl").write_text(f"{text}\n\n{line}\n")
    with pytest.raises(SpeechpressError, match=r"c\.jsonl:3: not a line of a Lhotse cuts manifest"):
        open_corpus(tmp_path / "c.jsonl")


def test_damaged_and_ambiguous_manifests(tmp_path):
    cuts = lhotse_cuts(tmp_path)
    cuts.to_file(tmp_path / "c.jsonl.gz")
    whole = (tmp_path / "c.jsonl.gz").read_bytes()
    (tmp_path / "c.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SpeechpressError, match=r"c\.jsonl\.gz:\d+: cannot be read"):
        open_corpus(tmp_path / "c.jsonl.gz")
    line = json.dumps(cuts[0].to_dict())
    (tmp_path / "twice.jsonl").write_text(f"{line}\n{line}\n")
    with pytest.raises(SpeechpressError, match=r"twice\.jsonl:2: the id .* occurs twice"):
        open_corpus(tmp_path / "twice.jsonl")
    (tmp_path / "none.jsonl").touch()
    with pytest.raises(SpeechpressError, match="holds no cuts"):
        open_corpus(tmp_path / "none.jsonl")


def test_speakers_of_a_manifest(tmp_path):
    cut = lhotse_cuts(tmp_path, 1)[0]
    for index, name in enumerate(("ann", "bob")):
        cut.supervisions.append(SupervisionSegment(str(index), cut.recording_id, 0.0, 0.5, speaker=name))
    CutSet.from_cuts([cut]).to_file(tmp_path / "c.jsonl")
    assert open_corpus(tmp_path / "c.jsonl").speakers == {"ann", "bob"}


def test_a_file_alone_is_a_corpus(tmp_path):
    corpus = open_corpus(write(tmp_path / "a.wav"))
    assert ids(corpus) == ["a.wav"]
    assert isinstance(corpus.cuts[0].recording, Recording)
