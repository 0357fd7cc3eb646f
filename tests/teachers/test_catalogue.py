import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechpress.compressor.models import checkpoint
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.teachers.catalogue import KNOWN, KnownTeacher, from_folder, known_teacher
from speechpress.runtime.errors import SpeechpressError

FAMILIES = {
    "hubert": (HubertConfig, HubertModel),
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "wavlm": (WavLMConfig, WavLMModel),
    "data2vec-audio": (Data2VecAudioConfig, Data2VecAudioModel),
}


def reference_config(teacher: KnownTeacher):
    if teacher.family == "whisper":
        mels = 128 if teacher.source.endswith("v3") else 80
        sizes = {"d_model": teacher.width, "encoder_layers": teacher.depth, "encoder_ffn_dim": 4 * teacher.width}
        return WhisperConfig(**sizes, encoder_attention_heads=teacher.width // 64, num_mel_bins=mels)
    assert teacher.encoder is not None
    values = {
        name: value
        for name, value in teacher.encoder.to_hubert().items()
        if name not in ("model_type", "architectures")
    }
    if teacher.family == "data2vec-audio":
        values |= {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19}
    return FAMILIES[teacher.family][0](**values)


def reference_parameters(teacher: KnownTeacher) -> int:
    config = reference_config(teacher)
    with torch.device("meta"):
        model = WhisperEncoder(config) if teacher.family == "whisper" else FAMILIES[teacher.family][1](config)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("teacher", KNOWN, ids=lambda teacher: teacher.source)
def test_parameters_are_those_of_transformers(teacher: KnownTeacher) -> None:
    assert teacher.parameters == reference_parameters(teacher)


@pytest.mark.parametrize(
    "source", ["facebook/hubert-large-ll60k", "microsoft/wavlm-base", "facebook/data2vec-audio-base"]
)
def test_a_local_folder_tells_the_same(source: str, tmp_path: Path) -> None:
    known = known_teacher(source)
    assert known is not None
    reference_config(known).save_pretrained(tmp_path)
    read = known_teacher(str(tmp_path))
    assert read is not None
    for name in ("family", "depth", "width", "parameters", "macs_per_s"):
        assert getattr(read, name) == getattr(known, name)


def test_a_whisper_folder(tmp_path: Path) -> None:
    known = known_teacher("openai/whisper-base")
    assert known is not None
    reference_config(known).save_pretrained(tmp_path)
    read = from_folder(tmp_path, known.source)
    assert asdict(read) == asdict(known)


def test_published_parameters_in_millions() -> None:
    """As tables of the SUPERB benchmark print them, which count the pre-training heads in."""
    wanted = {
        "hubert-base-ls960": 94.70,
        "hubert-large-ll60k": 316.61,
        "wav2vec2-base": 95.04,
        "data2vec-audio-base": 93.75,
    }
    for teacher in KNOWN:
        name = teacher.source.rpartition("/")[2]
        if name in wanted:
            assert round((teacher.parameters + teacher.pretraining_parameters) / 1e6, 2) == wanted[name]


def test_names() -> None:
    bundle, known = known_teacher("torchaudio:HUBERT_BASE"), known_teacher("facebook/hubert-base-ls960")
    assert bundle is not None and known is not None
    assert (bundle.source, bundle.parameters) == ("torchaudio:HUBERT_BASE", known.parameters)
    assert known_teacher("someone/unknown") is None
    assert len({teacher.source for teacher in KNOWN}) == len(KNOWN)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "holds a list, but must hold a JSON object"),
        ('{"model_type": "bert"}', "nothing is known of models of type 'bert'"),
        ('{"model_type": "hubert"}', "config.json: has no 'num_hidden_layers'"),
        ('{"speechpress": {"schema": 99}}', "has schema 99, but this speechpress reads 1"),
        ('{"speechpress": {"schema": 1, "encoder": {"wings": 2}}}', "unknown keys"),
    ],
)
def test_broken_folders(text: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SpeechpressError, match=wanted):
        from_folder(tmp_path, "folder")


def test_own_config(tmp_path: Path) -> None:
    config = EncoderConfig(num_heads=(3, 2), ffn_widths=(8, 9))
    (tmp_path / "config.json").write_text(json.dumps(checkpoint.config_document(config)))
    assert from_folder(tmp_path, "x").encoder == config
