"""Facts about teachers that can be told before any of their weights are at hand; figures follow from their sizes.

A teacher that is not listed works as well: nothing is told of it until it is loaded.
"""

from dataclasses import dataclass, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json
from speechpress.runtime.schema import check

from . import costs
from .config import EncoderConfig, read_own
from .encoder_schema import HUBERT, WHISPER

BUILT_IN = ("starter", "hubert-mini")


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
    macs = 3 * mels * width * 100 + (3 * width * width + 12 * width * width * depth) * 50
    about = about or "encoder only; trained with transcripts"
    return KnownTeacher(source, "whisper", depth, width, count, float(macs), about=about)


BASE = EncoderConfig()
LARGE = EncoderConfig(
    conv_bias=True,
    conv_norm="layer",
    width=1024,
    num_heads=(16,) * 24,
    ffn_widths=(4096,) * 24,
    pre_norm=True,
    input_norm="utterance",
)
XLARGE = replace(LARGE, width=1280, head_dim=80, num_heads=(16,) * 48, ffn_widths=(5120,) * 48)
WAVLM_LARGE = replace(LARGE, conv_bias=False)
DATA2VEC = replace(BASE, conv_norm="layer", input_norm="utterance")
DATA2VEC_LARGE = replace(DATA2VEC, width=1024, num_heads=(16,) * 24, ffn_widths=(4096,) * 24)


def _hubert_labels(width: int, size: int, labels: int = 504) -> int:
    """HuBERT's label embeddings (500 clusters and 4 symbols of the dictionary) and the projection onto them."""
    return width * size + size + labels * size


def _quantizer(width: int, size: int, entries: int = 640, groups: int = 2, channels: int = 512) -> int:
    """wav2vec 2.0's codebooks, the choice among their entries, and the two projections that are compared."""
    codebooks = entries * (size // groups) + channels * entries + entries
    return codebooks + size * size + size + width * size + size


KNOWN: tuple[KnownTeacher, ...] = (
    hubert_like("facebook/hubert-base-ls960", "hubert", BASE, _hubert_labels(768, 256), "960 h of English"),
    hubert_like("facebook/hubert-large-ll60k", "hubert", LARGE, _hubert_labels(1024, 768), "60,000 h of English"),
    hubert_like("facebook/hubert-xlarge-ll60k", "hubert", XLARGE, _hubert_labels(1280, 1024), "60,000 h of English"),
    hubert_like("facebook/wav2vec2-base", "wav2vec2", BASE, _quantizer(768, 256), "960 h of English"),
    hubert_like("facebook/wav2vec2-large-lv60", "wav2vec2", LARGE, _quantizer(1024, 768), "60,000 h of English"),
    hubert_like("facebook/wav2vec2-xls-r-300m", "wav2vec2", LARGE, _quantizer(1024, 768), "436,000 h, 128 languages"),
    wavlm("microsoft/wavlm-base", BASE, _hubert_labels(768, 256), "960 h of English"),
    wavlm("microsoft/wavlm-base-plus", BASE, _hubert_labels(768, 256), "94,000 h of English"),
    wavlm("microsoft/wavlm-large", WAVLM_LARGE, _hubert_labels(1024, 768), "94,000 h of English"),
    data2vec("facebook/data2vec-audio-base", DATA2VEC, 768 * 768 + 768, "960 h of English"),
    data2vec("facebook/data2vec-audio-large", DATA2VEC_LARGE, 1024 * 1024 + 1024, "60,000 h of English"),
    whisper("openai/whisper-tiny", 384, 4),
    whisper("openai/whisper-base", 512, 6),
    whisper("openai/whisper-small", 768, 12),
    whisper("openai/whisper-medium", 1024, 24),
    whisper("openai/whisper-large-v3", 1280, 32, mels=128),
)

_BUNDLES = {
    "torchaudio:HUBERT_BASE": "facebook/hubert-base-ls960",
    "torchaudio:HUBERT_LARGE": "facebook/hubert-large-ll60k",
    "torchaudio:HUBERT_XLARGE": "facebook/hubert-xlarge-ll60k",
    "torchaudio:WAV2VEC2_BASE": "facebook/wav2vec2-base",
    "torchaudio:WAV2VEC2_LARGE_LV60K": "facebook/wav2vec2-large-lv60",
    "torchaudio:WAVLM_BASE": "microsoft/wavlm-base",
    "torchaudio:WAVLM_BASE_PLUS": "microsoft/wavlm-base-plus",
    "torchaudio:WAVLM_LARGE": "microsoft/wavlm-large",
}


def known_teacher(source: str) -> KnownTeacher | None:
    """What is known of a teacher by its name, or from the config.json of its local folder; None where nothing is."""
    named = {teacher.source: teacher for teacher in KNOWN}
    if source in named:
        return named[source]
    if source in _BUNDLES:
        return replace(named[_BUNDLES[source]], source=source)
    if source in BUILT_IN:
        return _built_in(source)
    folder = Path(source)
    return from_folder(folder, source) if (folder / "config.json").is_file() else None


def built_in_teachers() -> list[KnownTeacher]:
    """The teachers that ship inside the package."""
    teacher = _built_in("hubert-mini")
    return [teacher] if teacher else []


def from_folder(folder: Traversable, source: str) -> KnownTeacher:
    """Read the config.json of a model folder, `transformers`' or this project's.

    Raises SpeechpressError when it cannot be read, or is of a family of which nothing is known.
    """
    shown = f"{source}/config.json"
    values = read_json(str(folder / "config.json"), shown=shown)
    family, own = values.get("model_type"), values.get("speechpress")
    try:
        if own is not None:
            return hubert_like(source, "hubert", read_own(own, shown))
        return _from_transformers(values, str(family), source)
    except KeyError as error:
        raise SpeechpressError(f"{shown}: has no {error}, which an encoder of type {family!r} needs") from None


def _built_in(source: str) -> KnownTeacher | None:
    folder = resources.files("speechpress.compressor") / "starter" / "hubert-mini"
    if not (folder / "config.json").is_file():
        return None
    return replace(from_folder(folder, source), about="ships with speechpress; small")


def _from_transformers(values: dict[str, Any], family: str, source: str) -> KnownTeacher:
    shown = f"{source}/config.json"
    if family == "whisper":
        check(values, WHISPER, shown)
        return whisper(source, values["d_model"], values["encoder_layers"], values["num_mel_bins"])
    if family not in ("hubert", "wav2vec2", "wavlm", "data2vec-audio"):
        raise SpeechpressError(f"{shown}: nothing is known of models of type {family!r:.60} before they are loaded")
    if family == "data2vec-audio":
        check(values, HUBERT, shown)
        convs, kernel = values["num_conv_pos_embeddings"], values["conv_pos_kernel_size"]
        encoder = EncoderConfig.from_hubert(values | {"num_conv_pos_embeddings": BASE.pos_conv_kernel}, shown=shown)
        return data2vec(source, replace(encoder, conv_norm="layer"), convs=convs, kernel=kernel)
    encoder = EncoderConfig.from_hubert(values, shown=shown)
    if family == "wavlm":
        return wavlm(source, encoder, buckets=values.get("num_buckets", 320))
    return hubert_like(source, family, encoder)
