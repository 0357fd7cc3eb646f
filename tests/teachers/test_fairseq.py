import argparse
import copy
from pathlib import Path

import pytest
import torch
from tiny_models import waves

from speechpress.compressor.teachers.fairseq import read_checkpoint
from speechpress.compressor.teachers.load import load_teacher
from speechpress.compressor.teachers.pickles import read_foreign
from speechpress.runtime.errors import SpeechpressError

DATA = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def hubert():
    return read_foreign(DATA / "fairseq_hubert_base.pt")


def changed(state, tmp_path, edit):
    state = {"cfg": copy.deepcopy(state["cfg"]), "model": dict(state["model"])}
    edit(state)
    path = tmp_path / "model.pt"
    torch.save(state, path)
    return path


def test_a_checkpoint_of_fairseq_0_10_is_read_from_its_namespace(hubert, tmp_path):
    path = tmp_path / "old.pt"
    for normalize in (False, True):
        args = argparse.Namespace(**{**hubert["cfg"]["model"], "arch": "hubert", "normalize": normalize})
        del args._name
        torch.save({"args": args, "model": hubert["model"]}, path)
        old = load_teacher(str(path))
        assert (old.card.family, old.card.normalize_input) == ("hubert", normalize)
    batch, _ = waves(8000)
    new = load_teacher(str(DATA / "fairseq_hubert_base.pt"))
    old.backbone.model.config = new.backbone.model.config
    assert torch.equal(old.hidden_states(batch)[4], new.hidden_states(batch)[4])


def test_a_front_end_as_wide_as_the_encoder_has_an_identity_projection(tmp_path, hubert):
    def edit(state):
        state["cfg"]["model"]["conv_feature_layers"] = "[(32,10,5)]+[(32,3,2)]*4+[(32,2,2)]+[(48,2,2)]"
        state["model"]["feature_extractor.conv_layers.6.0.weight"] = torch.randn(48, 32, 2) * 0.1
        for name in ("weight", "bias"):
            del state["model"][f"post_extract_proj.{name}"]
            state["model"][f"layer_norm.{name}"] = torch.randn(48)

    teacher = load_teacher(str(changed(hubert, tmp_path, edit)))
    batch, _ = waves(8000)
    encoder = teacher.backbone.model
    features = encoder.feature_extractor(batch)
    normed = encoder.feature_projection.layer_norm(features)
    assert torch.allclose(encoder.feature_projection(features), normed, atol=1e-6)


def test_half_precision_weights_become_single(tmp_path, hubert):
    path = changed(hubert, tmp_path, lambda state: state.update(model={k: v.half() for k, v in state["model"].items()}))
    teacher = load_teacher(str(path))
    assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float32}


def set_model(**values):
    return lambda state: state["cfg"]["model"].update(values)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (set_model(_name="wav2vec_ctc", w2v_args={}), "fine-tuned for recognition"),
        (set_model(_name="hubert_ctc"), "fine-tuned for recognition"),
        (lambda state: state["model"].update({"w2v_encoder.proj.weight": torch.ones(1)}), "fine-tuned for recognition"),
        (set_model(layer_type="conformer"), "conformer"),
        (set_model(_name="multires_hubert"), "multires_hubert"),
        (set_model(_name="data2vec_multi"), "data2vec_multi.*known are hubert"),
        (set_model(activation_fn="relu"), "activation_fn='relu'"),
        (set_model(pos_conv_depth=5), "pos_conv_depth=5"),
        (set_model(conv_pos_batch_norm=True), "conv_pos_batch_norm"),
        (set_model(extractor_mode="batch"), "batch"),
        (set_model(encoder_layers=3), "says 3 layers, the file has tensors of 4"),
        (set_model(encoder_layers=10**9), "cfg.model: encoder_layers is 1000000000, but must be"),
        (set_model(encoder_embed_dim=64), r"encoder_embed_dim is 64, but encoder.layer_norm.weight is .48."),
        (set_model(conv_feature_layers="__import__('os').system('true')"), "conv_feature_layers"),
        (lambda state: state["cfg"]["model"].pop("encoder_embed_dim"), "encoder_embed_dim"),
        (lambda state: state["model"].update({"encoder.adapter.weight": torch.ones(1)}), r"encoder\.adapter\.weight"),
        (lambda state: state["model"].pop("encoder.layers.1.fc1.bias"), "intermediate_dense"),
        (lambda state: state.pop("cfg"), "no config"),
        (lambda state: state.pop("model"), "unknown layout"),
    ],
)
def test_a_file_that_would_be_computed_wrongly_is_refused_with_the_reason(hubert, edit, said, tmp_path):
    path = changed(hubert, tmp_path, edit)
    with pytest.raises(SpeechpressError, match=said) as error:
        load_teacher(str(path))
    assert str(path) in str(error.value)


