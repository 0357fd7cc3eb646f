"""A kill -9 at any change of the disk leaves what is whole, or what is refused, and the next run goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from killing import changes, empty

from speechpress.runtime import parts
from speechpress.runtime.atomic import atomic_folder, discard, filled, write_json
from speechpress.runtime.parts import entries

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
GOOD = {"distill", "prune", "quantize", "convert", "export", "eval"}


@pytest.fixture(scope="module")
def killed(few_clips):
    """What was found after each kill, by command."""
    words = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "killing.py"), str(few_clips)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("command", sorted(GOOD))
def test_what_a_killed_command_leaves_is_whole_or_refused_and_the_next_run_goes_on(killed, command):
    whole, *found = killed[command]
    assert whole == "whole" and len(found) >= 4
    for words in found:
        if words.startswith("over"):
            assert words in ("over a whole one whole", "over a whole one refused")
        else:
            assert words.split(", ", 1)[1] == "then whole, parts left: 0"
    # Commands that write a new folder swap it for the old one at once; a run replaces its own folder first.
    if command != "distill":
        assert "over a whole one refused" not in found


def everything(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fill(part, text):
    for name in ("a", "b", "seal"):
        write_json(part / name, text)


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_at_every_change(tmp_path, monkeypatch, swaps):
    if not swaps:
        monkeypatch.setattr(parts, "_swapped", lambda one, other: False)
    place = tmp_path / "disk" / "out"

    def write(text):
        with atomic_folder(place) as part:
            fill(part, text)

    place.parent.mkdir()
    total = changes(lambda: (write("old"), write("new")), place.parent)
    seen = set()
    for at in range(1, total + 1):
        empty(place.parent)
        assert changes(lambda: (write("old"), write("new")), place.parent, at) is None
        found = {name: json.loads(text) for name, text in everything(place).items()} if place.exists() else {}
        assert set(found) in (set(), {"a", "b", "seal"}) and len(set(found.values())) <= 1
        seen.add(next(iter(found.values()), None))
        write("next")
        assert [path.name for path in place.parent.iterdir()] == ["out"] and set(everything(place).values()) == {
            '"next"\n'
        }
    assert seen == {None, "old", "new"}


def test_files_that_move_into_a_folder_at_every_change(tmp_path):
    place = tmp_path / "disk"

    def write(text):
        with filled(place, ["seal"]) as part:
            fill(part, text)

    def work():
        write("old")
        (place / "log").write_text('"log"')
        write("new")

    place.mkdir()
    total, seen = changes(work, place), set()
    for at in range(1, total + 1):
        empty(place)
        assert changes(work, place, at) is None
        found = {path.name: json.loads(path.read_text() or "null") for path in entries(place)}
        seal = found.get("seal")
        assert seal is None or (found["a"] == found["b"] == seal)
        seen.add(seal)
        write("next")
        assert all(not parts.is_part(Path(path.name)) for path in place.iterdir())
        assert {json.loads((place / name).read_text()) for name in ("a", "b", "seal")} == {"next"}
    assert seen == {None, "old", "new"}


def test_a_folder_that_is_discarded_at_every_change_is_there_or_gone(tmp_path):
    place = tmp_path / "disk" / "run"

    def work():
        place.mkdir(parents=True)
        fill(place, "old")
        (place / "made").touch()
        discard(place)

    place.parent.mkdir()
    total = changes(work, place.parent)
    for at in range(1, total + 1):
        empty(place.parent)
        assert changes(work, place.parent, at) is None
        if not place.exists():
            continue
        names = {path.name for path in entries(place)}
        assert "made" not in names or names == {"a", "b", "seal", "made"}
