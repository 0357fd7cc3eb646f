import json
import shutil
from pathlib import Path

import pytest
import torch
from bundled import saved
from hub_server import Hub, serving_hub, turned_to
from huggingface_hub import ModelCard, constants

import speechpress
from speechpress.compressor.cli.demo_open import open_model
from speechpress.compressor.cli.main import main
from speechpress.compressor.hub.push import plan_push, push
from speechpress.compressor.models.checkpoint import load_encoder, save_encoder, write_json
from speechpress.compressor.models.scores import stamped, write_back
from speechpress.compressor.teachers.load import load_teacher
from speechpress.compressor.views.screen import Screen
from speechpress.runtime import demo
from speechpress.runtime.engine import load_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.verify import verify

SHIPPED = Path(demo.__path__[0]) / "demo-bundle"
TEACHER = {"source": "facebook/hubert-base-ls960", "sha256": "a" * 64, "revision": "b" * 40}
SCORE = {
    "metric": "accuracy",
    "student": 0.75,
    "teacher": 0.9,
    "quality": {"student": 0.75, "teacher": 0.9},
    "ci95": {"student": [0.7, 0.8]},
}


def silent(text):
    pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub at this machine, an empty cache, and the token of the user `me`."""
    found = Hub()
    with serving_hub(found) as address:
        turned_to(monkeypatch, address, tmp_path / "cache", "hf_me")
        yield found


@pytest.fixture
def run(tmp_path):
    """A finished run with a result."""
    folder = saved(tmp_path / "pocket")
    valid = {"end": {"4": {"cosine": 0.87654, "l1": 0.1}, "8": {"cosine": float("nan"), "l1": 0.2}}}
    data = {"source": "/data/speech", "hours": 2.5}
    card = {"schema": 1, "finished": True, "teacher": TEACHER, "valid": valid, "steps": 7, "data": data}
    write_json(folder / "card.json", card)
    write_back(stamped({"tasks": {"ks": SCORE}}, "mini", folder), folder)
    (folder / "metrics.jsonl").write_text('{"step": 0, "event": "train"}\n')
    (folder / "resume.safetensors").write_bytes(b"state of a run")
    return folder


@pytest.fixture
def bundle(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "shipped")


def test_a_dry_run_shows_what_would_go_up_and_needs_neither_token_nor_network(run, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    words = ["push", str(run), "me/pocket", "--dry-run", "--json", "--license", "apache-2.0", "--dataset", "a/speech"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    said, words = capsys.readouterr()
    document = json.loads(said)
    names = {"model.safetensors", "config.json", "card.json", "preprocessor_config.json", "metrics.jsonl", "eval.json"}
    assert names <= set(document["files"]) and "resume.safetensors" in document["left_out"]
    assert document["files"]["model.safetensors"]["size_bytes"] == (run / "model.safetensors").stat().st_size
    assert document["size_bytes"] == sum((run / name).stat().st_size for name in document["files"])
    assert "/data/speech stands in card.json and will be public" in words
    card = ModelCard(document["card"]).data
    assert (card.license, card.base_model, card.library_name) == ("apache-2.0", TEACHER["source"], "speechpress")
    assert card.datasets == ["a/speech"] and {"speech", "distillation"} <= set(card.tags)
    found = {(each.dataset_name, each.metric_type): each.metric_value for each in card.eval_results}
    assert found == {("mini suite: ks", "accuracy"): 0.75, ("held-out speech of the training", "cosine"): 0.8765}


def test_what_is_not_known_does_not_stand_in_the_card(tmp_path):
    folder = saved(tmp_path / "plain")
    write_json(folder / "card.json", {"teacher": {"source": "models/mine"}})
    plan = plan_push(folder, "me/plain")
    card = ModelCard(plan.card).data.to_dict()
    assert not {"license", "base_model", "datasets", "model-index"} & set(card)
    assert any("no licence" in note for note in plan.notes)
    assert speechpress.push(folder, "me/plain", dry_run=True) == plan.document()


def test_a_result_of_other_weights_is_not_published(run):
    encoder = load_encoder(run)
    encoder.feature_projection.projection.bias.data.add_(1)
    save_encoder(run, encoder)
    plan = plan_push(run, "me/pocket")
    assert "eval.json" not in plan.manifest["files"] and "mini suite" not in plan.card


def test_a_pushed_run_comes_back_as_encoder_and_as_teacher(hub, run):
    done = push(plan_push(run, "me/pocket"), say=silent)
    waves = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    wanted = load_encoder(run).hidden_states(waves)
    assert done["commit"] == hub.repos["me/pocket"][-1][0]
    assert hub.files("me/pocket")["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert "resume.safetensors" not in hub.files("me/pocket")
    for name in ("me/pocket", f"me/pocket@{done['commit']}"):
        assert all(map(torch.equal, load_encoder(name).hidden_states(waves), wanted))
    teacher = load_teacher("me/pocket")
    assert (teacher.card.revision, teacher.card.format) == (done["commit"], "speechpress")
    assert all(map(torch.equal, teacher.hidden_states(waves).values(), wanted))
    before = len(hub.asked)
    assert load_teacher(f"me/pocket@{done['commit']}").card.sha256 == teacher.card.sha256
    assert len(hub.asked) == before  # a commit that is in the cache


def test_a_pushed_bundle_comes_back_to_be_run_verified_and_shown(hub, bundle):
    done = push(plan_push(bundle, "lab/phone"), say=silent)  # of a group of this user
    assert verify("lab/phone")["ok"]
    wave = 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0)).numpy()
    name = f"lab/phone@{done['commit']}"
    assert (load_bundle(name).offline(wave) == load_bundle(bundle).offline(wave)).all()
    assert open_model(Path(name), None, Screen(json=True)).bundle.name == load_bundle(bundle).bundle.name
    card = ModelCard(hub.files("lab/phone")["README.md"].decode())
    assert "executorch" in card.data.tags and "compress verify lab/phone" in card.text
    assert (bundle / "README.md").read_text().strip() in card.text


def test_a_kind_is_not_taken_for_another(hub, run, bundle):
    push(plan_push(run, "me/pocket"), say=silent)
    push(plan_push(bundle, "me/phone"), say=silent)
    with pytest.raises(SpeechpressError, match="is a checkpoint, and no bundle"):
        load_bundle("me/pocket")
    for load in (load_encoder, load_teacher):
        with pytest.raises(SpeechpressError, match="is a bundle, and no checkpoint"):
            load("me/phone")
    with pytest.raises(SpeechpressError, match="holds a bundle"):
        push(plan_push(run, "me/phone"), say=silent)


def test_who_may_not_push_is_told_before_anything_is_sent(hub, run, monkeypatch):
    plan = plan_push(run, "me/pocket")
    with pytest.raises(SpeechpressError, match=r"other/pocket: belongs to other, but the token is me's, of lab"):
        push(plan_push(run, "other/pocket"), say=silent)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(SpeechpressError, match="does not know the token"):
        push(plan, say=silent)
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(SpeechpressError, match="may not write"):
        push(plan_push(run, "reader/pocket"), say=silent)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(SpeechpressError, match="needs a token"):
        push(plan, say=silent)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SpeechpressError, match="HF_HUB_OFFLINE"):
        push(plan, say=silent)
    assert not hub.repos


@pytest.mark.parametrize("name", ["pocket", "me/pocket@main", "me/a/b", "./pocket", "me/model.safetensors"])
def test_what_is_no_name_of_a_repository_is_refused(name, run):
    with pytest.raises(SpeechpressError, match="USER/NAME"):
        plan_push(run, name)


def test_of_two_pushes_at_once_the_second_is_refused(hub, run):
    push(plan_push(run, "me/pocket"), say=silent)
    theirs = {**hub.files("me/pocket"), "card.json": b"{}"}
    (run / "metrics.jsonl").write_text("")
    hub.before_commit = lambda: hub.add("me/pocket", theirs)
    with pytest.raises(SpeechpressError, match="somebody else pushed to it at the same time"):
        push(plan_push(run, "me/pocket"), say=silent)
    assert hub.files("me/pocket") == theirs
    push(plan_push(run, "me/pocket"), say=silent)
    assert hub.files("me/pocket")["metrics.jsonl"] == b""


def test_an_interrupted_upload_leaves_nothing_and_is_repeated_without_what_arrived(hub, run):
    (run / "metrics.jsonl").write_text('{"step": 0, "event": "train"}\n' * 1000)  # a second large file
    hub.cut_uploads = 1
    with pytest.raises(SpeechpressError, match=r"the push broke off|nothing was changed there"):
        push(plan_push(run, "me/pocket"), say=silent)
    assert set(hub.files("me/pocket")) == {".gitattributes"}
    arrived = {f"/objects/{oid}" for oid in hub.objects}
    hub.asked.clear()
    push(plan_push(run, "me/pocket"), say=silent)
    assert not arrived & set(hub.asked) and len(hub.objects) == 2 > len(arrived)
    load_encoder("me/pocket")


def test_a_second_push_takes_away_what_the_first_put_there_and_nothing_else(hub, run):
    first = push(plan_push(run, "me/pocket"), say=silent)
    hub.add("me/pocket", {**hub.files("me/pocket"), "photo.jpg": b"by hand"})
    (run / "eval.json").unlink()
    second = push(plan_push(run, "me/pocket"), say=silent)
    assert "eval.json" not in hub.files("me/pocket") and "photo.jpg" in hub.files("me/pocket")
    assert push(plan_push(run, "me/pocket"), say=silent)["commit"] == second["commit"] != first["commit"]  # as it was


def test_a_repository_of_something_else_is_left_alone(hub, run):
    hub.add("me/other", {"pytorch_model.bin": b"theirs"})
    with pytest.raises(SpeechpressError, match=r"did not put there \(pytorch_model.bin\)"):
        push(plan_push(run, "me/other"), say=silent)


@pytest.mark.parametrize("name", ["student.pt", "deep/er/model.ckpt", "pytorch_model.bin"])
def test_a_pickle_in_the_folder_is_refused(name, run):
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    torch.save({}, run / name)
    with pytest.raises(SpeechpressError, match="is a pickle"):
        plan_push(run, "me/pocket")


def test_a_pickle_under_the_name_of_safetensors_is_refused(run):
    torch.save({"a": torch.ones(3)}, run / "heads.safetensors")
    with pytest.raises(SpeechpressError, match=r"heads\.safetensors: cannot be read as safetensors"):
        plan_push(run, "me/pocket")


def test_what_is_not_finished_or_damaged_is_not_published(run, bundle, tmp_path):
    (bundle / "encoder.pte").write_bytes(b"0" * (bundle / "encoder.pte").stat().st_size)
    with pytest.raises(SpeechpressError, match=r"encoder\.pte: is damaged"):
        plan_push(bundle, "me/phone")
    write_json(run / "card.json", {"finished": False, "steps": 3})
    with pytest.raises(SpeechpressError, match="was interrupted at step 3"):
        plan_push(run, "me/pocket")
    with pytest.raises(SpeechpressError, match="no such folder"):
        plan_push(tmp_path / "nowhere", "me/pocket")
