from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import save, tiny, tiny_whisper, w2v_bert, waves

from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.teachers.backbones import KINDS, EncoderBackbone, WaveformBackbone
from speechpress.compressor.teachers.layer_states import conv_frames, find_layers
from speechpress.compressor.teachers.load import Teacher, check_states, load_teacher
from speechpress.compressor.teachers.weights import Weights
from speechpress.runtime.errors import SpeechpressError

DATA2VEC = {"conv_pos_kernel_size": 19, "feat_extract_norm": "layer"}
SMALL = {"num_hidden_layers": 1, "conv_dim": [8] * 7, "hidden_size": 16, "intermediate_size": 16}


def with_adapter(folder):
    """Its own count of frames is that behind the adapter, which halves the rate after the last layer."""
    return save(tiny("wav2vec2-conformer", add_adapter=True, num_adapter_layers=1, **SMALL), folder, do_normalize=False)


MAKERS = {
    "wav2vec2": lambda folder: save(tiny("wav2vec2", **SMALL), folder, do_normalize=True),
    "hubert-large": lambda folder: save(tiny("hubert", "large", **SMALL), folder, do_normalize=True),
    "wavlm": lambda folder: save(tiny("wavlm", **SMALL), folder, do_normalize=True),
    "unispeech-sat": lambda folder: save(tiny("unispeech-sat", **SMALL), folder, do_normalize=True),
    "data2vec": lambda folder: save(tiny("data2vec-audio", **DATA2VEC, **SMALL), folder, do_normalize=True),
    "conformer": with_adapter,
    "mms": lambda folder: save(tiny("wav2vec2", adapter_attn_dim=4, **SMALL), folder, do_normalize=True),
    "sew": lambda folder: save(tiny("sew", squeeze_factor=2, **SMALL), folder, do_normalize=False),
    "sew-d": lambda folder: save(tiny("sew-d", squeeze_factor=2, **SMALL), folder, do_normalize=False),
    "w2v-bert": w2v_bert,
    "whisper": lambda folder: save(tiny_whisper(), folder),
}


@pytest.fixture(scope="module", params=[*MAKERS, "own"])
def teacher(request, tmp_path_factory):
    if request.param == "own":
        config = request.getfixturevalue("tiny_config")
        reduced = replace(config, time_reduction=2, num_heads=(4,), ffn_widths=(8,))
        backbone = EncoderBackbone(Encoder(reduced))
        card = load_teacher(str(request.getfixturevalue("tiny_teacher"))).card
        return Teacher(replace(card, depth=1), backbone)
    folder = tmp_path_factory.mktemp(request.param)
    return load_teacher(MAKERS[request.param](folder))


@given(samples=st.integers(400, 50_000))
@example(samples=400)
@example(samples=560)
@example(samples=16_000)
@example(samples=16_160)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_frames_are_what_comes(teacher, samples):
    batch, _ = waves(samples)
    wanted = teacher.frames(samples)
    assert wanted == int(teacher.frames(torch.tensor([samples]))[0])
    if wanted == 0:  # some see more than 400 samples at once
        assert samples < teacher.min_samples <= 800
        with pytest.raises(SpeechpressError, match=f"{samples} samples"):
            teacher.hidden_states(batch)
        return
    assert samples >= teacher.min_samples
    states = teacher.hidden_states(batch, layers=[0, teacher.card.depth])
    assert {state.shape[1] for state in states.values()} == {wanted}


@pytest.mark.parametrize("samples", [0, 1, 9, 159, 160, 200, 399])
def test_too_short_for_a_frame_is_an_error_of_ours(teacher, samples):
    assert teacher.frames(samples) == 0
    with pytest.raises(SpeechpressError, match=f"given {samples} samples, but makes its first frame of"):
        teacher.hidden_states(torch.zeros(1, samples))
    with pytest.raises(SpeechpressError, match=f"given {samples} samples"):  # one row of a batch is enough
        teacher.hidden_states(torch.zeros(2, 8000), torch.tensor([8000, samples]))


@pytest.mark.parametrize(
    ("batch", "lengths", "said"),
    [
        (torch.zeros(8000), None, r"\(8000,\)"),
        (torch.zeros(1, 1, 8000), None, r"\(1, 1, 8000\)"),
        (torch.zeros(0, 8000), None, r"\(0, 8000\)"),
        (torch.zeros(1, 8000, dtype=torch.int16), None, "int16"),
        (torch.zeros(1, 8000), torch.tensor([8001]), "8001"),
        (torch.zeros(1, 8000), torch.tensor([8000, 8000]), "lengths"),
    ],
)
def test_input_of_another_form_is_an_error_of_ours(teacher, batch, lengths, said):
    with pytest.raises(SpeechpressError, match=said):
        teacher.hidden_states(batch, lengths)


@pytest.mark.parametrize("convs", [2, 3, 5])
def test_layers_are_not_position_convolutions_of_the_same_number(convs, tmp_path):
    model = tiny("data2vec-audio", num_conv_pos_embeddings=convs, num_hidden_layers=convs, **DATA2VEC)
    teacher = load_teacher(save(model, tmp_path, do_normalize=False))
    batch, _ = waves(16000)
    with torch.no_grad():
        states = model(batch, output_hidden_states=True).hidden_states
    ours = teacher.hidden_states(batch)
    for k in range(convs + 1):
        assert ours[k].shape == (1, 49, 48)
        assert (ours[k] - states[k]).abs().max() < 2e-5, k


def test_layers_are_not_those_of_an_adapter_of_the_same_number():
    for family in ("wav2vec2-conformer", "wav2vec2"):
        model = tiny(family, add_adapter=True, num_adapter_layers=3)
        assert list(find_layers(model)) == list(model.encoder.layers)


def test_a_model_without_such_layers_is_refused():
    model = tiny("data2vec-audio", num_conv_pos_embeddings=5, **DATA2VEC)
    model.config.num_hidden_layers = 5  # only the position convolutions are so many
    with pytest.raises(SpeechpressError, match="no list of its 5 Transformer layers"):
        find_layers(model)


def test_layers_of_another_shape_are_refused_before_anything_is_trained(tmp_path):
    """Whatever way they were found: here the position convolutions are given for the layers."""
    model = tiny("data2vec-audio", num_conv_pos_embeddings=3, **DATA2VEC)
    backbone = WaveformBackbone(model, Weights("transformers", "data2vec-audio", {}, {}))
    assert check_states(backbone, 48, "a model") == 48
    with pytest.raises(SpeechpressError, match=r"\(1, 24, 48\).*\(1, 24, 32\) was expected"):
        check_states(backbone, 32, "a model")
    backbone.layers = list(model.encoder.pos_conv_embed.layers)
    with pytest.raises(SpeechpressError, match=r"layer 0 yields \(1, 48, 24\) for 8000 samples.*\(1, 24, 48\)"):
        check_states(backbone, 48, "a model")


def test_convolutions_make_no_frames_of_nothing():
    kernels, strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
    assert [conv_frames(n, kernels, strides) for n in (0, 399, 400, 719, 720)] == [0, 0, 1, 1, 2]
    assert conv_frames(torch.tensor([0, 400]), kernels, strides).tolist() == [0, 1]
    assert set(KINDS) == {"encoder", "waveform", "whisper", "found"}
