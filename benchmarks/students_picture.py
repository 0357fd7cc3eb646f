"""The picture of benchmarks/students.py: what each run costs, and how good it is.

python benchmarks/students_picture.py            # draws docs/students.svg from results/students.json
"""

from functools import partial
from typing import Any

from common import ROOT, Parts
from students_table import (
    DISTILHUBERT_110,
    EVEN_110,
    FLAGSHIP,
    LAYERS_110,
    POCKET_S_110,
    SMALL,
    SMALL_STEPS,
    best_abx,
    kept_percent,
    layers_found,
)

from speechpress.compressor.views.figures import drawn
from speechpress.runtime.atomic import write_text

SHOWN = {
    "pocket, 110 h": LAYERS_110,
    "pocket-heads, 110 h": EVEN_110,
    "pocket-s, 110 h": POCKET_S_110,
    "DistilHuBERT, 110 h": DISTILHUBERT_110,
    "pocket-heads, 8 h": FLAGSHIP,
    "DistilHuBERT, 8 h": SMALL_STEPS,
}


def picture(document: dict[str, Any]) -> Any:
    """Cost against ABX across speakers of all, and what is kept of those in small steps; a point for each run."""
    from matplotlib import pyplot

    found = layers_found(document, SMALL)
    students, kept = document["students"], kept_percent(found["suite"])
    errors = best_abx(found["abx"]["errors"], "across")
    figure, (left, right) = pyplot.subplots(1, 2)
    for label, names in SHOWN.items():
        for panel, values in ((left, errors), (right, kept)):
            there = [name for name in names if name in values]
            costs = [students[name]["macs_per_s"] / 1e9 for name in there]
            panel.scatter(costs, [values[name] for name in there], s=36, label=label)
    left.axhline(errors["logmel"], linestyle="--", linewidth=1, color="#5b6776")
    left.axhline(errors["teacher"], linestyle=":", linewidth=1, color="#5b6776")
    left.annotate("log-mel", (0.06, errors["logmel"]), xytext=(2, 3), textcoords="offset points")
    left.annotate("teacher", (0.06, errors["teacher"]), xytext=(2, 3), textcoords="offset points")
    left.set(title="ABX across speakers, % (lower is better)", xlabel="GMAC per second of audio", xlim=(0, 1))
    right.axhline(0, linestyle="--", linewidth=1, color="#5b6776")
    right.set(title="Kept above the floor, %", xlabel="GMAC per second of audio", xlim=(0, 1))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def main() -> None:
    write_text(ROOT / "docs" / "students.svg", drawn(partial(picture, Parts("students")), "students")[0])


if __name__ == "__main__":
    main()
