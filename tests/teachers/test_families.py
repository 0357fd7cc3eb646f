import json
import logging
import re
from pathlib import Path

import pytest
import torch
from tiny_models import save, tiny, tiny_whisper, w2v_bert, waves

from speechpress.compressor.distill.plan import plan
from speechpress.compressor.export.source import open_source
from speechpress.compressor.models.checkpoint import write_tensors
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.teachers.backbones import KINDS
from speechpress.compressor.teachers.families import TABLE, WITH_ADAPTERS, family_of
from speechpress.compressor.teachers.load import load_teacher
from speechpress.compressor.teachers.pickles import read_foreign
from speechpress.compressor.teachers.weights import unwrapped
from speechpress.runtime.errors import SpeechpressError

DATA = Path(__file__).parents[1] / "fixtures"
DATA2VEC = {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19, "feat_extract_norm": "layer"}


def test_every_row_can_be_built_and_a_model_of_no_row_is_found_by_its_structure():
    assert {row.kind for row in TABLE} | {"found"} == set(KINDS)
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert family_of("sew", {}).kind == "found" and family_of("sew", {}).inherits == ()
    assert family_of("wav2vec2", {"adapter_attn_dim": 16}) is WITH_ADAPTERS
    assert family_of("wav2vec2", {"adapter_attn_dim": None}).kind == "encoder"


def test_mms_is_computed_with_its_adapters_and_gives_its_front_end_and_layers_to_a_student(tmp_path):
    model = tiny("wav2vec2", "large", adapter_attn_dim=4)
    teacher = load_teacher(save(model, tmp_path, do_normalize=False))
    batch, _ = waves(16000)
    with torch.no_grad():
        states = model(batch, output_hidden_states=True).hidden_states
    for k, state in teacher.hidden_states(batch, layers=[0, 1, 2]).items():
        assert (state - states[k]).abs().max() < 2e-5, k
    card = teacher.card
    assert card.encoder.pre_norm and card.encoder.num_layers == 3 and "language adapters" in card.notes[-1]
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())
    student = Encoder(card.encoder).eval()
    missing, unexpected = student.load_state_dict(teacher.hubert_weights(), strict=False)
    assert not missing and not unexpected
    assert torch.allclose(student.hidden_states(batch)[0], states[0], atol=2e-5)


@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2-conformer"])
def test_a_student_of_mms_or_a_conformer_starts_from_its_front_end(family, tmp_path):
    adapters = {"adapter_attn_dim": 4} if family == "wav2vec2" else {"hidden_act": "swish"}
    teacher = load_teacher(save(tiny(family, "large", **adapters), tmp_path, do_normalize=True))
    changes = [f"teacher={tmp_path}", "match.layers=[1,2]", "match.depth=3", "student.layers=1"]
    job = plan(load_recipe("distilhubert", changes), teacher)
    assert not [note for note in job.notes if "no waveform front end" in note]
    theirs = teacher.backbone.model.feature_extractor.conv_layers[3].conv.weight
    assert torch.equal(job.student.feature_extractor.conv_layers[3].conv.weight, theirs)
    assert job.student.config.input_norm == "utterance"


WRAPPERS = ["_orig_mod.", "module.", "model.", "module._orig_mod.", "_orig_mod.module.", "model.module."]


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("wavlm", None),
        ("wavlm", "WavLMForCTC"),
        ("hubert", None),
        ("hubert", "HubertForCTC"),
        ("wav2vec2-conformer", "Wav2Vec2ConformerForCTC"),
    ],
)
def test_checkpoints_of_wrapped_models_are_understood(family, head, wrapper, tmp_path):
    model = tiny(family, head=head)
    wanted = load_teacher(save(model, tmp_path / "plain", do_normalize=False)).hidden_states(waves(8000)[0])
    folder = tmp_path / "wrapped"
    save(model, folder, do_normalize=False)
    write_tensors(folder / "model.safetensors", {wrapper + name: tensor for name, tensor in model.state_dict().items()})
    teacher = load_teacher(str(folder))
    assert all(torch.equal(state, wanted[k]) for k, state in teacher.hidden_states(waves(8000)[0]).items())
    assert not [note for note in teacher.card.notes if "no place" in note]


