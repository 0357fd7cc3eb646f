"""Facts about teachers that can be told before any of their weights are at hand; figures follow from their sizes.

A teacher that is not listed works as well: nothing is told of it until it is loaded.
"""

from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json

from ..models.config import EncoderConfig, read_own
from ..models.preprocessor import read_preprocessor, say
from .families import family_of
from .teacher_facts import KnownTeacher, data2vec, hubert_like, wavlm, whisper

BUILT_IN = ("starter", "hubert-mini")


class UnknownFamilyError(SpeechpressError):
    """A model folder of a family of which nothing is known before it is loaded."""


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
# 1280 in 16 heads: the only ones here that are not 64 wide.
XLARGE = replace(LARGE, width=1280, head_dim=80, num_heads=(16,) * 48, ffn_widths=(5120,) * 48)
# WavLM's convolutions have no biases, whatever its size.
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
    """What is known of a teacher by its name, or from the config.json of its local folder; None where nothing is.

    Raises SpeechpressError for a folder whose config.json is damaged.
    """
    named = {teacher.source: teacher for teacher in KNOWN}
    if source in named:
        return named[source]
    if source in _BUNDLES:
        return replace(named[_BUNDLES[source]], source=source)
    if source in BUILT_IN:
        return _built_in(source)
    folder = Path(source)
    if not (folder / "config.json").is_file():
        return None
    try:
        return from_folder(folder, source)
    except UnknownFamilyError:
        return None


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
        return _from_transformers(values, str(family), source, folder)
    except KeyError as error:
        raise SpeechpressError(f"{shown}: has no {error}, which an encoder of type {family!r} needs") from None


def _built_in(source: str) -> KnownTeacher | None:
    folder = resources.files("speechpress.compressor") / "starter" / "hubert-mini"
    if not (folder / "config.json").is_file():
        return None
    return replace(from_folder(folder, source), about="ships with speechpress; small")


def _from_transformers(values: dict[str, Any], family: str, source: str, folder: Traversable) -> KnownTeacher:
    facts = family_of(family, values).facts
    if facts is None:
        raise UnknownFamilyError(
            f"{source}/config.json: nothing is known of models of type {family!r:.60} before they are loaded"
        )
    normalize = False
    if isinstance(folder, Path) and family != "whisper":
        asked = read_preprocessor(folder)
        say(source, asked.doubts)
        normalize = asked.normalize
    return facts(source, values, family, normalize)
