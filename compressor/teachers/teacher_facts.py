"""What can be counted of a teacher before it is loaded: parameters and work, from its sizes. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from speechpress.runtime.schema import check

from ..models import costs
from ..models.config import TRANSFORMERS_EPS, EncoderConfig
from ..models.encoder_schema import HUBERT, WHISPER


@dataclass(frozen=True)
class KnownTeacher:
    """One teacher. `parameters` is the encoder as this project and `transformers` count it.

    `pretraining_parameters` is what the published file holds besides (label embeddings, quantiser and projections of
    its own pre-training), which papers often count in. `encoder` is what a student of it starts from; None where the
    teacher has no waveform front end. Parts of a teacher that no student has are counted in `parameters` all the same.
    """

    source: str
    family: str
    depth: int
    width: int
    parameters: int
    macs_per_s: float
    encoder: EncoderConfig | None = None
    pretraining_parameters: int = 0
    about: str = ""


def hubert_like(
    source: str, family: str, encoder: EncoderConfig, pretraining: int = 0, about: str = ""
) -> KnownTeacher:
    """HuBERT and wav2vec 2.0, of which an encoder here is an exact copy."""
    count, macs = costs.parameters(encoder), costs.macs_per_s(encoder)
    depth, width = encoder.num_layers, encoder.width
    return KnownTeacher(source, family, depth, width, count, macs, encoder, pretraining, about)


def wavlm(
    source: str, encoder: EncoderConfig, pretraining: int = 0, about: str = "", buckets: int = 320
) -> KnownTeacher:
    """HuBERT with a gated relative position bias: one table of buckets, and per layer a gate on each head."""
    plain = hubert_like(source, "wavlm", encoder, pretraining, about)
    # Per layer: one linear layer from head_dim to 8, which all heads share, its biases, and a constant per head.
    gate = 8 * encoder.head_dim
    extra = buckets * encoder.num_heads[0] + sum(gate + 8 + heads for heads in encoder.num_heads)
    macs = gate * sum(encoder.num_heads) * costs.frames_per_s(encoder)
    return replace(plain, parameters=plain.parameters + extra, macs_per_s=plain.macs_per_s + macs)


def data2vec(
    source: str, encoder: EncoderConfig, pretraining: int = 0, about: str = "", convs: int = 5, kernel: int = 19
) -> KnownTeacher:
    """HuBERT with several short position convolutions, without weight norm, in place of a long one."""
    plain = hubert_like(source, "data2vec-audio", encoder, pretraining, about)
    long, width = costs.parts(encoder)["position_conv"], encoder.width
    weights = convs * width * (width // encoder.pos_conv_groups) * kernel
    count = plain.parameters - long.parameters + weights + convs * width + 2 * width
    macs = plain.macs_per_s - long.macs_per_s + weights * costs.frames_per_s(encoder)
    return replace(plain, parameters=count, macs_per_s=macs)


def whisper(
    source: str, width: int, depth: int, mels: int = 80, positions: int = 1500, about: str = ""
) -> KnownTeacher:
    """Whisper's encoder: two convolutions over a log-mel spectrogram, fixed positions, pre-norm layers."""
    convs = 3 * mels * width + width, 3 * width * width + width
    layer = 12 * width * width + 12 * width  # keys have no bias
    count = sum(convs) + positions * width + depth * layer + 2 * width
    # 100 frames a second up to the second convolution, which halves their rate, and 50 from there on.
    macs = 3 * mels * width * 100 + (3 * width * width + 12 * width * width * depth) * 50
    about = about or "encoder only; trained with transcripts"
    return KnownTeacher(source, "whisper", depth, width, count, float(macs), about=about)


def hubert_facts(source: str, values: Mapping[str, Any], family: str, normalize: bool) -> KnownTeacher:
    """From the values of a config.json; so do those below. Raises KeyError for one that is not there."""
    return hubert_like(source, family, _encoder(source, values, normalize))


def wavlm_facts(source: str, values: Mapping[str, Any], family: str, normalize: bool) -> KnownTeacher:
    encoder = _encoder(source, values, normalize)
    return wavlm(source, encoder, buckets=values.get("num_buckets", 320))


def data2vec_facts(source: str, values: Mapping[str, Any], family: str, normalize: bool) -> KnownTeacher:
    check(values, HUBERT, f"{source}/config.json")
    convs, kernel = values["num_conv_pos_embeddings"], values["conv_pos_kernel_size"]
    plain = {**values, "num_conv_pos_embeddings": EncoderConfig().pos_conv_kernel}
    encoder = _encoder(source, plain, normalize)
    return data2vec(source, replace(encoder, conv_norm="layer"), convs=convs, kernel=kernel)


def whisper_facts(source: str, values: Mapping[str, Any], family: str, normalize: bool) -> KnownTeacher:
    check(values, WHISPER, f"{source}/config.json")
    return whisper(source, values["d_model"], values["encoder_layers"], values["num_mel_bins"])


def _encoder(source: str, values: Mapping[str, Any], normalize: bool) -> EncoderConfig:
    return EncoderConfig.from_hubert(dict(values), normalize, TRANSFORMERS_EPS, f"{source}/config.json")
