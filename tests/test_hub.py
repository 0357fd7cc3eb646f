import json
import time

import pytest
from huggingface_hub import constants
from tiny_models import save, tiny

from speechpress.compressor.hub import looks_like_hub_id, weights_files
from speechpress.compressor.pretrained import load_teacher
from speechpress.runtime.errors import SpeechpressError

UNREACHABLE = "http://127.0.0.1:9"  # nobody answers at this port


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty Hugging Face cache and a hub that cannot be reached."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", UNREACHABLE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


def cache(folder, repository, save_model):
    """Lay a model into a Hugging Face cache folder as a download would."""
    commit = "0" * 40
    top = folder / f"models--{repository.replace('/', '--')}"
    (top / "refs").mkdir(parents=True)
    (top / "refs" / "main").write_text(commit)
    save_model(top / "snapshots" / commit)


def test_a_hub_id_that_cannot_be_reached_is_a_quick_error_that_says_what_was_tried(hub):
    started = time.monotonic()
    with pytest.raises(SpeechpressError) as error:
        load_teacher("someone/some-model")
    assert time.monotonic() - started < 10
    for part in ("someone/some-model", "not there", "cache", UNREACHABLE, "cannot be reached", "--starter", "folder"):
        assert part in str(error.value), part


def test_offline_mode_asks_nobody(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SpeechpressError, match=r"HF_HUB_OFFLINE.*--starter") as error:
        load_teacher("someone/some-model")
    assert UNREACHABLE not in str(error.value)


def test_a_model_in_the_cache_is_loaded_without_network(hub, monkeypatch):
    cache(hub, "someone/some-model", lambda folder: save(tiny("hubert"), folder, do_normalize=False))
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        card = load_teacher("someone/some-model").card
        assert (card.source, card.depth, card.format) == ("someone/some-model", 3, "transformers")


def test_a_cache_without_weights_is_not_taken_for_a_model(hub):
    cache(hub, "someone/some-model", lambda folder: tiny("hubert").config.save_pretrained(folder))
    with pytest.raises(SpeechpressError, match="cannot be reached"):
        load_teacher("someone/some-model")


@pytest.mark.parametrize("source", ["./models/hubert", "/models/hubert", "models/a/b", "hubert.pt", "../x", "~/x"])
def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not looks_like_hub_id(source)
    started = time.monotonic()
    with pytest.raises(SpeechpressError, match="not tried on the Hugging Face hub") as error:
        load_teacher(source)
    assert source in str(error.value) and "--starter" in str(error.value)
    assert time.monotonic() - started < 1


def test_hub_ids_are_known_by_their_form():
    for name in ("facebook/hubert-base-ls960", "gpt2", "microsoft/wavlm-base-plus", "utter-project/mHuBERT-147"):
        assert looks_like_hub_id(name)


def test_safetensors_come_before_pickles_and_an_index_cannot_lead_out_of_its_folder(tmp_path):
    assert weights_files(tmp_path) == []
    (tmp_path / "pytorch_model.bin").touch()
    assert weights_files(tmp_path) == [tmp_path / "pytorch_model.bin"]
    (tmp_path / "encoder_fp16.safetensors").touch()
    assert weights_files(tmp_path) == [tmp_path / "encoder_fp16.safetensors"]
    index = {"weight_map": {"a": "../../outside.safetensors", "b": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights_files(tmp_path) == [tmp_path / "model-1.safetensors", tmp_path / "outside.safetensors"]
    (tmp_path / "model.safetensors").touch()
    assert weights_files(tmp_path) == [tmp_path / "model.safetensors"]


def test_a_model_for_another_sample_rate_is_refused(tmp_path):
    folder = save(tiny("hubert"), tmp_path, do_normalize=False)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sampling_rate": 8000}))
    with pytest.raises(SpeechpressError, match="8000 Hz"):
        load_teacher(folder)
