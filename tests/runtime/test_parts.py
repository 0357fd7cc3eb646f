import signal
import subprocess
import sys
from pathlib import Path

import pytest

from speechpress.runtime import parts
from speechpress.runtime.atomic import atomic_folder, write_json
from speechpress.runtime.parts import clear, entries, is_part, part_of

AT_WORK = """
import sys, time
from pathlib import Path
from speechpress.runtime.parts import part_of
with part_of(Path(sys.argv[1])), part_of(Path(sys.argv[2]), folder=True) as folder:
    (folder / "a").touch()
    print("at work", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def at_work(tmp_path):
    """Another process that is writing a file and a folder."""
    words = [sys.executable, "-c", AT_WORK, str(tmp_path / "file"), str(tmp_path / "folder")]
    other = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "at work\n"
    yield other
    other.kill()
    other.wait()


def test_what_a_dead_process_left_goes_and_what_a_living_one_writes_stays(tmp_path, at_work):
    mine = [".notes.txt", ".folder.backup", "a.part"]
    for name in mine:
        (tmp_path / name).touch()
    found = {path for path in tmp_path.iterdir() if is_part(Path(path.name))}
    assert len(found) == 2
    clear(tmp_path)
    assert all(path.exists() for path in found)
    at_work.send_signal(signal.SIGKILL)
    at_work.wait()
    assert all(path.exists() for path in found)
    write_json(tmp_path / "other.json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, "other.json"])


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "fcntl", None)
    (tmp_path / ".a.abcdefgh.part").touch()
    with part_of(tmp_path / "b") as part:
        assert part.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".a.abcdefgh.part"] and not entries(tmp_path)


def test_a_folder_that_was_moved_aside_goes_back(tmp_path):
    aside = tmp_path / ".run.abcdefgh.old"
    aside.mkdir()
    (aside / "weights").touch()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run"] and (tmp_path / "run" / "weights").exists()
    (tmp_path / "run").rename(aside)
    with atomic_folder(tmp_path / "run") as part:
        (part / "new").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["run"] and [
        path.name for path in (tmp_path / "run").iterdir()
    ] == ["new"]
