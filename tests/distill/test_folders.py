import os

import pytest

from speechpress.compressor.distill.folders import choose_folder, newest
from speechpress.runtime.errors import SpeechpressError


def test_a_new_run_never_gets_a_folder_that_is_there(tmp_path):
    names = []
    for _ in range(3):
        folder = choose_folder(None, tmp_path, "distilhubert", resume=False)
        folder.mkdir()
        names.append(folder.name)
    assert names == ["distilhubert", "distilhubert-2", "distilhubert-3"]


@pytest.mark.parametrize("ending", ["-cut", "-joint"])
def test_what_a_stopped_command_put_beside_a_run_counts_as_its_folder(tmp_path, ending):
    (tmp_path / f"pocket{ending}").mkdir()
    assert choose_folder(None, tmp_path, "pocket", resume=False) == tmp_path / "pocket-2"


def test_a_named_folder_is_taken_as_it_is(tmp_path):
    assert choose_folder(tmp_path / "x", tmp_path, "y", resume=True) == tmp_path / "x"


def test_resume_takes_the_newest_unfinished_run(tmp_path):
    for number, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        state = tmp_path / name / "resume.safetensors"
        state.touch()
        os.utime(state, (100 - number, 100 - number))
    (tmp_path / "finished").mkdir()
    assert choose_folder(None, tmp_path, "z", resume=True) == tmp_path / "a"


def test_nothing_to_resume_or_to_take_is_an_error(tmp_path):
    with pytest.raises(SpeechpressError, match="--out"):
        choose_folder(None, tmp_path, "z", resume=True)
    with pytest.raises(SpeechpressError, match="compress distill"):
        newest(tmp_path, print)


def test_the_newest_is_said_aloud(tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("model.safetensors", "config.json", "card.json"):
        (tmp_path / "run" / name).touch()
    said = []
    assert newest(tmp_path, said.append) == tmp_path / "run" and str(tmp_path / "run") in said[0]
