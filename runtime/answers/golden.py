"""How close the answers of a program are to those of the heads that it was made from.

Shapes: T rows of an output (one per frame, or one for all that was heard), W columns.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..parity import compare
from ..parity import describe as describe_frames
from .head_spec import HeadSpec

if TYPE_CHECKING:
    import numpy as np

Figures = dict[str, float]
FIGURES = ("max_abs", "snr_db", "cosine", "agreement")  # a reader lets be what it does not know
Rows = Mapping[str, Mapping[str, "np.ndarray"]]  # (T, W) by head and output


def golden_name(head: str, output: str, of: str | int) -> str:
    """The tensor in golden.safetensors; `of` as in the name of its frames: frames of a chunk, "offline", "window"."""
    return f"{head}_{output}_{of}"


def golden_rows(golden: Mapping[str, "np.ndarray"], heads: Sequence[HeadSpec], of: str | int) -> Rows:
    """What the heads themselves made of the golden clip."""
    return {h.name: {output: golden[golden_name(h.name, output, of)] for output in h.outputs} for h in heads}


def compare_answers(found: Rows, wanted: Rows, heads: Sequence[HeadSpec]) -> dict[str, dict[str, Figures]]:
    """By head and output: `parity.compare`'s figures where it is no number of a unit, and `agreement` where it decides.

    `agreement` is the share of rows (T) with the same answer: the same column highest (of distances: lowest), of vad
    and segment the same columns above 0.
    """
    return {
        head.name: {
            output: _figures(head.kind, output, found[head.name][output], wanted[head.name][output])
            for output in head.outputs
        }
        for head in heads
    }


def _figures(kind: str, output: str, found: "np.ndarray", wanted: "np.ndarray") -> Figures:
    if found.shape != wanted.shape:
        return {**compare(found, wanted), "agreement": 0.0}
    figures: Figures = {}
    if output != "ids":
        # A row of one column has no direction; then all of them together have one.
        one = wanted.shape[1] == 1
        figures = compare(found.T, wanted.T) if one else compare(found, wanted)
    if output not in ("vector", "vectors"):
        same = _decided(kind, output, found) == _decided(kind, output, wanted)
        figures["agreement"] = float(same.all(-1).mean())
    return figures


def _decided(kind: str, output: str, rows: "np.ndarray") -> "np.ndarray":
    """(T, n): what each row says."""
    if output == "ids":
        return rows
    if output == "distances":
        return rows.argmin(-1)[:, None]
    return rows > 0 if kind in ("vad", "segment") else rows.argmax(-1)[:, None]


def within(figures: Figures, tolerance: Mapping[str, float]) -> bool:
    """Whether every limit holds for what was measured of an output: `max_abs` from above, the others from below."""
    return all(
        figures[name] <= limit if name == "max_abs" else figures[name] >= limit
        for name, limit in tolerance.items()
        if name in figures
    )


def worst(figures: Sequence[Figures]) -> Figures:
    """The worst of each figure, of those that have it."""
    found: dict[str, list[float]] = {name: [each[name] for each in figures if name in each] for name in FIGURES}
    return {name: (max if name == "max_abs" else min)(values) for name, values in found.items() if values}


def describe(figures: Mapping[str, Any]) -> str:
    """For people."""
    own = {name: figures[name] for name in FIGURES if name in figures and name != "agreement"}
    words = [describe_frames(own)] if own else []
    return ", ".join([*words, *([f"{figures['agreement']:.1%} the same"] if "agreement" in figures else [])])
