import json
import os
import resource
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from speechpress.compressor.models.checkpoint import (
    atomic,
    config_document,
    is_remains,
    load_checkpoint,
    load_encoder,
    newest_checkpoint,
    read_config,
    read_tensors,
    save_encoder,
    write_json,
    write_tensors,
)
from speechpress.compressor.models.encoder import Encoder
from speechpress.runtime.errors import SpeechpressError


def test_a_saved_encoder_comes_back_bit_equal(tmp_path, tiny_config):
    encoder = Encoder(replace(tiny_config, input_norm="utterance")).eval()
    save_encoder(tmp_path, encoder)
    loaded = load_encoder(tmp_path)
    waves = torch.randn(2, 4000)
    assert loaded.config == encoder.config
    assert torch.equal(loaded(waves), encoder(waves))


@pytest.mark.parametrize(
    "changes", [{}, {"conv_norm": "layer", "pre_norm": True, "conv_bias": True}, {"projection_norm": False}]
)
def test_transformers_opens_it_without_a_missing_key(tmp_path, tiny_config, changes):
    from transformers import AutoFeatureExtractor, HubertModel

    encoder = Encoder(replace(tiny_config, **changes)).eval()
    save_encoder(tmp_path, encoder)
    model, info = HubertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    waves = torch.randn(1, 8000)
    torch.testing.assert_close(model.eval()(waves).last_hidden_state, encoder(waves), atol=2e-5, rtol=0)
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert extractor.do_normalize is False and extractor.sampling_rate == 16_000


def test_a_hubert_model_without_a_mask_vector_opens(tmp_path, tiny_config):
    from transformers import HubertConfig, HubertModel

    model = HubertModel(HubertConfig(**tiny_config.to_hubert(), mask_time_prob=0.0)).eval()
    assert "masked_spec_embed" not in model.state_dict()
    model.save_pretrained(tmp_path)
    waves = torch.randn(1, 8000)
    torch.testing.assert_close(load_encoder(tmp_path)(waves), model(waves).last_hidden_state, atol=2e-5, rtol=0)


def test_an_encoder_that_hubert_cannot_describe_still_saves(tmp_path, tiny_config):
    uneven = replace(tiny_config, num_heads=(4, 2, 1, 3), ffn_widths=(64, 8, 16, 1))
    save_encoder(tmp_path, Encoder(uneven))
    assert load_encoder(tmp_path).config == uneven
    assert config_document(uneven)["model_type"] == "speechpress"


def test_a_newer_schema_is_refused(tmp_path, tiny_config):
    save_encoder(tmp_path, Encoder(tiny_config))
    document = json.loads((tmp_path / "config.json").read_text())
    document["speechpress"]["schema"] = 99
    write_json(tmp_path / "config.json", document)
    with pytest.raises(SpeechpressError, match=r"schema 99.*upgrade"):
        read_config(tmp_path)


def test_truncated_weights_are_named(tmp_path, tiny_config):
    save_encoder(tmp_path, Encoder(tiny_config))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(SpeechpressError, match=r"model\.safetensors.*complete"):
        load_encoder(tmp_path)


def test_weights_of_another_config_are_refused(tmp_path, tiny_config):
    save_encoder(tmp_path, Encoder(tiny_config))
    write_json(tmp_path / "config.json", config_document(replace(tiny_config, width=64, num_heads=(8,) * 4)))
    with pytest.raises(SpeechpressError, match="does not fit"):
        load_encoder(tmp_path)


def test_a_folder_without_a_checkpoint_says_what_makes_one(tmp_path):
    with pytest.raises(SpeechpressError, match="compress distill"):
        load_checkpoint(tmp_path)
    with pytest.raises(SpeechpressError, match="compress distill"):
        newest_checkpoint(tmp_path)


def test_a_failed_write_leaves_the_previous_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"whole": True})
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half of")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"whole": True}
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]


FULL_DISK = """
import sys, resource, torch
from pathlib import Path
from speechpress.compressor.models.checkpoint import write_tensors
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_tensors(Path(sys.argv[1]), {"x": torch.zeros(1_000_000)})
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs POSIX limits")
def test_a_disk_that_fills_up_is_an_error_and_the_old_file_stays(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"x": torch.ones(3)})
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=False)
    assert "SpeechpressError" in done.stderr and "could not be written" in done.stderr
    assert torch.equal(load_file(path)["x"], torch.ones(3))
    assert [item.name for item in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SpeechpressError, match=r"could not be written.*--out"):
        write_json(tmp_path / "file" / "a.json", {})


def test_tensors_keep_their_metadata(tmp_path):
    write_tensors(tmp_path / "t.safetensors", {"x": torch.arange(3)}, {"step": "7"})
    tensors, metadata = read_tensors(tmp_path / "t.safetensors")
    assert tensors["x"].tolist() == [0, 1, 2] and metadata["step"] == "7"


def test_the_newest_checkpoint_is_found(tmp_path, tiny_config):
    for number, name in enumerate(("old", "new")):
        save_encoder(tmp_path / name, Encoder(tiny_config))
        write_json(tmp_path / name / "card.json", {})
        os.utime(tmp_path / name / "model.safetensors", (1000 + number, 1000 + number))
    assert newest_checkpoint(tmp_path) == tmp_path / "new"


def test_weights_without_a_card_are_no_checkpoint(tmp_path, tiny_config):
    save_encoder(tmp_path / "run", Encoder(tiny_config))
    with pytest.raises(SpeechpressError, match=r"no card\.json, which is written last.*--overwrite"):
        load_checkpoint(tmp_path / "run")
    with pytest.raises(SpeechpressError, match="compress distill"):
        newest_checkpoint(tmp_path)
    write_json(tmp_path / "run" / "card.json", {"steps": 3})
    assert load_checkpoint(tmp_path / "run").card == {"steps": 3}


def test_a_hubert_model_of_another_tool_needs_no_card(tmp_path, tiny_config):
    from transformers import HubertConfig, HubertModel

    HubertModel(HubertConfig(**tiny_config.to_hubert())).save_pretrained(tmp_path)
    assert load_checkpoint(tmp_path).card == {}


def test_what_is_still_being_written_is_not_the_newest(tmp_path, tiny_config):
    for name in ("run", ".other.abcdefgh.part"):
        save_encoder(tmp_path / name, Encoder(tiny_config))
        write_json(tmp_path / name / "card.json", {})
    assert newest_checkpoint(tmp_path) == tmp_path / "run"


def test_remains_are_told_from_what_is_whole_or_of_another_tool(tmp_path, tiny_config):
    from transformers import HubertConfig, HubertModel

    save_encoder(tmp_path / "half", Encoder(tiny_config))
    save_encoder(tmp_path / "whole", Encoder(tiny_config))
    write_json(tmp_path / "whole" / "card.json", {})
    HubertModel(HubertConfig(**tiny_config.to_hubert())).save_pretrained(tmp_path / "foreign")
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "heads.safetensors").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "heads.safetensors").touch()
    (tmp_path / "more" / "thesis.tex").touch()
    found = {path.name: is_remains(path) for path in tmp_path.iterdir()}
    assert found == {"half": True, "heads": True, "whole": False, "foreign": False, "more": False}
