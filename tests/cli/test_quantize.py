import json

import pytest


def test_it_writes_a_checkpoint_and_one_document(cli, small_checkpoint, tmp_path):
    done = cli("quantize", small_checkpoint, "--scheme", "int8", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document) >= {"out", "scheme", "parameters", "macs_per_s", "size_bytes"}
    assert document["out"] == "runs/small-int8" and (tmp_path / "runs/small-int8/quantize.json").exists()
    again = cli("quantize", tmp_path / "runs/small-int8")
    assert again.returncode == 1 and str(small_checkpoint) in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scheme", "int8-statc"), "Did you mean 'int8-static'"),
        (("--scheme", "int8", "--scheme", "int4"), "add --report"),
        (("nowhere",), "there is no such folder"),
    ],
)
def test_what_is_wrong_is_said_at_once(cli, words, said):
    done = cli("quantize", *words)
    assert done.returncode == 1 and said in done.stderr, done.stderr


def test_help_lists_its_options(cli):
    text = cli("quantize", "--help", env={"COLUMNS": "200"}).stdout
    assert all(option in text for option in ("--scheme", "--report", "--data", "--out", "--budget-db", "--markdown"))
