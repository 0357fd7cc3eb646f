"""How a model folder of `transformers` wants its waveform: normalised or as it is. Loads no torch.

transformers 4 writes preprocessor_config.json; transformers 5 writes that file for a bare feature extractor, but for a
processor only processor_config.json, with the feature extractor nested in it. Where both say something, transformers
takes the nested one, and so does this.
"""

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json
from speechpress.runtime.schema import check

from .config import SAMPLE_RATE
from .encoder_schema import PREPROCESSOR

logger = logging.getLogger(__name__)

PLAIN, NESTED = "preprocessor_config.json", "processor_config.json"
FILES = (PLAIN, NESTED)
NESTED_KEYS = ("feature_extractor", "audio_processor")  # transformers' own order

# Feature extractors that take `do_normalize` to be true when their file does not say it.
_NORMALIZE_BY_DEFAULT = ("Wav2Vec2FeatureExtractor", "Wav2Vec2Processor")


@dataclass(frozen=True)
class Preprocessor:
    """Whether waveforms are scaled to zero mean and unit variance, and what of that was guessed, for people."""

    normalize: bool
    doubts: tuple[str, ...] = ()


def read_preprocessor(folder: Path) -> Preprocessor:
    """What the files of a model folder say.

    Raises:
        SpeechpressError: one of them is damaged, or the model wants another sample rate.
    """
    found = extractor_sections(folder)
    if not found:
        text = f"neither {PLAIN} nor {NESTED} says whether the waveform is normalised, so it is taken as it is"
        return Preprocessor(False, (f"{text}; if the model was trained on normalised waveforms, its layers are wrong",))
    for where, values in found:
        check(values, PREPROCESSOR, where)
        _check_rate(where, values)
    chosen, values = found[-1]
    normalize, doubts = _normalize(chosen, values)
    for where, others in found[:-1]:
        if "do_normalize" in others and others["do_normalize"] != normalize:
            doubts += (f"{where} says do_normalize {others['do_normalize']}, {chosen} {normalize}; the latter counts",)
    return Preprocessor(normalize, doubts)


def extractor_sections(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The feature extractors that the files of a folder describe, each with the words for where; the last counts."""
    return [place for name in FILES for place in _sections(folder / name)]


def say(source: str, doubts: tuple[str, ...]) -> None:
    """Doubts as warnings: the command line shows them on stderr, whatever the command."""
    for doubt in doubts:
        _say_once(f"{source}: {doubt}")


@functools.cache
def _say_once(text: str) -> None:
    """A search opens its teacher for every trial."""
    logger.warning(text)


def _sections(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The feature extractors that a file describes, each with the words for where; the one that counts comes last."""
    if not path.is_file():
        return []
    values = read_json(path)
    nested = [key for key in NESTED_KEYS if key in values]
    for key in nested:
        if not isinstance(values[key], dict):
            raise SpeechpressError(f"{path}: {key} is {type(values[key]).__name__}, but must be an object")
    if nested:
        return [(f"{path} ({nested[0]})", values[nested[0]])]
    # A processor_config.json without an extractor inside and without do_normalize says nothing of waveforms.
    if path.name == PLAIN or "do_normalize" in values:
        return [(str(path), values)]
    return []


def _normalize(where: str, values: dict[str, Any]) -> tuple[bool, tuple[str, ...]]:
    # Of these models transformers makes a Wav2Vec2FeatureExtractor where a file names none.
    said, kind = values.get("do_normalize"), values.get("feature_extractor_type", _NORMALIZE_BY_DEFAULT[0])
    if isinstance(said, bool):
        return said, ()
    if kind in _NORMALIZE_BY_DEFAULT:
        return True, (f"{where} has no do_normalize; the waveform is normalised, as {kind} does by default",)
    return False, (f"{where} describes a {kind}, which has no do_normalize; the waveform is taken as it is",)


def _check_rate(where: str, values: dict[str, Any]) -> None:
    rate = values.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        # Weights know no rate: the model would run without an error and give wrong layers.
        raise SpeechpressError(f"{where}: the model wants {rate} Hz, not {SAMPLE_RATE} Hz")
