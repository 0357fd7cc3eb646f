"""The study's plots: accuracy by layer, learned weights of layers, and CKA as heat maps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..views.figures import CARD, INK, LINE, SERIES, SOFT, Draw, legend_below, narrow, width

MOST_NUMBERED = 14  # layers up to which a heat map shows its numbers
COLUMNS = 3
FLOOR_STYLES = {"logmel": ("log-mel", ":"), "random": ("random weights", "--"), "chance": ("chance", (0, (1, 4)))}


def study_figures(document: Mapping[str, Any]) -> dict[str, Draw]:
    """The plots of a study's document by name, each to be drawn."""
    tasks, chosen = document["tasks"], document["suggestion"]["layers"]
    found: dict[str, Draw] = {
        "accuracy": lambda: accuracy_by_layer(tasks, chosen),
        "weights": lambda: layer_weights(tasks, chosen),
        "cka": lambda: self_similarity(document["cka"]["teacher"], chosen),
    }
    if students := document["cka"]["students"]:
        found["cka-students"] = lambda: student_similarity(students, document["students"])
    if document["comparison"]:
        found["students"] = lambda: arms_side_by_side(document)
    return found


def accuracy_by_layer(tasks: Mapping[str, Any], chosen: Sequence[int]) -> Any:
    """A panel for each task: test accuracy of each layer with its interval, the learned sum, floors as lines."""
    figure, panels = _panels(len(tasks), 2.9)
    for panel, (name, task) in zip(panels, tasks.items(), strict=False):
        layers = [entry["layer"] for entry in task["layers"]]
        low, high = zip(*(entry["ci95"] for entry in task["layers"]), strict=True)
        _mark(panel, chosen)
        panel.fill_between(layers, low, high, color=SERIES[0], alpha=0.15, linewidth=0)
        panel.plot(layers, [e["test"] for e in task["layers"]], "o-", color=SERIES[0], ms=4, lw=1.6, label="one layer")
        panel.axhline(task["weighted"]["test"], color=SERIES[2], lw=1.4, label="learned sum of all")
        for key, (label, style) in FLOOR_STYLES.items():
            # Random weights are missing where the teacher's shape cannot be built.
            value = task["chance"] if key == "chance" else (task[key] or {}).get("test")
            if value is not None:
                panel.axhline(value, color=SERIES[1] if key == "logmel" else SOFT, ls=style, lw=1.3, label=label)
        panel.set(title=name, xlabel="layer", ylabel="test accuracy", ylim=(0, 1.03))
        panel.xaxis.get_major_locator().set_params(integer=True)
    legend_below(figure, panels[0], most=6)
    return figure


def layer_weights(tasks: Mapping[str, Any], chosen: Sequence[int]) -> Any:
    """A panel for each task: the weights of the learned sum of layers."""
    figure, panels = _panels(len(tasks), 2.2)
    for panel, (name, task) in zip(panels, tasks.items(), strict=False):
        weights = task["weighted"]["layer_weights"]
        _mark(panel, chosen)
        panel.bar(range(len(weights)), weights, color=SERIES[0], width=0.72)
        # What each would have if none were preferred.
        panel.axhline(1 / len(weights), color=INK, ls=":", lw=1.2)
        panel.grid(axis="x", visible=False)
        panel.set(title=name, xlabel="layer", ylabel="weight (sum 1)")
        panel.xaxis.get_major_locator().set_params(integer=True)
    return figure


def self_similarity(cka: Sequence[Sequence[float]], chosen: Sequence[int]) -> Any:
    """Every layer of the teacher against every other."""
    import matplotlib.pyplot as plt

    side = min(width() - 0.7, max(4.2, 0.42 * len(cka) + 1.2))
    figure, panel = plt.subplots(figsize=(side + 0.7, side))
    mesh = _heat(panel, cka)
    panel.set(xlabel="teacher layer", ylabel="teacher layer")
    for k in chosen:
        for ticks in (panel.get_xticklabels(), panel.get_yticklabels()):
            ticks[k].set(color=INK, fontweight="bold")
    _scale(figure, mesh, [panel])
    return figure


