import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from tiny_models import save, shake, tiny, tiny_whisper, waves
from transformers import HubertModel

from speechpress.compressor.models.checkpoint import save_encoder, sha256
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.teachers.backbones import build
from speechpress.compressor.teachers.fairseq import read_checkpoint
from speechpress.compressor.teachers.load import Teacher, load_teacher
from speechpress.runtime.errors import SpeechpressError

DATA = Path(__file__).parents[1] / "fixtures"
TOLERANCE = 2e-5

FAMILIES = [
    pytest.param(family, style, id=f"{family}-{style}")
    for family in ("hubert", "wav2vec2", "wavlm", "unispeech-sat")
    for style in ("base", "large")
]
DATA2VEC = {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19, "feat_extract_norm": "layer"}
FAMILIES.append(pytest.param("data2vec-audio", "base", id="data2vec-audio"))


def family_model(family, style, **changes):
    return tiny(family, style, **(DATA2VEC if family == "data2vec-audio" else {}), **changes)


@torch.no_grad()
def layers_by_transformers(model, batch, mask=None):
    """The layers' states as transformers' own modules compute them: layer inputs and outputs, no final norm."""
    seen = {}

    def keep(k):
        def hook(module, args, output):
            seen[k] = output[0] if isinstance(output, tuple) else output

        return hook

    layers = model.encoder.layers
    handles = [layer.register_forward_hook(keep(k + 1)) for k, layer in enumerate(layers)]
    handles.append(layers[0].register_forward_pre_hook(lambda module, args: seen.__setitem__(0, args[0].clone())))
    states = model(batch, attention_mask=mask, output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    for k in range(len(layers)):
        assert torch.equal(seen[k], states[k])
    return seen


@pytest.mark.parametrize(("family", "style"), FAMILIES)
def test_every_layer_of_a_folder_equals_transformers(family, style, tmp_path):
    model = family_model(family, style)
    teacher = load_teacher(save(model, tmp_path, do_normalize=False))
    batch, lengths = waves(16000, 11000)
    theirs = layers_by_transformers(model, batch)
    ours = teacher.hidden_states(batch)
    assert sorted(ours) == [0, 1, 2, 3]
    for k, state in ours.items():
        assert (state - theirs[k]).abs().max() < TOLERANCE, k

    mask = (torch.arange(16000) < lengths[:, None]).long()
    theirs = layers_by_transformers(model, batch, mask)
    ours = teacher.hidden_states(batch, lengths)
    for row, frames in enumerate(teacher.frames(lengths).tolist()):
        for k in ours:
            assert (ours[k][row, :frames] - theirs[k][row, :frames]).abs().max() < TOLERANCE, (row, k)


@pytest.mark.parametrize(("family", "style"), FAMILIES)
def test_the_card_says_what_was_loaded(family, style, tmp_path):
    model = family_model(family, style)
    card = load_teacher(save(model, tmp_path, do_normalize=True)).card
    assert (card.source, card.format, card.family) == (str(tmp_path), "transformers", family)
    assert (card.depth, card.width, card.hop_samples) == (3, 48, 320)
    assert card.normalize_input and card.encoder.input_norm == "utterance" and not card.supervised
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert card.sha256 == sha256(tmp_path / "model.safetensors")
    assert card.encoder.conv_channels == (32,) * 7 and card.encoder.pre_norm == (style == "large")
    json.dumps(card.to_dict())


@pytest.mark.parametrize(
    "name", ["fairseq_hubert_base", "fairseq_hubert_large", "fairseq_w2v2_base", "fairseq_data2vec"]
)
def test_every_layer_equals_fairseq(name):
    reference = {key: torch.from_numpy(value) for key, value in np.load(DATA / f"{name}.reference.npz").items()}
    # The references were computed by the bare model, without the task's normalisation of the input.
    backbone, *_ = build(dataclasses.replace(read_checkpoint(DATA / f"{name}.pt"), normalize_input=False))
    teacher = Teacher(load_teacher(str(DATA / f"{name}.pt")).card, backbone)
    for prefix, batch, lengths in (("a", "x", None), ("b", "x2", torch.tensor([16000, 11000]))):
        ours = teacher.hidden_states(reference[batch], lengths)
        ends = [49, 49] if lengths is None else teacher.frames(lengths).tolist()
        for row, frames in enumerate(ends):
            first = reference[f"{prefix}_in0"][row, :frames]
            assert (ours[0][row, :frames] - first).abs().max() < TOLERANCE
            for k in range(1, 5):
                theirs = reference[f"{prefix}_res{k - 1}"][row, :frames]
                assert (ours[k][row, :frames] - theirs).abs().max() < TOLERANCE, (prefix, row, k)


def test_every_layer_equals_unilm():
    reference = np.load(DATA / "unilm_wavlm_base.reference.npz")
    ours = load_teacher(str(DATA / "unilm_wavlm_base.pt")).hidden_states(torch.from_numpy(reference["x"]))
    for k in range(5):
        assert (ours[k] - torch.from_numpy(reference[f"res{k}"])).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    ("name", "form", "family", "normalize"),
    [
        ("fairseq_hubert_base", "fairseq", "hubert", False),
        ("fairseq_hubert_large", "fairseq", "hubert", True),
        ("fairseq_w2v2_base", "fairseq", "wav2vec2", False),
        ("fairseq_data2vec", "fairseq", "data2vec-audio", True),
        ("unilm_wavlm_base", "unilm", "wavlm", False),
    ],
)
def test_cards_of_foreign_files(name, form, family, normalize):
    card = load_teacher(str(DATA / f"{name}.pt")).card
    assert (card.format, card.family, card.normalize_input) == (form, family, normalize)
    assert (card.depth, card.width) == (4, 48)


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_do_normalize_is_applied_inside(family, tmp_path):
    model = family_model(family, "large")
    plain, normal = save(model, tmp_path / "plain", do_normalize=False), save(model, tmp_path / "n", do_normalize=True)
    batch, lengths = waves(16000, 9000)
    batch = batch * 3 + 0.2
    batch[1, 9000:] = 0
    scaled = torch.zeros_like(batch)
    for row, end in enumerate(lengths.tolist()):
        scaled[row, :end] = F.layer_norm(batch[row, :end], (end,), eps=1e-7)
    theirs = load_teacher(plain).hidden_states(scaled, lengths)
    ours = load_teacher(normal).hidden_states(batch, lengths)
    for k in ours:
        assert (ours[k][0] - theirs[k][0]).abs().max() < TOLERANCE
        assert (ours[k][1, :27] - theirs[k][1, :27]).abs().max() < TOLERANCE


