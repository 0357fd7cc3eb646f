"""metrics.jsonl, one JSON object per line in the order of the steps, and its plot."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

from speechpress.runtime.atomic import atomic, write_text
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text, read_json_lines
from speechpress.runtime.schema import Fields, Maybe, Real, Table, Text, Whole, fits

_NUMBER = Maybe(Real(measured=True))


EVENT = Fields({"step": Whole(), "event": Text(100)}, {"loss": _NUMBER, "layers": Table(Table(_NUMBER))})


@dataclass(frozen=True)
class MetricsLog:
    """Appends events; after a resume, lines beyond the restored step are dropped, so that no step stands twice."""

    path: Path

    def write(self, event: dict[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json_text(event, ascii=True) + "\n")
        except OSError as error:
            raise SpeechpressError(f"{self.path}: cannot be written ({error})") from error

    def restart(self, at_step: int) -> None:
        kept = [event for event in self.read() if event["step"] <= at_step]
        # Replaced as a whole: a kill in the middle leaves the old log.
        write_text(self.path, "".join(json_text(event, ascii=True) + "\n" for event in kept))

    def read(self) -> list[dict[str, Any]]:
        """All whole lines of steps; one that a kill cut short is left out."""
        if not self.path.exists():
            return []
        found = (event for _, event in read_json_lines(self.path) if "step" in event)
        return [event for event in found if fits(event, EVENT)]


def plot_run(metrics: Path, out: Path) -> None:
    """Loss and per-layer cosine of training, with the held-out fidelity as points, over the steps; a PNG."""
    matplotlib.use("Agg")
    # Slow to import, and pyplot takes its backend on import.
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
    if valid and valid[0]["layers"]:
        right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic(out) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    # pyplot keeps every figure until it is closed, and a process may make many runs.
    plt.close(figure)


def _curve(axes: Any, events: list[dict[str, Any]], layer: str, color: str, style: str, label: str) -> None:
    # With standardised targets that is what training compares, and so what its own curve shows.
    found = [(event["step"], _cosine(event["layers"][layer])) for event in events if layer in event["layers"]]
    steps, cosines = [step for step, _ in found], [cosine for _, cosine in found]
    axes.plot(steps, cosines, style, color=color, label=label, ms=4, lw=1.2)


def _cosine(layer: dict[str, Any]) -> Any:
    return layer.get("standard_cosine", layer["cosine"])
