import json

import pytest
from extracted import corpus


def test_it_writes_features_and_one_document(cli, small_checkpoint, tmp_path):
    speech = corpus(tmp_path / "speech", (0.5, 0.6))
    (speech / "bad.wav").write_text("no sound")
    done = cli("extract", small_checkpoint, speech, "--out", "feats", "--format", "safetensors", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["recordings"] == 2 and len(document["skipped"]) == 1 and document["out"] == "feats"
    assert len(list((tmp_path / "feats/features").rglob("*.safetensors"))) == 2
    again = cli("extract", small_checkpoint, speech, "--out", "feats", "--format", "safetensors", "--resume")
    assert again.returncode == 0 and "0 written now, 2 before" in again.stdout and "bad.wav" in again.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--starter",), "--out"),
        (("--out", "x"), "no speech given"),
        (("--starter", "--out", "x", "--shard", "5/4"), "K from 1 to N"),
        (("gone", "--out", "x"), "no such file or folder"),
    ],
)
def test_what_is_wrong_is_said_at_once(cli, small_checkpoint, words, said):
    done = cli("extract", small_checkpoint, *words)
    assert done.returncode in (1, 2) and said in done.stderr, done.stderr


def test_parquet_without_pyarrow_names_the_extra(cli, small_checkpoint, tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/pyarrow.py").write_text("raise ImportError('No module named pyarrow')")
    env = {"PYTHONPATH": str(tmp_path / "hidden")}
    done = cli("extract", small_checkpoint, "--starter", "--out", "x", "--format", "parquet", env=env)
    assert done.returncode == 1 and "pip install 'speechpress[parquet]'" in done.stderr