def test_a_folder_without_preprocessor_config_takes_the_waveform_as_it_is_and_says_so(tmp_path):
    card = load_teacher(save(tiny("hubert"), tmp_path)).card
    assert not card.normalize_input and "preprocessor_config.json" in card.notes[0]


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_only_the_wanted_layers_are_computed(family, tmp_path):
    teacher = load_teacher(save(tiny(family), tmp_path, do_normalize=False))
    ran = []
    for k, layer in enumerate(teacher.backbone.layers):
        layer.register_forward_hook(lambda m, a, o, k=k: ran.append(k + 1))
    batch, _ = waves(8000)
    everything = teacher.hidden_states(batch)
    for wanted, expected in (([0], []), ([2], [1, 2]), ([0, 1], [1]), ([3, 1], [1, 2, 3])):
        ran.clear()
        states = teacher.hidden_states(batch, layers=wanted)
        assert sorted(states) == sorted(wanted)
        # The hook that ends the forward pass comes before this test's own.
        assert [k for k in ran if k not in wanted or k != max(wanted)] == [k for k in expected if k != max(wanted)]
        assert all(torch.equal(states[k], everything[k]) for k in wanted)
    assert not any(layer._forward_pre_hooks for layer in teacher.backbone.layers)


def test_a_teacher_never_trains(tmp_path):
    teacher = load_teacher(save(tiny("hubert", hidden_dropout=0.5), tmp_path, do_normalize=False)).train()
    batch, _ = waves(8000)
    first, second = (teacher.hidden_states(batch)[3] for _ in range(2))
    assert torch.equal(first, second) and not first.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_layer_that_the_teacher_lacks_is_an_error(tmp_path):
    teacher = load_teacher(save(tiny("hubert"), tmp_path, do_normalize=False))
    with pytest.raises(SpeechpressError, match=r"has 3 layers .* 0 to 3"):
        teacher.hidden_states(torch.zeros(1, 8000), layers=[4])


