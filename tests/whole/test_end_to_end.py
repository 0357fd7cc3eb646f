"""The main job on what ships: the starter's teacher and speech, as in the README's first command, only shorter."""

import json
import subprocess
import sys

import pytest
import torch
from labelled import make_labelled

from speechpress.compressor.abx.tables import verdict
from speechpress.compressor.starter import SPEECH


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder in which `compress distill` was called, and what it said."""
    folder = tmp_path_factory.mktemp("starter")
    settings = ("train.steps=12", "train.batch=8", "train.crop_s=2", "train.lr=1e-3")
    words = ["distill", "--recipe", "distilhubert", "--starter", "--json"]
    words += [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "speechpress.compressor.cli.main", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_the_starter_makes_a_student_that_follows_its_teacher(trained):
    folder, document = trained
    for layer, start in document["valid"]["start"].items():
        assert document["valid"]["end"][layer]["cosine"] > start["cosine"] + 0.05, document
    voices = document["voices"]
    assert voices["student"] < voices["random"] and voices["minus_student"]["random"]["ci95"][0] > 0
    assert None not in (voices["logmel"], voices["teacher"], voices["untrained"])
    assert ", clearly better than random weights" in verdict(voices)
    card = json.loads((folder / document["out"] / "card.json").read_text())
    assert card["teacher"]["source"] == "hubert-mini" and card["teacher"]["supervised"] is True

    from transformers import HubertModel

    from speechpress.compressor.data.audio import read_audio
    from speechpress.compressor.models.checkpoint import load_encoder

    wave = torch.from_numpy(read_audio(next(iter(sorted((SPEECH / "audio").rglob("*.opus"))))))[None]
    ours = load_encoder(folder / document["out"])
    theirs = HubertModel.from_pretrained(folder / document["out"]).eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(wave), theirs(wave).last_hidden_state, atol=2e-5, rtol=0)


def test_eval_compares_with_teacher_random_and_log_mel(cli, tmp_path, trained):
    """On a few clips; on all of the starter's in .ci/run."""
    folder, document = trained
    words = ("--data", make_labelled(tmp_path / "data"), "--tasks", "sid", "--seeds", "1", "--json")
    done = cli("eval", document["out"], *words, cwd=folder, timeout=300)
    document = json.loads(done.stdout)
    sid = document["tasks"]["sid"]
    for name in ("student", "teacher", "random", "logmel"):
        low, high = sid["ci95"][name]
        assert 0 <= low <= sid[name] <= high <= 1
    assert set(document["fidelity"]) == {"2", "4", "6"}
