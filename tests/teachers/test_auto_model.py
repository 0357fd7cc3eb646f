"""Students that only speechpress can be, opened by transformers' own AutoModel."""

import copy
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import transformers
from tiny_models import shake, waves

from speechpress.compressor.models.checkpoint import MODEL_CODE, load_encoder, read_json, save_encoder
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.teachers import auto_model
from speechpress.runtime.errors import SpeechpressError

BASE = EncoderConfig(
    conv_channels=(16,) * 7,
    width=32,
    head_dim=8,
    num_heads=(4, 4),
    ffn_widths=(64, 64),
    pos_conv_kernel=16,
    pos_conv_groups=4,
)
STREAMING = replace(BASE, conv_norm="static", pos_conv_future=0, left_context=12)
STUDENTS = {
    "pruned": replace(BASE, num_heads=(4, 2), ffn_widths=(64, 40), conv_channels=(16, 12, 16, 9, 16, 16, 14)),
    "streaming": STREAMING,
    "streaming, running norm": replace(STREAMING, conv_norm="frame", input_norm="running"),
    "pocket": replace(  # as recipes/pocket.yaml: streams, with a time reduction and layers that reuse attention
        STREAMING,
        num_heads=(2, 2, 2),
        ffn_widths=(48, 48, 48),
        reuse_attention=(False, True, False),
        time_reduction=2,
        pos_conv_future=2,
    ),
    "pocket, pruned, normalised": replace(
        STREAMING, num_heads=(4, 3), ffn_widths=(64, 24), conv_norm="layer", pre_norm=True, input_norm="utterance"
    ),
    "shared layers": replace(BASE, num_heads=(4, 4), distinct_layers=1),
}


@pytest.fixture(params=STUDENTS)
def run(request, tmp_path):
    encoder = shake(Encoder(STUDENTS[request.param]))
    encoder.measure_statistics(waves(20_000)[0])
    save_encoder(tmp_path / "run", encoder)
    return tmp_path / "run"


def states_of(model, *given, **more):
    with torch.inference_mode():
        return model(*given, **more, output_hidden_states=True)


def test_automodel_opens_it_with_our_hidden_states(run):
    model = transformers.AutoModel.from_pretrained(run)
    ours, (batch, lengths) = load_encoder(run), waves(16_000, 11_000)
    mask = (torch.arange(batch.shape[1]) < lengths[:, None]).long()
    found = states_of(model, batch, attention_mask=mask)
    with torch.inference_mode():
        wanted, last = ours.hidden_states(batch, lengths), ours(batch, lengths)
    assert isinstance(model, auto_model.SpeechpressModel) and not model.training
    assert len(found.hidden_states) == ours.config.num_layers + 1 == model.config.num_hidden_layers + 1
    assert all(torch.equal(a, b) for a, b in zip(found.hidden_states, wanted, strict=True))
    assert torch.equal(found.last_hidden_state, last) and last.shape[2] == model.config.hidden_size
    assert torch.equal(states_of(model, batch[:1]).last_hidden_state, ours(batch[:1]))


def test_what_transformers_saves_is_a_checkpoint_of_ours(run, tmp_path):
    """Nothing is lost on the way through: names, numbers, config, and the code that opens it."""
    transformers.AutoModel.from_pretrained(run).save_pretrained(tmp_path / "again")
    before, after = load_encoder(run), load_encoder(tmp_path / "again")
    assert before.config == after.config
    assert all(torch.equal(tensor, after.state_dict()[name]) for name, tensor in before.state_dict().items())
    assert (tmp_path / "again" / MODEL_CODE).read_text() == (run / MODEL_CODE).read_text()
    assert read_json(tmp_path / "again" / "config.json")["auto_map"] == read_json(run / "config.json")["auto_map"]


def test_it_can_be_fine_tuned(run):
    model = transformers.AutoModel.from_pretrained(run).train()
    batch, _ = waves(8_000)
    model(batch).last_hidden_state.square().mean().backward()
    held = [p.grad is not None for name, p in model.named_parameters() if "q_proj" in name]
    assert held and any(held)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        next(copied.feature_projection.parameters()).add_(1.0)
    assert not torch.equal(copied(batch).last_hidden_state, model(batch).last_hidden_state)


OPEN = """
import sys
{first}
import torch, transformers
model = transformers.AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
print(type(model).__name__, tuple(model(torch.ones(1, 8000)).last_hidden_state.shape))
"""


def opened_elsewhere(run, tmp_path, first=""):
    """In a process of its own that has not imported anything of ours."""
    env = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-c", OPEN.format(first=first), str(run)], capture_output=True, text=True, env=env, timeout=120
    )


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streaming") / "run"
    save_encoder(folder, shake(Encoder(STREAMING)))
    return folder


def test_the_file_of_code_opens_it_where_speechpress_is_installed(streaming, tmp_path):
    done = opened_elsewhere(streaming, tmp_path)
    assert done.returncode == 0 and done.stdout.strip() == "SpeechpressModel (1, 24, 32)", done.stderr


def test_the_file_of_code_says_what_to_install(streaming, tmp_path):
    """None in sys.modules is Python's own way to say that a package is not there."""
    done = opened_elsewhere(streaming, tmp_path, "sys.modules['speechpress'] = None")
    assert done.returncode and "Install it with: pip install speechpress" in done.stderr.strip().splitlines()[-1]


def test_a_student_that_hubert_can_be_carries_no_code(tmp_path):
    save_encoder(tmp_path, shake(Encoder(STREAMING)))
    assert (tmp_path / MODEL_CODE).is_file()
    save_encoder(tmp_path, shake(Encoder(BASE)))
    assert not (tmp_path / MODEL_CODE).exists()
    assert read_json(tmp_path / "config.json")["model_type"] == "hubert"
    assert "auto_map" not in read_json(tmp_path / "config.json")


def test_a_config_of_a_newer_version_is_said():
    with pytest.raises(SpeechpressError, match="has schema 99"):
        auto_model.SpeechpressConfig(speechpress={"schema": 99, "encoder": {}})
