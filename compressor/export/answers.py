"""Heads in a bundle: which ones, what bundle.json says of them, and how close the program's answers must be."""

from collections.abc import Mapping, Sequence
from typing import Any

from speechpress.runtime.answers.golden import Figures, describe, within, worst
from speechpress.runtime.answers.head_spec import OUTPUT_DTYPES, HeadSpec
from speechpress.runtime.errors import CheckFailed, SpeechpressError

from ..heads.files import KeptHead, head_names, read_heads
from .source import Source

NONE, ALL, FEATURES = "none", "all", "features"


def choose_heads(source: Source, text: str) -> dict[str, KeptHead]:
    """The heads that go along: "none", "all" of the checkpoint, or names such as "phones,vad", in that order.

    `features` may stand among them: frames come out whatever is asked for.

    Raises SpeechpressError for a head that there is not, that is named twice, or that does not fit this student.
    """
    if text == NONE:
        return {}
    if source.folder is None:
        raise SpeechpressError(
            f"--heads {text}: {source.name} is a teacher, and only checkpoints of students have heads"
        )
    names = head_names(source.folder) if text == ALL else [name.strip() for name in text.split(",")]
    wanted = [name for name in names if name != FEATURES]
    if len(set(names)) < len(names):
        raise SpeechpressError(f"--heads {text}: lists a head twice")
    if not wanted and text != FEATURES:
        raise SpeechpressError(f"--heads {text}: {source.folder} has no heads; `compress head` trains one")
    return read_heads(source.folder, wanted)


def entries(specs: Sequence[HeadSpec], tolerance: Mapping[str, float]) -> list[dict[str, Any]]:
    """The heads of a bundle.json before anything is measured."""
    return [
        {
            **spec.to_dict(),
            "outputs": [
                {"name": name, "per": per, "width": width, "dtype": OUTPUT_DTYPES.get(name, "float32")}
                for (name, per), width in zip(spec.outputs.items(), spec.widths, strict=True)
            ],
            "metrics": None,
            # Both are filled in where the program can be run here.
            "parity": {},
            "tolerance": dict(tolerance),
        }
        for spec in specs
    ]


def together(*measured: Mapping[str, Mapping[str, Figures]]) -> dict[str, dict[str, Figures]]:
    """By head and output, the worst of each figure; of what was measured once, that."""
    return {
        name: {output: worst([each[name][output] for each in measured if name in each]) for output in outputs}
        for name, outputs in measured[0].items()
    }


def with_parity(heads: list[dict[str, Any]], found: Mapping[str, Mapping[str, Mapping[str, Figures]]]) -> Any:
    """The same heads with the closeness of their answers, which comes by method, head and output."""
    return [head | {"parity": {method: dict(of[head["name"]]) for method, of in found.items()}} for head in heads]


def remedies(scheme: str) -> str:
    """What to do about a program that is too far from its checkpoint."""
    if scheme == "none":
        return "Without quantisation that is a fault of the export: please report it with the recipe"
    if scheme in ("fp16", "int8-linear"):
        return "Try --quantize none"
    return "Try --quantize int8-linear, `compress quantize --scheme mixed` or --quantize none"


def judge(document: Mapping[str, Any]) -> None:
    """Raises CheckFailed for a head whose answers are too far from the checkpoint's."""
    for head in document.get("heads", []):
        for method, outputs in head["parity"].items():
            for output, figures in outputs.items():
                if not within(figures, head["tolerance"]):
                    raise CheckFailed(
                        f"head {head['name']!r}: its {output} out of the exported {method} are too far from the "
                        f"checkpoint's: {describe(figures)}, but quantisation {document['quantize']!r} must keep "
                        f"{describe(head['tolerance'])}. Nothing was written. {remedies(document['quantize'])}, or "
                        "leave this head out of --heads"
                    )
