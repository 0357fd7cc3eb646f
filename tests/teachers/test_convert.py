import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_models import save, shake, tiny, waves
from transformers import HubertModel

from speechpress.compressor.models.checkpoint import load_encoder, save_encoder
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.teachers.convert import convert
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

DATA = Path(__file__).parents[1] / "fixtures"
DISTIL = EncoderConfig(
    conv_channels=(32,) * 7, width=48, head_dim=12, num_heads=(4, 4), ffn_widths=(96, 96), projection_norm=False
)
LARGE = dataclasses.replace(
    DISTIL, projection_norm=True, pre_norm=True, conv_norm="layer", conv_bias=True, input_norm="utterance"
)


def student(folder, config):
    encoder = shake(Encoder(config))
    save_encoder(folder, encoder)
    return encoder, str(folder)


@pytest.mark.parametrize(
    "changes", [{}, {"pre_norm": True}, {"conv_norm": "layer"}], ids=["base", "pre-norm", "layer-norm"]
)
def test_a_distiller_file_comes_back_bit_equal(changes, tmp_path):
    encoder, folder = student(tmp_path / "run", dataclasses.replace(DISTIL, **changes))
    done = convert(folder, tmp_path / "student.ckpt", "s3prl")
    assert (done.format, done.out) == ("s3prl", tmp_path / "student.ckpt") and "distiller_local" in done.open_with
    teacher = load_teacher(str(done.out))
    assert teacher.card.encoder == encoder.config and teacher.card.format == "s3prl"
    batch, lengths = waves(16000, 11000)
    theirs = encoder.hidden_states(batch, lengths)
    assert all(torch.equal(state, theirs[k]) for k, state in teacher.hidden_states(batch, lengths).items())


def test_a_distiller_file_has_what_s3prl_looks_for(tmp_path):
    """s3prl reads Config['distiller'] and loads Distiller strictly; names and settings as its builder wants them."""
    _, folder = student(tmp_path / "run", DISTIL)
    state = torch.load(convert(folder, tmp_path / "student.ckpt").out, weights_only=True)
    config = state["Config"]["distiller"]
    assert config["task_emb_type"] == config["out_layer_type"] == "self-hidden"
    assert config["n_tasks"] == len(config["pred_layer_id"]) == config["encoder_layers"] + 1 == 3
    assert config["extractor_conv_feature_layers"].startswith("[(32, 10, 5), (32, 3, 2)")
    layer = [
        f"{name}.{kind}"
        for name in ("fc1", "fc2", "final_layer_norm", "self_attn_layer_norm")
        for kind in ("weight", "bias")
    ]
    layer += [f"self_attn.{name}_proj.{kind}" for name in ("q", "k", "v", "out") for kind in ("weight", "bias")]
    expected = {f"encoder.layers.{k}.{name}" for k in range(2) for name in layer}
    expected |= {f"feature_extractor.conv_layers.{k}.0.weight" for k in range(7)}
    expected |= {f"feature_extractor.conv_layers.0.2.{kind}" for kind in ("weight", "bias")}
    expected |= {f"encoder.pos_conv.0.{kind}" for kind in ("bias", "weight_g", "weight_v")}
    expected |= {
        f"{name}.{kind}" for name in ("post_extract_proj", "encoder.layer_norm") for kind in ("weight", "bias")
    }
    assert set(state["Distiller"]) == expected
    assert state["Distiller"]["encoder.pos_conv.0.weight_g"].shape == (1, 1, 128)


@pytest.mark.parametrize("config", [dataclasses.replace(DISTIL, projection_norm=True), LARGE], ids=["base", "large"])
def test_an_s3prl_hubert_file_comes_back_bit_equal(config, tmp_path):
    encoder, folder = student(tmp_path / "run", config)
    done = convert(folder, tmp_path / "student.pt", "s3prl-hubert")
    assert "hubert_custom" in done.open_with
    teacher = load_teacher(str(done.out))
    assert teacher.card.encoder == encoder.config
    batch, lengths = waves(16000, 11000)
    theirs = encoder.hidden_states(batch, lengths)
    assert all(torch.equal(state, theirs[k]) for k, state in teacher.hidden_states(batch, lengths).items())