@pytest.mark.parametrize(
    "name", ["fairseq_hubert_base", "fairseq_w2v2_base", "fairseq_data2vec", "unilm_wavlm_base", "fairseq_hubert_large"]
)
def test_a_student_can_start_from_the_teacher(name):
    teacher = load_teacher(str(DATA / f"{name}.pt"))
    weights = teacher.hubert_weights()
    student = Encoder(teacher.card.encoder.with_layers(2))
    missing, unexpected = student.load_state_dict(
        {key: value for key, value in weights.items() if not key.startswith(("encoder.layers.2", "encoder.layers.3"))},
        strict=False,
    )
    assert not unexpected
    assert all("pos_conv_embed" in key for key in missing) and bool(missing) == ("data2vec" in name)
    if "hubert" in name or "w2v2" in name:
        batch, _ = waves(8000)
        states = student.eval().hidden_states(batch)
        for k in range(3):
            assert torch.equal(states[k], teacher.hidden_states(batch)[k])
    else:
        assert any("student" in note for note in teacher.card.notes)


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("hubert", "HubertForCTC"),
        ("wav2vec2", "Wav2Vec2ForPreTraining"),
        ("wav2vec2", "Wav2Vec2ForCTC"),
        ("wavlm", "WavLMForCTC"),
        ("wavlm", "WavLMForXVector"),
    ],
)
def test_models_with_a_head_are_read_without_it(family, head, tmp_path):
    model = tiny(family, head=head)
    teacher = load_teacher(save(model, tmp_path, do_normalize=False))
    batch, _ = waves(8000)
    theirs = layers_by_transformers(getattr(model, model.base_model_prefix), batch)
    assert (teacher.hidden_states(batch)[3] - theirs[3]).abs().max() < TOLERANCE
    assert teacher.card.supervised == ("PreTraining" not in head)


@pytest.mark.parametrize("old_names", [False, True], ids=["today's names", "weight_g"])
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_a_pytorch_model_bin_is_read_safely(family, old_names, tmp_path):
    model = tiny(family)
    save(model, tmp_path, do_normalize=False)
    tensors = model.state_dict()
    if old_names:
        renames = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, old in renames.items():
            tensors[f"encoder.pos_conv_embed.conv.{old}"] = tensors.pop(f"encoder.pos_conv_embed.conv.{new}")
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    batch, _ = waves(8000)
    ours = load_teacher(str(tmp_path)).hidden_states(batch)
    assert (ours[3] - layers_by_transformers(model, batch)[3]).abs().max() < TOLERANCE
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02cos\nsystem\nU\x04trueR.")
    with pytest.raises(SpeechpressError, match=r"os\.system"):
        load_teacher(str(tmp_path))


def test_weights_in_several_files_are_put_together(tmp_path):
    model = tiny("hubert")
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert not (tmp_path / "model.safetensors").exists()
    batch, _ = waves(8000)
    teacher = load_teacher(str(tmp_path))
    assert (teacher.hidden_states(batch)[3] - layers_by_transformers(model, batch)[3]).abs().max() < TOLERANCE
    assert len(teacher.card.sha256) == 64


def test_a_conformer_gives_its_front_end_to_a_student_and_no_layers(tmp_path):
    model = tiny("wav2vec2-conformer", hidden_act="swish")
    teacher = load_teacher(save(model, tmp_path, do_normalize=True))
    batch, _ = waves(8000)
    scaled = F.layer_norm(batch, batch.shape[-1:], eps=1e-7)
    states = model(scaled, output_hidden_states=True).hidden_states
    ours = teacher.hidden_states(batch)
    for k in range(3):
        assert (ours[k] - states[k]).abs().max() < TOLERANCE
    card = teacher.card
    assert (card.depth, card.width, card.hop_samples, card.encoder.width) == (3, 48, 320, 48)
    assert card.normalize_input and "layers of its own" in card.notes[-1]
    given = teacher.hubert_weights()
    assert {name.partition(".")[0] for name in given} == {
        "feature_extractor",
        "feature_projection",
        "masked_spec_embed",
    }
    student = Encoder(card.encoder).eval()
    student.load_state_dict(given, strict=False)
    assert torch.equal(student.feature_extractor(scaled), model.feature_extractor(scaled).transpose(1, 2))


def test_an_encoder_of_a_family_without_a_table_entry_is_found_by_its_structure(tmp_path):
    """SEW runs its layers at half the rate of its convolutions."""
    model = tiny("sew", squeeze_factor=2)
    teacher = load_teacher(save(model, tmp_path, do_normalize=False))
    batch, _ = waves(16000)
    states = model(batch, output_hidden_states=True).hidden_states
    ours = teacher.hidden_states(batch)
    for k in range(3):
        assert ours[k].shape == (1, 24, 48)
    assert (teacher.card.depth, teacher.card.hop_samples, teacher.card.encoder) == (3, 640, None)
    assert teacher.frames(16000) == 24 and teacher.hubert_weights() == {}
    assert len(states) == 4


