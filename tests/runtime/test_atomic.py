import errno
import json

import pytest

from speechpress.runtime import parts
from speechpress.runtime.atomic import atomic, atomic_folder, discard, filled, write_json
from speechpress.runtime.errors import SpeechpressError


def test_a_failed_write_leaves_the_previous_file(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"a": "ü"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ü"}
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ü"} and [p.name for p in path.parent.iterdir()] == [
        "a.json"
    ]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpeechpressError, match=r"could not be written.*--out"):
        write_json(tmp_path / "file" / "a.json", {})


def test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path):
    place = tmp_path / "deep" / "folder"
    for text in ("first", "second"):
        with atomic_folder(place) as part:
            (part / f"{text}.txt").write_text(text)
            assert not (place / f"{text}.txt").exists()
    assert [path.name for path in place.iterdir()] == ["second.txt"]
    with pytest.raises(RuntimeError), atomic_folder(place) as part:
        (part / "third.txt").write_text("third")
        raise RuntimeError
    assert [path.name for path in place.iterdir()] == ["second.txt"] and [p.name for p in place.parent.iterdir()] == [
        "folder"
    ]


def test_where_the_system_cannot_swap_a_folder_is_moved_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_swapped", lambda one, other: False)
    test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path)


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_folder(tmp_path / "link") as part:
        (part / "a").touch()
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "a").exists()


def test_files_move_into_a_folder_and_the_seal_is_last(tmp_path):
    for name in ("a", "seal", "log"):
        (tmp_path / name).write_text("old")
    with pytest.raises(RuntimeError), filled(tmp_path, ["seal"]) as part:
        (part / "a").write_text("half")
        raise RuntimeError
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old", "seal": "old", "log": "old"}
    with filled(tmp_path, ["seal"]) as part:
        for name in ("a", "b", "seal"):
            (part / name).write_text("new")
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"a": "new", "b": "new", "seal": "new", "log": "old"}


def test_a_folder_is_discarded_whole(tmp_path):
    (tmp_path / "run" / "deep").mkdir(parents=True)
    (tmp_path / "run" / "deep" / "a").touch()
    discard(tmp_path / "run")
    discard(tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "said", "unsaid"),
    [
        (errno.ENOSPC, "Free some space", "You may not"),
        (errno.EROFS, "You may not write there", "Free some"),
        (errno.EACCES, "You may not write there", "Free some"),
        (errno.ENOTDIR, "Choose another folder", "Free some"),
    ],
)
def test_the_advice_fits_what_went_wrong(tmp_path, number, said, unsaid):
    with pytest.raises(SpeechpressError, match=said) as caught, atomic(tmp_path / "a"):
        raise OSError(number, "no")
    assert unsaid not in str(caught.value)
