"""How the operators of an encoder compute once it is quantised, one by one, and `quantize.json`, which keeps it.

No torch here: a checkpoint's quantisation is told without loading it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json
from speechpress.runtime.schema import check

from ..models.document_schema import quantization_kind
from ..targets import SCHEMES

QUANTIZE, SCHEMA = "quantize.json", 1
# It reads the waveform itself, whose 8 bits would be heard in all that follows; it is cheap.
FIRST_CONV = "feature_extractor.conv_layers.0.conv"
CALIBRATED = ("int8-static", "mixed")  # schemes that need to have heard speech
GROUP = 32  # inputs that share a scale in int4: XNNPACK takes multiples of 32, and the smallest is the closest
Range = tuple[float, float]


@dataclass(frozen=True)
class Operator:
    """How one convolution or linear layer computes.

    `how`: "float"; "half" (weights and arithmetic in 16 bits); "dynamic" (8-bit weights with a scale per output
    channel, inputs scaled anew in every call); "static" (the same, but inputs and outputs in fixed ranges, `input` and
    `output`, lowest and highest value); "int4" (as dynamic, with 4-bit weights, a scale per GROUP inputs).
    """

    how: str
    input: Range | None = None
    output: Range | None = None

    def to_dict(self) -> dict[str, Any]:
        ranges = {"input": self.input, "output": self.output}
        return {"how": self.how} | {name: list(value) for name, value in ranges.items() if value is not None}


FLOAT = Operator("float")
LEVELS = (-128, 127)
MIN_SCALE = 2.0**-16  # so that no ratio of scales is too small for XNNPACK, also of channels that are all zero


def scale_of(values: Range) -> tuple[float, int]:
    """Scale and zero point of 8-bit numbers that reach over a range; zero itself is always hit exactly."""
    # Zero is what padding is made of; were it between two levels, padding would be a constant sound.
    low, high = min(values[0], 0.0), max(values[1], 0.0)
    scale = max((high - low) / (LEVELS[1] - LEVELS[0]), MIN_SCALE)
    zero = round(LEVELS[0] - low / scale)
    return scale, min(max(zero, LEVELS[0]), LEVELS[1])


@dataclass(frozen=True)
class Quantization:
    """A scheme (see `targets.SCHEMES`), settled operator by operator.

    `operators` has the names of the checkpoint's modules; what it does not name computes as the scheme says by itself.
    `about`: where the ranges come from, as quantize.json has it.
    """

    scheme: str = "none"
    operators: Mapping[str, Operator] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def of(self, name: str, convolution: bool) -> Operator:
        """How an operator computes.

        Raises SpeechpressError when its scheme needs to have heard speech, and nothing is known of it.
        """
        if name in self.operators:
            return self.operators[name]
        if self.scheme in CALIBRATED:
            raise SpeechpressError(
                f"quantisation {self.scheme!r} says nothing of {name}: it was made for another encoder, or before this "
                "head was trained; make it again with `compress quantize`, or leave the head out of --heads"
            )
        if self.scheme == "fp16":
            return Operator("half")
        if self.scheme == "none" or name == FIRST_CONV or (convolution and self.scheme == "int8-linear"):
            return FLOAT
        return Operator("int4" if self.scheme == "int4" and not convolution else "dynamic")

    def settled(self, names: Mapping[str, bool]) -> "Quantization":
        """The same with every operator named; `names` says of each whether it is a convolution."""
        return replace(self, operators={name: self.of(name, convolution) for name, convolution in names.items()})

    def to_dict(self) -> dict[str, Any]:
        operators = {name: operator.to_dict() for name, operator in self.operators.items()}
        return {"schema": SCHEMA, "scheme": self.scheme, **self.about, "operators": operators}


def by_scheme(scheme: "str | Quantization") -> Quantization:
    """The quantisation of a scheme that needs no speech; one that is settled already stays as it is.

    Raises SpeechpressError for a scheme whose ranges must be measured first.
    """
    if isinstance(scheme, Quantization):
        return scheme
    if scheme in CALIBRATED:
        raise SpeechpressError(
            f"quantisation {scheme!r} needs calibration data: make a calibrated checkpoint with "
            f"`compress quantize CHECKPOINT --scheme {scheme} --data SPEECH` and export that"
        )
    return Quantization(scheme)


def save_quantization(folder: Path, quantization: Quantization) -> None:
    write_json(folder / QUANTIZE, quantization.to_dict())


def load_quantization(folder: Path) -> Quantization | None:
    """That of a checkpoint folder, or None when it is not quantised.

    Raises SpeechpressError when the file is damaged, or was written by a newer version.
    """
    path = folder / QUANTIZE
    if not path.exists():
        return None
    advice = "make it again with `compress quantize`"
    document = read_json(path, advice)
    # Before all other checks, which would call a newer file damaged.
    if type(document.get("schema")) is int and document["schema"] > SCHEMA:
        raise SpeechpressError(
            f"{path}: has schema {document['schema']}, but this speechpress reads {SCHEMA}; "
            "upgrade with: pip install -U speechpress"
        )
    check(document, quantization_kind(tuple(SCHEMES)), str(path), advice)
    operators = {name: _operator(values) for name, values in document["operators"].items()}
    about = {name: value for name, value in document.items() if name not in ("schema", "scheme", "operators")}
    return Quantization(document["scheme"], operators, about)


def _operator(values: Mapping[str, Any]) -> Operator:
    ranges = [None if (pair := values.get(name)) is None else (float(pair[0]), float(pair[1])) for name in _RANGES]
    return Operator(values["how"], *ranges)


_RANGES = ("input", "output")
