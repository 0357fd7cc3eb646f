"""Which format a path is in: by layout and content, or said in front; several possible ones are never guessed from."""

import json
import shutil

import pytest
from sounds import write
from written import (
    FORMATS,
    audio_folder,
    common_voice,
    datasets_dict,
    datasets_parquet,
    fairseq,
    kaldi,
    nemo,
    webdataset,
)

from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.formats.choose import READINGS, Source, parse_source, reading_of
from speechpress.compressor.heads.data import read_rows
from speechpress.runtime.errors import SpeechpressError

SEEN = {"audio_folder": "audio", "audio_folder_csv": "audio", "common_voice": "commonvoice"}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_each_is_told_by_what_it_is(name, tmp_path):
    made = FORMATS[name](tmp_path)
    reading = reading_of(parse_source(made.source))
    assert reading == SEEN.get(name, name.partition("_")[0]) and reading in READINGS
    assert len(open_corpus(made.source).cuts) == 3


def test_what_is_said_in_front(tmp_path, monkeypatch):
    assert parse_source("kaldi:/a/b") == Source(tmp_path.__class__("/a/b"), "kaldi")
    assert parse_source("commonvoice:/a#train") == Source(tmp_path.__class__("/a"), "commonvoice", "train")
    assert parse_source("torchaudio:x").reading is None
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "kaldi:x" / "a.wav")  # a folder of this name means itself
    assert parse_source("kaldi:x").reading is None and len(open_corpus("kaldi:x").cuts) == 1


def test_a_folder_that_is_two_things_is_not_guessed(tmp_path):
    kaldi(tmp_path)
    folder = tmp_path / "train"
    shutil.copytree(tmp_path / "audio", folder / "audio")
    assert len(open_corpus(folder).cuts) == 3  # its index goes before a search for audio
    (folder / "labels.tsv").write_text("path\ttext\naudio/a.wav\tx\n")
    with pytest.raises(SpeechpressError, match=rf"as kaldi and as audio; say which is meant: kaldi:{folder} or audio:"):
        open_corpus(folder)
    assert {cut.id for cut in open_corpus(f"kaldi:{folder}").cuts} == {"u1", "u2", "u3"}
    assert "audio/a.wav" in {cut.id for cut in open_corpus(f"audio:{folder}").cuts}


def test_tars_and_tables_beside_audio_are_not_guessed(tmp_path):
    webdataset(tmp_path)
    write(tmp_path / "x" / "a.wav")
    with pytest.raises(SpeechpressError, match="webdataset and as audio"):
        open_corpus(tmp_path)
    datasets_parquet(tmp_path)
    with pytest.raises(SpeechpressError, match="datasets and as webdataset and as audio"):
        open_corpus(tmp_path)
    assert len(open_corpus(f"audio:{tmp_path}").cuts) == 1
    assert len(open_corpus(f"datasets:{tmp_path}").cuts) == len(open_corpus(f"webdataset:{tmp_path}").cuts) == 3


def test_which_table_of_common_voice_is_a_stated_choice(tmp_path):
    common_voice(tmp_path, ("train", "test", "validated"))
    with pytest.raises(
        SpeechpressError, match=r"parts test, train, validated; say which one is meant: commonvoice:.*#"
    ):
        open_corpus(tmp_path)
    assert len(open_corpus(f"commonvoice:{tmp_path}#train").cuts) == len(open_corpus(tmp_path / "test.tsv").cuts) == 3
    with pytest.raises(SpeechpressError, match="no part 'dev', only test, train, validated"):
        open_corpus(f"commonvoice:{tmp_path}#dev")


def test_which_split_of_a_data_set_is_a_stated_choice(tmp_path):
    datasets_dict(tmp_path)
    with pytest.raises(SpeechpressError, match="parts test, train; say which one"):
        open_corpus(tmp_path)
    assert len(open_corpus(tmp_path / "test").cuts) == 3


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("kaldi:{}", r"has no wav\.scp, so it is not a Kaldi data folder"),
        ("nemo:{}", "is a folder; give the manifest itself: nemo:"),
        ("fairseq:{}/train.tsv", "no such file or folder"),
        ("commonvoice:{}", "has no part that can be read as commonvoice"),
        ("datasets:{}", "has no part that can be read as datasets"),
        ("webdataset:{}", "has no part that can be read as webdataset"),
        ("audio:{}#train", "only a folder read as commonvoice, datasets, webdataset has parts"),
        ("shar:{}", "holds no cuts"),
    ],
)
def test_what_is_missing_is_said(source, words, tmp_path):
    write(tmp_path / "a.wav")
    with pytest.raises(SpeechpressError, match=words):
        open_corpus(source.format(tmp_path))


def test_a_manifest_whose_corpus_moved_says_what_to_change(tmp_path):
    made = fairseq(tmp_path)
    (tmp_path / "audio").rename(tmp_path / "elsewhere")
    with pytest.raises(SpeechpressError, match=r"train\.tsv:1: its root .*/audio is not a folder here; write"):
        open_corpus(made.source)


def test_segments_of_kaldi_are_parts(tmp_path):
    made = kaldi(tmp_path)
    (made.source / "segments").write_text("s1 u1 0.1 0.5\ns2 u1 0.5 -1\ns3 u2 0 9\ns4 u9 0 1\n")
    (made.source / "text").write_text("s1 hello there\n")
    (made.source / "utt2spk").write_text("s1 ann\ns2 bob\n")
    corpus = open_corpus(made.source, check=True)
    assert [(cut.id, round(cut.start, 3), round(cut.duration, 3)) for cut in corpus.cuts] == [
        ("s1", 0.1, 0.4),
        ("s2", 0.5, 0.3),
    ]
    assert corpus.speakers == {"ann", "bob"} and corpus.cuts[0].supervisions[0].text == "hello there"
    reasons = [item.reason for item in corpus.skipped]
    assert "until 9.000 s, but its file ends at 1.100" in reasons[0] and "which wav.scp does not name" in reasons[1]


def test_offsets_of_nemo_are_parts(tmp_path):
    made = nemo(tmp_path)
    lines = [{"audio_filepath": "audio/a.wav", "duration": 0.3, "offset": offset} for offset in (0.0, 0.4, 3.0)]
    made.source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = open_corpus(made.source)
    assert [cut.start for cut in corpus.cuts] == [0.0, 0.4] and len(corpus.skipped) == 1


def test_heads_read_the_rows_of_a_table_of_another_toolkit(tmp_path):
    common_voice(tmp_path)
    rows = read_rows(tmp_path / "train.tsv")
    assert sorted(row.labels["speaker"] for row in rows) == ["ann", "ann", "bob"]


def test_a_row_of_audio_folder_twice_or_without_a_file(tmp_path):
    audio_folder(tmp_path)
    table = tmp_path / "metadata.jsonl"
    good = table.read_text()
    for line, words in (
        (good.splitlines()[0], "has two rows"),
        ('{"text": "x"}', "file_name: is missing"),
        ("{", "not a"),
    ):
        table.write_text(good + line + "\n")
        with pytest.raises(SpeechpressError, match=rf"(?s)metadata\.jsonl:4: .*{words}"):
            open_corpus(tmp_path)
