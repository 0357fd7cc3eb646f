"""Temporary folders of tests go with the test or the fixture that made them, and stay where a test has failed.

Also that the files that tests/conftest.py puts first are there.
"""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAD = """
import pytest

def listed(tmp_path_factory):
    names = sorted(path.name for path in tmp_path_factory.getbasetemp().iterdir() if not path.is_symlink())
    return [name for name in names if not name.startswith(("test_", "."))]

@pytest.fixture(scope="module")
def inner(tmp_path_factory):
    return tmp_path_factory.mktemp("inner")

@pytest.fixture(scope="module")
def outer(request, tmp_path_factory):
    made = tmp_path_factory.mktemp("outer")
    request.getfixturevalue("whole")  # made within this one, but not for it
    yield made
    assert made.is_dir()  # its own end comes before that of its folder
"""
WHOLE = """

@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")
"""
FIRST = """
def test_a(outer, inner, tmp_path, tmp_path_factory):
    (tmp_path / "file").write_text("x")
    for number in range(3):
        tmp_path_factory.mktemp("drawn")

def test_b(outer, inner, whole, tmp_path_factory):
    assert listed(tmp_path_factory) == ["inner0", "outer0", "whole0"]
"""
SECOND = """
def test_c(inner, whole, tmp_path, tmp_path_factory):
    assert listed(tmp_path_factory) == ["inner1", "whole0"]
    assert not (tmp_path.parent / "test_a0").exists()
    tmp_path_factory.mktemp("seen")
    assert not FAIL
"""
THIRD = """
def test_d(whole, tmp_path_factory):
    kept = ["inner1"] * FAIL + ["seen0"] * FAIL
    assert listed(tmp_path_factory) == [*kept, "whole0"]
"""


def left(folder, fail, *words):
    """What stands in the base of temporary folders after a run of three files; whether it passed."""
    folder.mkdir()
    conftest = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    (folder / "conftest.py").write_text(conftest + WHOLE, encoding="utf-8")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for number, text in enumerate((FIRST, SECOND, THIRD)):
        (folder / f"test_{number}.py").write_text(HEAD + f"FAIL = {fail}\n" + text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words, folder]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    env |= {"PYTEST_DEBUG_TEMPROOT": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    found = [path.name for path in folder.glob("pytest-of-*/pytest-0/*") if path.is_dir() and not path.is_symlink()]
    return done, sorted(found)


def test_after_a_run_that_passed_nothing_is_left(tmp_path):
    done, found = left(tmp_path / "run", False)
    assert done.returncode == 0, done.stdout
    assert found == []


def test_what_a_failed_test_saw_is_left(tmp_path):
    done, found = left(tmp_path / "run", True)
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert found == ["inner1", "seen0", "test_c0", "whole0"]


def test_whoever_asks_for_all_folders_gets_them(tmp_path):
    _, found = left(tmp_path / "run", True, "-o", "tmp_path_retention_policy=all")
    assert {"outer0", "drawn2", "inner0", "test_a0"} <= set(found)


def test_every_file_that_comes_first_is_there():
    names = runpy.run_path(str(ROOT / "tests" / "conftest.py"))["LONGEST"]
    assert len(set(names)) == len(names) > 20
    assert [name for name in names if not (ROOT / "tests" / f"{name}.py").is_file()] == []