def test_a_model_compiled_in_parts_is_understood(tmp_path):
    model = tiny("wavlm")
    folder = save(model, tmp_path, do_normalize=False)
    wanted = load_teacher(folder).hidden_states(waves(8000)[0])
    parts = {re.sub(r"^(encoder\.layers\.\d+)\.", r"\1._orig_mod.", name): x for name, x in model.state_dict().items()}
    assert set(parts) != set(model.state_dict())
    write_tensors(tmp_path / "model.safetensors", parts)
    assert torch.equal(load_teacher(folder).hidden_states(waves(8000)[0])[3], wanted[3])


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "model."])
@pytest.mark.parametrize("name", ["fairseq_hubert_base", "unilm_wavlm_base"])
def test_fairseq_files_of_wrapped_models_are_understood(name, wrapper, tmp_path):
    state = read_foreign(DATA / f"{name}.pt")
    wrapped = {wrapper + key: x for key, x in state["model"].items()}
    torch.save({"cfg": state["cfg"], "model": wrapped}, tmp_path / "model.pt")
    batch, _ = waves(8000)
    wanted = load_teacher(str(DATA / f"{name}.pt")).hidden_states(batch)
    assert torch.equal(load_teacher(str(tmp_path / "model.pt")).hidden_states(batch)[4], wanted[4])


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod."])
def test_whisper_keeps_the_model_in_its_names(wrapper, tmp_path):
    model = tiny_whisper("WhisperForConditionalGeneration")
    folder = save(model, tmp_path)
    batch, _ = waves(8000)
    wanted = load_teacher(folder).hidden_states(batch)
    tensors = {wrapper + name: x for name, x in model.state_dict().items() if not name.startswith("proj_out")}
    write_tensors(tmp_path / "model.safetensors", {name: x.clone() for name, x in tensors.items()})
    assert torch.equal(load_teacher(folder).hidden_states(batch)[3], wanted[3])


def test_a_file_of_two_copies_is_refused():
    tensors = {"encoder.a": torch.ones(1), "module.encoder.a": torch.zeros(1)}
    with pytest.raises(SpeechpressError, match=r"both encoder\.a and module\.encoder\.a"):
        unwrapped(tensors, "a file")
    assert set(unwrapped({"model.encoder.a": 1}, "a file", held=False)) == {"model.encoder.a"}


def test_what_transformers_says_of_a_model_does_not_reach_a_person(tmp_path, caplog, capfd):
    """Its table of tensors that it misses or has no use for; ours is a note on those that are no head."""
    model = tiny("wavlm", head="WavLMForCTC")
    folder = save(model, tmp_path, do_normalize=False)
    tensors = {name: x for name, x in model.state_dict().items() if "masked_spec_embed" not in name}
    write_tensors(tmp_path / "model.safetensors", tensors | {"wavlm.encoder.extra.weight": torch.ones(1)})
    capfd.readouterr()
    caplog.set_level(logging.INFO)
    card = load_teacher(folder).card
    assert not caplog.records and capfd.readouterr() == ("", "")
    assert card.notes[0].startswith("1 tensors have no place in it") and "extra" in card.notes[0]


def test_code_in_a_folder_is_never_run(tmp_path):
    """Nor is anybody asked, as transformers does on a terminal."""
    w2v_bert(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    values = {name: value for name, value in json.loads(path.read_text()).items() if name != "feature_extractor_type"}
    path.write_text(json.dumps(values | {"auto_map": {"AutoFeatureExtractor": "mine.Mine"}}))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    with pytest.raises(SpeechpressError, match="code in the folder, which is never run"):
        load_teacher(str(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("wavlm", {}),
        ("wav2vec2", {"adapter_attn_dim": 4}),
        ("wav2vec2-conformer", {}),
        ("data2vec-audio", DATA2VEC),
        ("hubert", {"conv_pos_batch_norm": True}),
    ],
)
def test_what_our_encoder_does_not_compute_exactly_is_not_exported_as_if_it_did(family, changes, tmp_path):
    folder = save(tiny(family, **changes), tmp_path / "it", do_normalize=False)
    assert load_teacher(folder).card.encoder is not None
    with pytest.raises(SpeechpressError, match="computes otherwise than HuBERT"):
        open_source(folder)
    hubert = open_source(save(tiny("hubert"), tmp_path / "hubert", do_normalize=False)).encoder
    batch, _ = waves(8000)
    wanted = load_teacher(str(tmp_path / "hubert")).hidden_states(batch)[3]
    assert torch.equal(hubert.hidden_states(batch)[3], wanted)


@pytest.mark.parametrize("style", ["base", "large"])
def test_a_batch_norm_before_the_position_convolution_is_computed_as_transformers_does(style, tmp_path):
    """mHuBERT-147."""
    model = tiny("hubert", style, conv_pos_batch_norm=True)
    norm, generator = model.encoder.pos_conv_embed.batch_norm, torch.Generator().manual_seed(3)
    norm.running_mean.copy_(torch.randn(48, generator=generator))
    norm.running_var.copy_(torch.rand(48, generator=generator) + 0.5)
    save(model, tmp_path, do_normalize=False)
    teacher = load_teacher(str(tmp_path))
    wave = waves(8000)[0]
    with torch.no_grad():
        wanted = model(wave, output_hidden_states=True).hidden_states
    given = teacher.train().hidden_states(wave)  # training would renew the statistics
    assert all(torch.allclose(given[layer], wanted[layer], atol=1e-5) for layer in range(len(wanted)))
    start = teacher.hubert_weights()
    assert teacher.card.encoder is not None and "encoder.layers.0.attention.q_proj.weight" in start
    assert not [name for name in start if "pos_conv" in name and "weight" in name]
    assert "position convolution of its own" in " ".join(teacher.card.notes)
