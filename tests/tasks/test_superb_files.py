"""Reading what corpora bring along: every error names file, line and what was looked for."""

import pytest
from layouts import audio, text

from speechpress.compressor.data.sounds import clip
from speechpress.compressor.tasks.kinds import Item
from speechpress.compressor.tasks.superb_files import audio_below, find, lines_of, table_of, thinned, with_split
from speechpress.runtime.errors import SpeechpressError


def test_the_first_name_that_is_there_is_taken_and_all_are_named_when_none_is(tmp_path):
    (tmp_path / "other").mkdir()
    assert find(tmp_path, "ks", ("one", "other")) == tmp_path / "other"
    with pytest.raises(
        SpeechpressError, match=r"one or .*two: is not there, and task 'ks' needs it; put it there, or leave"
    ):
        find(tmp_path, "ks", ("one", "two"))


def test_lines_come_with_their_numbers(tmp_path):
    path = text(tmp_path / "a.txt", "x y", "", "u  v")
    assert list(lines_of(path, "sd", 2)) == [(1, ["x", "y"]), (3, ["u", "v"])]
    with pytest.raises(SpeechpressError, match=r"a\.txt:1: has 2 words, but task 'sd' needs 4"):
        list(lines_of(path, "sd", 4))
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpeechpressError, match="cannot be read as text"):
        list(lines_of(tmp_path / "b.txt", "sd"))


def test_rows_must_have_their_columns_and_values(tmp_path):
    path = text(tmp_path / "a.csv", "path,who", "x.wav,a", "y.wav,")
    assert table_of(path, "ic", ("path",))[1] == {"path": "y.wav", "who": ""}
    with pytest.raises(SpeechpressError, match=r"a\.csv:3: has no who, which task 'ic' needs"):
        table_of(path, "ic", ("path", "who"))
    with pytest.raises(SpeechpressError, match=r"a\.csv:1: no column 'intent' \(found: path, who\)"):
        table_of(path, "ic", ("intent",))


def test_audio_is_found_at_any_depth_and_in_order(tmp_path):
    audio(tmp_path / "b" / "c" / "1.wav")
    audio(tmp_path / "a" / "2.flac")
    text(tmp_path / "a" / "notes.txt", "x")
    assert [path.name for path in audio_below(tmp_path, "ks")] == ["2.flac", "1.wav"]
    with pytest.raises(SpeechpressError, match="holds no audio"):
        audio_below(tmp_path / "none", "ks")


def test_thinning_keeps_classes_even_and_is_the_same_every_time():
    items = [Item(clip(f"x/{n}.wav"), "train", "ab"[n > 2]) for n in range(20)]
    few = thinned(items, 6)
    assert sorted(item.target for item in few) == ["a"] * 3 + ["b"] * 3 and few == thinned(items[::-1], 6)
    assert thinned(items, None) == tuple(items) and len(thinned(items, 99)) == 20
    assert {item.split for item in with_split(items, "test")} == {"test"}
