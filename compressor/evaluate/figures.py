"""Plots of an evaluation: score against size, and for each task where the student stands between floor and teacher."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..views.figures import CARD, INK, SERIES, SOFT, narrow, width

COLOURS = {"student": SERIES[0], "teacher": INK, "random": SOFT, "other": SERIES[1]}
FLOOR_MARKS = {"random": ("random weights", "x"), "logmel": ("log-mel", "|")}


def score_by_size(dots: Sequence[Any], floors: Mapping[str, float]) -> Any:
    """Mean quality (up is better) against size (left is better, on a logarithmic scale); floors as lines.

    Args:
        dots: of `report.Dot`.
        floors: mean quality by name.
    """
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots()
    for name, score in floors.items():
        panel.axhline(score, color=SERIES[1], ls=":", lw=1.4)
        panel.annotate(
            name,
            (1, score),
            (-4, 4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            color=SOFT,
            fontsize=8,
        )
    for number, dot in enumerate(dots):
        colour, filled = COLOURS[dot.role], dot.role != "random"
        panel.plot(
            [dot.size_bytes / 1e6], [dot.score], "o", ms=9, color=colour, mfc=colour if filled else CARD, mew=1.6
        )
        # Names of models that stand close together go one above the other.
        close = sum(_close(dot, other) for other in dots[:number] if other.role != "random")
        place, above = (dot.size_bytes / 1e6, dot.score), 9 + 11 * close if filled else -16
        panel.annotate(dot.name, place, (0, above), textcoords="offset points", ha="center", fontsize=8)
    sizes = [dot.size_bytes / 1e6 for dot in dots]
    low, high = min(sizes), max(sizes)
    panel.set_xscale("log")
    panel.set_xlim(low / 1.9, high * 1.9)
    panel.xaxis.set_major_formatter("{x:g}")
    # A logarithmic axis marks powers of ten, of which there may be one or none between two models.
    ticks = [value * 10.0**power for power in range(-3, 5) for value in (1, 2, 5)]
    panel.set_xticks([tick for tick in ticks if low / 1.9 <= tick <= high * 1.9])
    panel.minorticks_off()
    scores = [dot.score for dot in dots] + list(floors.values())
    spread = max(0.02, (max(scores) - min(scores)) * 0.18)
    panel.set_ylim(max(0.0, min(scores) - spread), min(1.04, max(scores) + 1.4 * spread))
    panel.set(xlabel="size (MB)", ylabel="mean quality (1 is perfect)")
    return figure


def _close(dot: Any, other: Any) -> bool:
    return 1 / 3 < dot.size_bytes / other.size_bytes < 3 and abs(dot.score - other.score) < 0.05


def kept_by_task(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A line for each task, from the floors by the student (with its interval) to the teacher."""
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(width(), (1.6 if narrow() else 1.1) + 0.36 * len(rows)))
    for place, row in enumerate(rows):
        floor = row[row["floor"]] if row["floor"] else None
        # A teacher below the floor leaves nothing that could be kept.
        if floor is not None and row["teacher"] is not None and row["teacher"] > floor:
            panel.plot([floor, row["teacher"]], [place, place], color=SOFT, lw=5, alpha=0.25, solid_capstyle="butt")
        for name, (label, mark) in FLOOR_MARKS.items():
            if row[name] is not None:
                panel.plot([row[name]], [place], mark, color=SERIES[1], ms=8, mew=1.8, label=label, ls="none")
        panel.plot(row["ci95"], [place, place], color=SERIES[0], lw=1.6)
        panel.plot([row["student"]], [place], "o", color=SERIES[0], ms=7, label="student", ls="none")
        if row["teacher"] is not None:
            panel.plot([row["teacher"]], [place], "D", color=INK, ms=6, label="teacher", ls="none")
    panel.set_yticks(range(len(rows)), [row["task"] for row in rows])
    panel.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5), xlabel="quality (score, or 1 − error rate)")
    # Every row brings the same labels; the legend has each once.
    handles = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2 if narrow() else 4)
    return figure
