"""Files named by ids of anybody's making: inside the folder, each once, and by their own names where these are tame."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.compressor.extract.names import file_names


def test_tame_ids_are_mirrored():
    ids = ["a/b/clip 1.flac", "speaker-3_x", "müller/ä.wav", "日本/語.opus"]
    assert file_names(ids, ".npy") == {name: f"{name}.npy" for name in ids}


@pytest.mark.parametrize(
    "name",
    [
        *("..", "../../etc/passwd", "/etc/passwd", "a/../../b", "", "/", ".", "a//b", "a/./b", "C:\\x", "CON:", "~"),
        *("nul\0", "a\nb", ".hidden/x", "end. ", "\ud800", "x" * 400, "/".join(["deep"] * 500)),
    ],
)
def test_no_id_leads_out_of_the_folder(tmp_path, name):
    path = tmp_path / file_names([name], ".npy")[name]
    assert path.resolve().is_relative_to(tmp_path) and path.name not in ("", ".npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")  # a name that this file system takes
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


def test_names_that_a_file_system_takes_for_one_get_marks_and_so_do_files_with_a_folder_s_name():
    ids = ["A/x", "a/X", "é", "e\u0301", "f.npy/g", "f", "free"]
    paths = file_names(ids, ".npy")
    folded = [path.casefold() for path in paths.values()]
    assert len(set(folded)) == len(ids) and paths["free"] == "free.npy"
    assert all("~" in paths[name] for name in ("A/x", "a/X", "f"))
    assert file_names(ids[::-1], ".npy") == dict(reversed(paths.items()))  # whatever their order


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(alphabet="aA/.~%\\: \u00e9e\u0301", max_size=8), unique=True, max_size=8))
def test_any_ids_get_files_that_can_stand_side_by_side(ids):
    paths = [Path(path) for path in file_names(ids, ".npy").values()]
    folded = {str(path).casefold() for path in paths}
    folders = {str(parent).casefold() for path in paths for parent in path.parents}
    assert len(folded) == len(ids) and not folded & folders
    assert all(not path.is_absolute() and ".." not in path.parts for path in paths)