def test_a_wavlm_without_its_relative_positions_is_refused(tmp_path):
    state = read_foreign(DATA / "unilm_wavlm_base.pt")
    path = changed(state, tmp_path, lambda state: state["cfg"].update(gru_rel_pos=False))
    with pytest.raises(SpeechpressError, match="gru_rel_pos"):
        read_checkpoint(path)


def test_bare_tensors_are_refused_with_what_to_do(tmp_path, hubert):
    torch.save(dict(hubert["model"]), tmp_path / "model.pt")
    with pytest.raises(SpeechpressError, match=r"no config; give the folder"):
        read_checkpoint(tmp_path / "model.pt")


def distiller(**values):
    """A Distiller in the layout of s3prl's runner, DistilHuBERT's config in small, with two prediction heads."""
    config = {
        "extractor_conv_feature_layers": "[(32,10,5)] + [(32,3,2)] * 4 + [(32,2,2)] * 2",
        "encoder_layers": 1,
        "encoder_embed_dim": 48,
        "encoder_ffn_embed_dim": 96,
        "encoder_attention_heads": 4,
        "conv_pos": 128,
        "task_emb_type": "expand-last",
        "pred_layer_id": [4, 12],
        "n_tasks": 2,
    }
    source = read_foreign(DATA / "fairseq_hubert_base.pt")["model"]
    dropped = (
        "mask_emb",
        "final_proj",
        "label_embs",
        "layer_norm",
        "encoder.layers.1",
        "encoder.layers.2",
        "encoder.layers.3",
    )
    tensors = {key: tensor for key, tensor in source.items() if not key.startswith(dropped)}
    tensors |= {"output_layer.0.weight": torch.ones(96, 48), "output_layer.2.weight": torch.ones(2, 48, 48)}
    return {
        "Optimizer": {},
        "Step": 3,
        "Args": argparse.Namespace(config="x.yaml"),
        "Config": {"distiller": {**config, **values}},
        "Distiller": tensors,
    }


def test_a_distiller_is_read_without_its_heads(tmp_path):
    torch.save(distiller(), tmp_path / "distil.ckpt")
    teacher = load_teacher(str(tmp_path / "distil.ckpt"))
    assert (teacher.card.format, teacher.card.depth, teacher.card.encoder.projection_norm) == ("s3prl", 1, False)
    # Its tensors are those of the fairseq file without the norm before the projection.
    source = load_teacher(str(DATA / "fairseq_hubert_base.pt")).backbone.model
    batch, _ = waves(8000)
    with torch.no_grad():
        projected = source.feature_projection.projection(source.feature_extractor(batch))
        expected = source.encoder(projected, None, None)[:2]
    for k in (0, 1):
        assert torch.allclose(teacher.hidden_states(batch)[k], expected[k], atol=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [({"task_emb_type": "add"}, "task embeddings"), ({"attention_type": "sparse"}, "attention_type")],
)
def test_a_distiller_of_another_kind_is_refused(values, said, tmp_path):
    torch.save(distiller(**values), tmp_path / "distil.ckpt")
    with pytest.raises(SpeechpressError, match=said):
        load_teacher(str(tmp_path / "distil.ckpt"))