def student_similarity(students: Mapping[str, Any], told: Mapping[str, Any]) -> Any:
    """The teacher's layers against those of every student."""
    import matplotlib.pyplot as plt

    columns = min(1 if narrow() else COLUMNS, len(students))
    rows = math.ceil(len(students) / columns)
    depth = len(next(iter(students.values())))
    size = (min(width(), 4.6 * columns), rows * max(2.6, 0.34 * depth + 1.0))
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False)
    mesh = None
    # The last row of the grid may have more panels than there are students.
    for panel, (name, cka) in zip(grid.flat, students.items(), strict=False):
        mesh = _heat(panel, cka)
        panel.set(title=name, xlabel="student layer", ylabel="teacher layer")
        for k in told.get(name, {}).get("layers", []):
            panel.get_yticklabels()[k].set(color=INK, fontweight="bold")
    _hide(grid.flat, len(students))
    _scale(figure, mesh, list(grid.flat))
    return figure


def arms_side_by_side(document: Mapping[str, Any]) -> Any:
    """A panel for each task and one for R2: the students of the comparison with their intervals, as dots."""
    arms, tasks = document["comparison"]["arms"], document["tasks"]
    figure, panels = _panels(len(tasks) + 1, 0.8 + 0.32 * len(arms))
    labels = [f"{', '.join(map(str, arm['layers']))}" for arm in arms]
    suggested = document["suggestion"]["layers"]
    colours = [SERIES[0] if arm["layers"] == suggested else SOFT for arm in arms]
    for panel, name in zip(panels, [*tasks, "R2 to the teacher"], strict=False):
        found = [document["students"][arm["student"]] for arm in arms]
        for row, (student, colour) in enumerate(zip(found, colours, strict=True)):
            # R2 is of one set of frames and has no interval.
            score = student["tasks"].get(name, {"test": student["r2"], "ci95": [student["r2"]] * 2})
            panel.plot(score["ci95"], [row, row], color=colour, lw=1.6, alpha=0.55, solid_capstyle="butt")
            panel.plot([score["test"]], [row], "o", color=colour, ms=5)
        panel.set_yticks(range(len(arms)), labels)
        panel.set(title=name, ylim=(len(arms) - 0.5, -0.5), ylabel="heads predict layers")
        panel.margins(x=0.12)
    return figure


def _panels(count: int, height: float) -> tuple[Any, list[Any]]:
    import matplotlib.pyplot as plt

    # Four go two by two, else one would stand alone in its row.
    columns = 1 if narrow() else min(COLUMNS, count) if count != 4 else 2
    rows = math.ceil(count / columns)
    figure, grid = plt.subplots(rows, columns, figsize=(width(), rows * height), squeeze=False, sharey=False)
    _hide(grid.flat, count)
    return figure, list(grid.flat)[:count]


def _hide(panels: Any, used: int) -> None:
    for panel in list(panels)[used:]:
        panel.set_visible(False)


def _mark(panel: Any, chosen: Sequence[int]) -> None:
    """A band behind every suggested layer."""
    for number, k in enumerate(chosen):
        panel.axvspan(k - 0.42, k + 0.42, color=LINE, lw=0, zorder=0, label="suggested" if number == 0 else None)


def _heat(panel: Any, cka: Sequence[Sequence[float]]) -> Any:
    # One scale for all maps, so that they can be compared.
    mesh = panel.pcolormesh(cka, vmin=0, vmax=1, cmap="viridis", edgecolors=CARD, linewidth=0.6)
    rows, columns = len(cka), len(cka[0])
    panel.set_xticks([k + 0.5 for k in range(columns)], range(columns))
    panel.set_yticks([k + 0.5 for k in range(rows)], range(rows))
    panel.tick_params(length=0)
    panel.grid(visible=False)
    for side in panel.spines.values():
        side.set_visible(False)
    if rows <= MOST_NUMBERED:
        for i, row in enumerate(cka):
            for j, value in enumerate(row):
                # On the cell's own colour, whatever the page's: half of white's luminance in steps of the eye is 0.18.
                red, green, blue, _ = mesh.cmap(mesh.norm(value))
                light = sum(w * v**2.2 for w, v in zip((0.2126, 0.7152, 0.0722), (red, green, blue), strict=True))
                colour = "#010101" if light > 0.18 else "#ffffff"
                panel.text(j + 0.5, i + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    return mesh


def _scale(figure: Any, mesh: Any, panels: list[Any]) -> None:
    bar = figure.colorbar(mesh, ax=panels, shrink=0.9, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("CKA, 0 to 1")
