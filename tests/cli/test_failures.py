"""What the system refuses ends a command in one clean line."""

import json

import pytest

from speechpress.compressor.cli.main import main

ENDLESS = "x" * 5000


@pytest.mark.parametrize("words", [("show",), ("verify",), ("report",), ("demo", "--wav")])
def test_a_name_that_no_file_can_have(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*words, ENDLESS])
    told = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 1
    assert "File name too long; check the name" in told and len(told) < 400


def test_it_is_a_document_with_json(capsys):
    with pytest.raises(SystemExit):
        main(["show", ENDLESS, "--json"])
    assert "File name too long" in json.loads(capsys.readouterr().out)["error"]


def test_debug_shows_the_trace():
    with pytest.raises(OSError, match="File name too long"):
        main(["show", ENDLESS, "--debug"])
