"""What a search leaves beside its table: trials.csv, a page, the plot of the front, and the best student's recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import write_text
from speechpress.runtime.escape import counted

from ..recipe.schema import Recipe
from ..views.figures import SERIES, Draw, both, drawn, legend_below, width
from ..views.pages import render
from ..views.warned import attempt
from .rows import AXES, DONE, SKIPPED, Row, best, finished, front, write_csv
from .space import Space, described, shaped

CSV, PLOT, PAGE, BEST = "trials.csv", "front.svg", "search.html", "best.yaml"
# Of the page's table: title, key of a row, what it is divided by, digits.
FIGURES = (
    ("fidelity", "fidelity", 1, 3),
    ("p50, ms", "p50_ms", 1, 2),
    ("p99, ms", "p99_ms", 1, 2),
    ("ms per s", "ms_per_s", 1, 1),
    ("GMAC/s", "macs_per_s", 1e9, 2),
    ("MB", "size_bytes", 1e6, 1),
)


@dataclass(frozen=True)
class Report:
    """Of which search: its recipe as it was before the proxy's steps, and what was asked for."""

    recipe: Recipe
    space: Space
    out: Path
    budget_ms: float
    axis: str
    device: str
    steps: int
    teacher: str

    def write(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Write all of it; what `compress search --json` says of the rows."""
        ended = finished(list(rows))
        write_csv(self.out / CSV, ended)
        found, winner = front(ended, AXES[self.axis]), best(ended, AXES[self.axis])
        recipe = self.out / BEST
        if winner is None:
            recipe.unlink(missing_ok=True)
        else:
            write_text(recipe, self.best_recipe(winner))
        draw = partial(draw_front, ended, found, self)
        plot = attempt("the plot of the search", lambda: write_text(self.out / PLOT, drawn(draw, "front")[0]))
        page = attempt("the page of the search", lambda: self._page(ended, found, winner, draw))
        return {
            "trials": len(ended),
            **{state: sum(row["state"] == state for row in ended) for state in ("done", "skipped", "failed")},
            "front": found,
            "best": winner,
            "best_recipe": str(recipe) if winner else None,
            "table": str(self.out / CSV),
            "plot": None if plot is None else str(plot),
            "page": None if page is None else str(page),
        }

    def _page(self, rows: Sequence[Row], found: Sequence[Row], winner: Row | None, draw: Draw) -> Path:
        figure = both(draw, "front", "fidelity against latency")
        return write_text(self.out / PAGE, render("search.html.j2", view=self.view(rows, found, winner), figure=figure))

    def view(self, rows: Sequence[Row], found: Sequence[Row], winner: Row | None) -> dict[str, Any]:
        """What the page shows."""
        states = ", ".join(
            f"{count} {state}" for state in ("done", "skipped", "failed") if (count := _count(rows, state))
        )
        tiles = [("trials", str(len(rows)), states)]
        if winner is not None:
            shape, cost = described(winner["shape"]), f"budget {self.budget_ms:g} ms per chunk"
            tiles = [
                ("highest fidelity", f"{winner['fidelity']:.3f}", f"trial {winner['trial']}: {shape}"),
                ("its latency, p50", f"{winner['p50_ms']:.2f} ms", cost),
                *tiles,
            ]
        return {
            "title": f"{self.recipe.name}, within {self.budget_ms:g} ms on {self.device}",
            "about": f"fidelity to {self.teacher} after {counted(self.steps, 'training step')}",
            "tiles": tiles,
            "heads": ["trial", "state", *(name for name, _, _, _ in FIGURES), "shape", "reason"],
            "words": [1, len(FIGURES) + 2, len(FIGURES) + 3],  # columns of words
            "rows": [_cells(row) for row in rows],
            "front": [number for number, row in enumerate(rows) if row in found],
        }

    def best_recipe(self, row: Row) -> str:
        """The recipe of a row's student, to be trained in full, under a comment that says where it comes from."""
        shape = self.space.shape(self.space.numbers(row["shape"]))
        # They name lines of the recipe that this one comes from.
        recipe = replace(shaped(self.recipe, shape), name=f"{self.recipe.name}-searched", places={})
        scheme, steps = shape.get("quantize", "none"), counted(self.steps, "step")
        chunk = f" --chunk-ms {row['chunk_ms']:g}" if recipe.streaming else ""
        lines = [
            f"Trial {row['trial']} of the search {self.out.name}: the most faithful within {self.budget_ms:g} ms.",
            f"{described(shape)}.",
            f"{row['p50_ms']:.2f} ms (p50) per {row['chunk_ms']:g} ms on {self.device}; after {steps}",
            f"its mean cosine to {self.teacher} on held-out speech was {row['fidelity']:.3f}.",
            "",
            "  compress distill --recipe best.yaml --data DIR --out runs/searched",
            f"  compress export runs/searched --target TARGET --quantize {scheme}{chunk}",
        ]
        return "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n" + recipe.text()


def _count(rows: Sequence[Row], state: str) -> int:
    return sum(row["state"] == state for row in rows)


def _cells(row: Row) -> list[str]:
    figures = ["–" if row[key] is None else f"{row[key] / scale:.{digits}f}" for _, key, scale, digits in FIGURES]
    shape = described({**row["shape"], "chunk_ms": row["chunk_ms"]} if row["chunk_ms"] else row["shape"])
    return [str(row["trial"]), row["state"], *figures, shape, row["reason"] or ""]


def draw_front(rows: Sequence[Row], found: Sequence[Row], report: Report) -> Any:
    """Fidelity against latency: every student, the front as a line, the budget; at the foot what was not trained."""
    import matplotlib.pyplot as plt

    axis = AXES[report.axis]
    trained = [row for row in rows if row["state"] == DONE]
    # Skipped by estimate alone: there is no latency to draw it at.
    over = [row for row in rows if row["state"] == SKIPPED and row["p50_ms"] is not None]
    figure, panel = plt.subplots(figsize=(width(), 4.2))
    foot = min((row["fidelity"] for row in trained), default=0.0)
    panel.plot([row[axis] for row in over], [foot] * len(over), "x", color=SERIES[1], label="over budget, not trained")
    panel.plot(
        [row[axis] for row in trained], [row["fidelity"] for row in trained], "o", color=SERIES[5], label="trained"
    )
    panel.step(
        *([row[key] for row in found] for key in (axis, "fidelity")), "o-", where="post", color=SERIES[0], label="front"
    )
    for row in found:
        place = row[axis], row["fidelity"]
        panel.annotate(str(row["trial"]), place, textcoords="offset points", xytext=(4, 4), fontsize=8)
    # The budget is for a chunk, and has no place on an axis per second.
    if report.axis == "chunk":
        panel.axvline(report.budget_ms, color=SERIES[1], ls="--", lw=1.2, label=f"budget, {report.budget_ms:g} ms")
    what = "p50 per chunk (ms)" if report.axis == "chunk" else "p50 per second of audio (ms)"
    panel.set(xlabel=f"{what} on {report.device}", ylabel="cosine to the teacher, held out")
    legend_below(figure, panel)
    return figure
