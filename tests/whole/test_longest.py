"""The files that tests/conftest.py lets begin first are there."""

import runpy
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_every_file_that_comes_first_is_there():
    names = runpy.run_path(str(TESTS / "conftest.py"))["LONGEST"]
    assert len(set(names)) == len(names) > 20
    assert [name for name in names if not (TESTS / f"{name}.py").is_file()] == []
