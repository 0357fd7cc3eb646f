"""Labels: tables beside the audio end up on the cuts, and a malformed table is an error with file:line."""

import os

import pytest
from lhotse import MonoCut
from lhotse.testing.dummies import dummy_recording

from speechpress.compressor.data.labels import attach, label, librispeech_speakers, read_labels, speakers
from speechpress.runtime.errors import SpeechpressError


def table(folder, text, name="labels.tsv", encoding="utf-8"):
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def cut():
    return MonoCut(id="a.wav", start=0, duration=1.0, channel=0, recording=dummy_recording(0))


def test_columns_become_labels(tmp_path):
    path = table(tmp_path, 'path\tsplit(official: 0 is test)\tslots\nsub/a.wav\ttrain\t{"cup": "big"}\nb.wav\t\t\n')
    rows = read_labels(path)
    assert rows[str(tmp_path / "sub" / "a.wav")] == {"split": "train", "slots": '{"cup": "big"}'}
    assert rows[str(tmp_path / "b.wav")] == {}


def test_hugging_face_metadata_with_quotes_and_a_byte_order_mark(tmp_path):
    path = table(tmp_path, 'file_name,text,speaker_id\na.wav,"Yes, ""now""",7\n', "metadata.csv", "utf-8-sig")
    assert read_labels(path) == {str(tmp_path / "a.wav"): {"text": 'Yes, "now"', "speaker_id": "7"}}


def test_a_metadata_csv_of_another_kind_is_passed_over_aloud(tmp_path, caplog):
    assert read_labels(table(tmp_path, "LJ001|Printing|Printing\n", "metadata.csv")) == {}
    assert "no column 'file_name'" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\tspeaker\na.wav\tx\n", r"labels\.tsv:1: no column 'path' .*file, speaker"),
        ("path\tspeaker\na.wav\tx\nb.wav\n", r"labels\.tsv:3: 1 fields, but the header has 2"),
        ("path\na.wav\na.wav\n", r"labels\.tsv:3: .*a\.wav has two rows"),
        ("", r"labels\.tsv:1: no column 'path' .*none"),
        ("path\tspeaker\na.wav\tx\n\ty\n", r"labels\.tsv:3: names no file in its column 'path'"),
        ("path\n" + "x" * 200_000 + "\n", "not a UTF-8 table"),
        ("path\n" + "\t" * 2_000_000 + "\n", r"labels\.tsv:2: longer than"),
    ],
)
def test_malformed_tables(tmp_path, text, message):
    with pytest.raises(SpeechpressError, match=message):
        read_labels(table(tmp_path, text))


def test_a_table_in_another_encoding(tmp_path):
    with pytest.raises(SpeechpressError, match="not a UTF-8 table"):
        read_labels(table(tmp_path, "path\tspeaker\na.wav\tZoë\n", encoding="latin-1"))


def test_a_table_that_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "labels.tsv")
    with pytest.raises(SpeechpressError, match="not a regular file"):
        read_labels(tmp_path / "labels.tsv")


def test_labels_on_a_cut():
    one = cut()
    assert label(one, "speaker") is None and speakers(one) == set()
    attach(one, {"speaker_id": "7", "text": "yes", "keyword": "on", "gender": "f"})
    assert speakers(one) == {"7"}
    assert [label(one, name) for name in ("speaker", "text", "keyword", "gender", "split")] == [
        "7",
        "yes",
        "on",
        "f",
        None,
    ]
    assert one.supervisions[0].text == "yes" and one.supervisions[0].custom == {"keyword": "on", "gender": "f"}


def test_librispeech_folders_only_if_unmistakable():
    good = ["dev-clean/84/121123/84-121123-0000.flac", "1272/128104/1272-128104-0001.flac"]
    assert librispeech_speakers(good) == {good[0]: "84", good[1]: "1272"}
    assert librispeech_speakers([*good, "1/2/3.flac"]) == {}
    assert librispeech_speakers(["84/121123/85-121123-0000.flac"]) == {}