def test_a_fairseq_file_becomes_a_folder_that_transformers_opens(tmp_path):
    done = convert(str(DATA / "fairseq_hubert_large.pt"), tmp_path / "folder", "transformers")
    model, report = HubertModel.from_pretrained(done.out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    batch, _ = waves(8000)
    encoder = load_encoder(done.out)
    assert encoder.config.input_norm == "utterance"
    scaled = torch.nn.functional.layer_norm(batch, batch.shape[-1:])
    with torch.no_grad():
        assert (model.eval()(scaled).last_hidden_state - encoder(batch)).abs().max() < 2e-5


@pytest.mark.parametrize(
    ("config", "format", "said"),
    [
        (dataclasses.replace(DISTIL, projection_norm=True), "s3prl", "LayerNorm before the projection"),
        (dataclasses.replace(DISTIL, conv_bias=True), "s3prl", "biases"),
        (dataclasses.replace(DISTIL, input_norm="utterance"), "s3prl", "normalised waveform"),
        (dataclasses.replace(DISTIL, width=32, head_dim=8), "s3prl", "as wide as its layers"),
        (dataclasses.replace(DISTIL, ffn_widths=(96, 8)), "s3prl", "different sizes"),
        (dataclasses.replace(DISTIL, num_heads=(2, 2)), "s3prl", "do not fill its width"),
        (dataclasses.replace(DISTIL, layer_norm_eps=1e-6), "s3prl", "epsilon"),
        (DISTIL, "s3prl-hubert", "no LayerNorm before the projection"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_the_reason_and_nothing_is_written(config, format, said, tmp_path):
    _, folder = student(tmp_path / "run", config)
    with pytest.raises(SpeechpressError, match=said):
        convert(folder, tmp_path / "out", format)
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_and_bad_requests_are_errors(tmp_path):
    _, folder = student(tmp_path / "run", DISTIL)
    convert(folder, tmp_path / "student.ckpt")
    for out, format, said in (
        (tmp_path / "student.ckpt", "s3prl", "already exists"),
        (tmp_path / "run", "transformers", "already exists"),
        (tmp_path / "x", "onnx", "known are transformers, s3prl"),
    ):
        with pytest.raises(SpeechpressError, match=said):
            convert(folder, out, format)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpeechpressError, match="one file"):
        convert(folder, tmp_path / "empty", "s3prl")
    with pytest.raises(SpeechpressError, match="only HuBERT-like"):
        convert(save(tiny("wavlm"), tmp_path / "wavlm"), tmp_path / "y", "s3prl")


@pytest.mark.parametrize("changes", [{}, {"pre_norm": True}], ids=["base", "pre"])
def test_s3prl_itself_opens_the_distiller_file(changes, tmp_path):
    """Runs where s3prl is installed (pip install --no-deps s3prl), which is no dependency of ours."""
    expert = pytest.importorskip("s3prl.upstream.distiller.expert")
    encoder, folder = student(tmp_path / "run", dataclasses.replace(DISTIL, **changes))
    model = expert.UpstreamExpert(str(convert(folder, tmp_path / "student.ckpt").out)).eval()
    batch, lengths = waves(16000, 11000)
    with torch.no_grad():
        states = model([batch[0], batch[1, :11000]])["hidden_states"]
    theirs = encoder.hidden_states(batch, lengths)
    frames = int(encoder.config.frames(11000))
    for k in (1, 2):
        assert (states[k][0] - theirs[k][0]).abs().max() < 2e-5
        assert (states[k][1, :frames] - theirs[k][1, :frames]).abs().max() < 2e-5


@pytest.mark.parametrize("form", ["s3prl", "s3prl-hubert"])
def test_a_streaming_student_has_no_counterpart_elsewhere(tmp_path, form):
    streaming = dataclasses.replace(DISTIL, conv_norm="static", pos_conv_future=0, left_context=8)
    save_encoder(tmp_path / "student", Encoder(streaming))
    with pytest.raises(SpeechpressError, match=r"streams \(conv_norm static.*--to transformers or compress export"):
        convert(str(tmp_path / "student"), tmp_path / "out", form)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [{"time_reduction": 2}, {"reuse_attention": (False, True)}, {"distinct_layers": 1}],
    ids=["time reduction", "reused attention", "shared layers"],
)
@pytest.mark.parametrize("form", ["s3prl", "s3prl-hubert"])
def test_what_no_other_toolkit_has_is_refused(changes, form, tmp_path):
    _, folder = student(tmp_path / "run", dataclasses.replace(DISTIL, **changes))
    name = next(iter(changes))
    with pytest.raises(SpeechpressError, match=rf"has {name}.*{form} has no counterpart.*--to transformers"):
        convert(folder, tmp_path / "out.ckpt", form)
    assert not (tmp_path / "out.ckpt").exists()


def test_a_student_without_a_projection_is_what_s3prl_expects(tmp_path):
    config = dataclasses.replace(DISTIL, conv_channels=(32,) * 6 + (48,), projection=False)
    _, folder = student(tmp_path / "run", config)
    state = torch.load(convert(folder, tmp_path / "student.ckpt").out, weights_only=True)
    assert not any("post_extract_proj" in name for name in state["Distiller"])
    assert "projection false" in convert(folder, tmp_path / "folder", "transformers").notes[0]


@pytest.mark.parametrize(
    ("changes", "out", "format", "notes"),
    [
        ({}, "x.ckpt", "s3prl", ["is taken before the position convolution"]),
        ({"projection_norm": True}, "x.ckpt", "s3prl-hubert", ["not an s3prl Distiller file: it has a LayerNorm"]),
        ({"ffn_widths": (96, 8)}, "x", "transformers", ["layers of different sizes", "Distiller", "s3prl HuBERT file"]),
        (
            {"conv_norm": "static", "pos_conv_future": 0, "left_context": 8},
            "x",
            "transformers",
            ["streaming encoder", "Distiller file: it streams", "HuBERT file: it streams"],
        ),
        ({"width": 32, "head_dim": 8, "conv_bias": True}, "x", "transformers", ["biases", "as wide as its layers"]),
    ],
    ids=["distiller", "hubert", "pruned", "streaming", "base of starter"],
)
def test_without_a_format_the_first_that_can_hold_it_is_taken_and_that_is_said(changes, out, format, notes, tmp_path):
    encoder, folder = student(tmp_path / "run", dataclasses.replace(DISTIL, **changes))
    done = convert(folder, tmp_path / "x.ckpt")
    assert (done.format, done.out) == (format, tmp_path / out) and done.out.exists()
    assert len(done.notes) == len(notes) and all(a in b for a, b in zip(notes, done.notes, strict=True)), done.notes
    again = load_teacher(str(done.out)).hidden_states(waves(16_000)[0])
    assert all(torch.equal(again[k], state) for k, state in enumerate(encoder.hidden_states(waves(16_000)[0])))


def test_a_folder_that_stands_where_it_would_be_written_is_left_alone(tmp_path):
    _, folder = student(tmp_path / "run", dataclasses.replace(DISTIL, ffn_widths=(96, 8)))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.txt").write_text("kept")
    with pytest.raises(SpeechpressError, match="already exists"):
        convert(folder, tmp_path / "x.ckpt")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["mine.txt"]
