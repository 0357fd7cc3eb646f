"""metrics.jsonl, one JSON object per line in the order of the steps, and its plot."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import atomic, write_text
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text, read_json_lines
from speechpress.runtime.schema import Fields, Maybe, Real, Table, Text, Whole, fits

from ..views.figures import INK, SERIES, drawn, legend_below, width

_NUMBER = Maybe(Real(measured=True))
MARKS = "osD^vPX*"  # beside the colour, so that layers are told apart without it


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
    events = MetricsLog(metrics).read()
    _, png = drawn(lambda: draw_run(events), out.stem)
    with atomic(out) as temporary:
        temporary.write_bytes(png)


def draw_run(events: list[dict[str, Any]]) -> Any:
    """Training as lines, what was measured on held-out speech as points: between them nothing is known."""
    import matplotlib.pyplot as plt

    train = [event for event in events if event["event"] == "train"]
    valid = [event for event in events if event["event"] == "valid"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(width(), 3.8))
    left.plot([event["step"] for event in train], [event["loss"] for event in train], color=SERIES[0], lw=1.2)
    left.set(title="training loss", xlabel="training step", ylabel="loss (no unit)")
    for index, layer in enumerate(valid[0]["layers"] if valid else []):
        colour = SERIES[index % len(SERIES)]
        right.plot(*_curve(train, layer), "-", color=colour, lw=1.2, label=f"layer {layer}, training")
        mark = MARKS[index % len(MARKS)]
        right.plot(*_curve(valid, layer), mark, color=colour, ms=6, mec=INK, mew=0.5, label=f"layer {layer}, held out")
    right.set(title="fidelity to the teacher", xlabel="training step", ylabel="cosine (1 is identical)")
    if valid and valid[0]["layers"]:
        legend_below(figure, right, most=4)
    for panel in (left, right):
        panel.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _curve(events: list[dict[str, Any]], layer: str) -> tuple[list[int], list[float]]:
    found = [event for event in events if layer in event["layers"]]
    return [event["step"] for event in found], [_cosine(event["layers"][layer]) for event in found]


def _cosine(layer: dict[str, Any]) -> Any:
    # With standardised targets that is what training compares, and so what its own curve shows.
    return layer.get("standard_cosine", layer["cosine"])