def test_an_encoder_behind_its_own_feature_extractor(tmp_path):
    config = transformers.Wav2Vec2BertConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, vocab_size=8
    )
    model = shake(transformers.Wav2Vec2BertModel(config))
    extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, sampling_rate=16000)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    teacher = load_teacher(str(tmp_path))
    batch, lengths = waves(16000, 11000)
    inputs = extractor([batch[0].numpy(), batch[1, :11000].numpy()], sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
    ours = teacher.hidden_states(batch, lengths)
    assert (ours[3] - states[3]).abs().max() < TOLERANCE
    assert teacher.card.hop_samples == 320


def test_an_encoder_whose_layers_are_no_frames_is_refused(tmp_path):
    config = transformers.ASTConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, max_length=128
    )
    transformers.ASTModel(config).save_pretrained(tmp_path)
    transformers.ASTFeatureExtractor(max_length=128).save_pretrained(tmp_path)
    with pytest.raises(SpeechpressError, match="no frames over time"):
        load_teacher(str(tmp_path))
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(SpeechpressError, match="cannot be run on a waveform"):
        load_teacher(str(tmp_path))


def test_a_checkpoint_of_this_project_is_a_teacher(tmp_path):
    config = EncoderConfig(
        conv_channels=(32,) * 7, width=48, head_dim=12, num_heads=(4, 1), ffn_widths=(96, 8), pos_conv_groups=4
    )
    encoder = shake(Encoder(config))
    save_encoder(tmp_path, encoder)
    (tmp_path / "card.json").write_text(json.dumps({"supervised": True}))
    teacher = load_teacher(str(tmp_path))
    batch, lengths = waves(8000, 5000)
    ours, theirs = teacher.hidden_states(batch, lengths), encoder.hidden_states(batch, lengths)
    assert all(torch.equal(ours[k], theirs[k]) for k in range(3))
    assert (teacher.card.format, teacher.card.encoder, teacher.card.supervised) == ("speechpress", config, True)
    assert set(teacher.hubert_weights()) == set(encoder.state_dict())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (lambda folder: (folder / "config.json").write_text("{}"), "model_type"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x10\x00"), "model.safetensors"),
        (lambda folder: edit(folder, hidden_size=64), "do not fit"),
        (lambda folder: edit(folder, num_hidden_layers=4), "do not fit"),
        (lambda folder: edit(folder, model_type="no-such-model"), "no-such-model"),
    ],
    ids=["no config", "bad json", "no type", "no weights", "truncated", "width", "depth", "family"],
)
def test_a_damaged_folder_is_an_error_that_names_the_file(change, said, tmp_path):
    HubertModel(tiny("hubert").config).save_pretrained(tmp_path)
    change(tmp_path)
    with pytest.raises(SpeechpressError, match=said) as error:
        load_teacher(str(tmp_path))
    assert str(tmp_path) in str(error.value)


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_weights_without_their_folder_are_refused(tmp_path):
    save(tiny("hubert"), tmp_path)
    with pytest.raises(SpeechpressError, match="give its folder"):
        load_teacher(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("family", ["hubert", "wavlm", "data2vec-audio"])
@torch.no_grad()
def test_hidden_frames_are_those_of_transformers(family, tmp_path):
    model = family_model(family, "base", mask_time_prob=0.05)
    batch, _ = waves(8000, 8000)
    teacher = load_teacher(save(model, tmp_path, do_normalize=False))
    assert teacher.can_mask
    masked = torch.rand(2, int(teacher.frames(8000)), generator=torch.Generator().manual_seed(0)) > 0.5
    theirs = model(batch, mask_time_indices=masked, output_hidden_states=True).hidden_states
    ours = teacher.hidden_states(batch, masked=masked)
    for k in range(3):
        assert (ours[k] - theirs[k]).abs().max() < TOLERANCE, k
    assert not torch.allclose(ours[1], teacher.hidden_states(batch)[1], atol=1e-3)


@torch.no_grad()
def test_frames_cannot_be_hidden_where_there_is_no_mask_vector(tmp_path):
    batch, _ = waves(8000)
    whisper = load_teacher(save(tiny_whisper(), tmp_path / "whisper"))
    unmasked = load_teacher(save(tiny("wavlm", mask_time_prob=0.0), tmp_path / "wavlm", do_normalize=False))
    for teacher in (whisper, unmasked):
        assert not teacher.can_mask
        with pytest.raises(SpeechpressError, match="no mask vector"):
            teacher.hidden_states(batch, masked=torch.zeros(1, 25, dtype=torch.bool))


@torch.no_grad()
def test_a_student_that_shares_layers_is_a_teacher_too(tiny_config, tmp_path):
    config = dataclasses.replace(tiny_config, distinct_layers=2, reuse_attention=(False, True) * 2, time_reduction=2)
    encoder = shake(Encoder(config))
    save_encoder(tmp_path, encoder)
    teacher = load_teacher(str(tmp_path))
    assert (teacher.card.depth, teacher.card.hop_samples) == (4, 640)
    batch, _ = waves(8000)
    wanted = encoder.hidden_states(batch)
    assert all(torch.equal(state, wanted[k]) for k, state in teacher.hidden_states(batch, layers=[0, 1, 4]).items())
