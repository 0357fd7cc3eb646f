import json
import os
import subprocess
import sys
import time

import pytest
import torch
from hub_server import serving
from huggingface_hub import constants
from tiny_models import save, save_processor, tiny, waves

from speechpress.compressor.models.checkpoint import write_tensors
from speechpress.compressor.teachers.hub import weights_files
from speechpress.compressor.teachers.hub_folder import looks_like_hub_id
from speechpress.compressor.teachers.load import load_teacher
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


@pytest.fixture
def server(hub, tmp_path, monkeypatch):
    """A hub at this machine with one model, saved as transformers 5 saves one with its processor."""
    model = tmp_path / "served" / "someone" / "large"
    save(tiny("hubert", "large"), model)
    save_processor(model, do_normalize=True)
    (model / "README.md").write_text("not asked for")
    with serving(tmp_path / "served") as (address, asked):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        yield asked


def test_a_model_of_the_hub_comes_with_what_says_how_its_input_is_scaled(server, hub):
    card = load_teacher("someone/large").card
    assert card.normalize_input and not card.notes
    files = {path.rpartition("/")[2] for path in server if "/resolve/" in path}
    assert files == {"config.json", "processor_config.json", "model.safetensors"}
    before = len(server)
    assert load_teacher("someone/large").card == card and len(server) == before  # from the cache


def test_a_cache_of_an_older_version_is_completed(server, hub):
    cache(hub, "someone/large", lambda folder: save(tiny("hubert", "large"), folder))
    assert load_teacher("someone/large").card.normalize_input


def test_a_cache_that_cannot_be_completed_is_taken_with_a_doubt(hub, monkeypatch, caplog):
    cache(hub, "someone/some-model", lambda folder: save(tiny("hubert"), folder))
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        started = time.monotonic()
        card = load_teacher("someone/some-model").card
        assert "taken as it is" in card.notes[0] and time.monotonic() - started < 10
    assert "someone/some-model: neither" in caplog.text


SEARCH = "search --recipe pocket --teacher someone/thing --data . --device host --budget-ms 9 --steps 1 --trials 1"


@pytest.mark.parametrize(
    "line",
    [
        "distill --recipe distilhubert --teacher someone/thing --data .",
        "convert someone/thing out.pt",
        "eval someone/thing",
        "export someone/thing --target android",
        "study layers someone/thing",
        SEARCH,
        "show someone/thing",
    ],
    ids=lambda line: line.split()[0],
)
def test_offline_answers_before_anything_heavy_is_loaded(line, tmp_path):
    script = (
        "import sys\nfrom speechpress.compressor.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *line.split()],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1 and "someone/thing" in done.stderr, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


def test_an_adapter_is_not_taken_for_the_weights(tmp_path):
    """MMS has an adapter per language beside its weights, which older uploads have as a pickle."""
    model = tiny("wav2vec2", adapter_attn_dim=4)
    save(model, tmp_path, do_normalize=True)
    wanted = load_teacher(str(tmp_path)).hidden_states(waves(8000)[0])
    (tmp_path / "model.safetensors").unlink()
    write_tensors(tmp_path / "adapter.tur.safetensors", {"lm_head.weight": torch.ones(8, 48)})
    with pytest.raises(SpeechpressError, match=r"adapter\.tur\.safetensors is an adapter, no whole model"):
        load_teacher(str(tmp_path))
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    teacher = load_teacher(str(tmp_path))
    assert all(torch.equal(state, wanted[k]) for k, state in teacher.hidden_states(waves(8000)[0]).items())
