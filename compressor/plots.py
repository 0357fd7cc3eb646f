"""Plots of a run."""

from pathlib import Path
from typing import Any

import matplotlib

from speechpress.runtime.atomic import atomic

from .metrics import MetricsLog


def plot_run(metrics: Path, out: Path) -> None:
    """Loss and per-layer cosine of training, with the held-out fidelity as points, over the steps; a PNG."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    events = MetricsLog(metrics).read()
    train = [event for event in events if event["event"] == "train"]
    valid = [event for event in events if event["event"] == "valid"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot([event["step"] for event in train], [event["loss"] for event in train], color="#30618c")
    left.set(title="training loss", xlabel="step", ylabel="L1 + log-sigmoid cosine")
    for index, layer in enumerate(valid[0]["layers"] if valid else []):
        color = f"C{index}"
        _curve(right, train, layer, color, "-", f"layer {layer}, training")
        _curve(right, valid, layer, color, "o--", f"layer {layer}, held out")
    right.set(title="cosine to the teacher", xlabel="step", ylabel="cosine similarity")
    if valid:
        right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic(out) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    plt.close(figure)


def _curve(axes: Any, events: list[dict[str, Any]], layer: str, color: str, style: str, label: str) -> None:
    found = [(event["step"], event["layers"][layer]["cosine"]) for event in events if layer in event["layers"]]
    steps, cosines = [step for step, _ in found], [cosine for _, cosine in found]
    axes.plot(steps, cosines, style, color=color, label=label, ms=4, lw=1.2)
