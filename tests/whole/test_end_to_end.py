"""The main job on what ships: the starter's teacher and speech, as in the README's first command, only shorter."""

import json

import torch

from speechpress.compressor.abx.tables import verdict
from speechpress.compressor.starter import SPEECH


def test_the_starter_makes_a_student_that_follows_its_teacher(cli, tmp_path):
    words = ["--set", "train.steps=12", "--set", "train.batch=8", "--set", "train.crop_s=2", "--set", "train.lr=1e-3"]
    done = cli("distill", "--recipe", "distilhubert", "--starter", "--json", *words, timeout=300)
    document = json.loads(done.stdout)
    for layer, start in document["valid"]["start"].items():
        assert document["valid"]["end"][layer]["cosine"] > start["cosine"] + 0.05, done.stdout
    voices = document["voices"]
    assert voices["student"] < voices["random"] and voices["minus_student"]["random"]["ci95"][0] > 0
    assert None not in (voices["logmel"], voices["teacher"], voices["untrained"])
    assert ", clearly better than random weights" in verdict(voices)
    card = json.loads((tmp_path / document["out"] / "card.json").read_text())
    assert card["teacher"]["source"] == "hubert-mini" and card["teacher"]["supervised"] is True

    from transformers import HubertModel

    from speechpress.compressor.data.audio import read_audio
    from speechpress.compressor.models.checkpoint import load_encoder

    wave = torch.from_numpy(read_audio(next(iter(sorted((SPEECH / "audio").rglob("*.opus"))))))[None]
    ours = load_encoder(tmp_path / document["out"])
    theirs = HubertModel.from_pretrained(tmp_path / document["out"]).eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(wave), theirs(wave).last_hidden_state, atol=2e-5, rtol=0)


def test_eval_compares_with_teacher_random_and_log_mel(cli, tmp_path):
    words = ["--set", "train.steps=2", "--set", "train.batch=4", "--set", "train.crop_s=1"]
    words += ["--teacher", "hubert-mini", "--data", str(SPEECH), "--set", "train.precision=fp32"]
    done = cli("distill", "--recipe", "distilhubert", "--out", "run", "--json", *words, timeout=300)
    assert "voices" not in json.loads(done.stdout)  # of --starter only
    done = cli("eval", "run", "--tasks", "sid", "--seeds", "1", "--json", timeout=300)
    document = json.loads(done.stdout)
    sid = document["tasks"]["sid"]
    for name in ("student", "teacher", "random", "logmel"):
        low, high = sid["ci95"][name]
        assert 0 <= low <= sid[name] <= high <= 1
    assert set(document["fidelity"]) == {"2", "4", "6"}
