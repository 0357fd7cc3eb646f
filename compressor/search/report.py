"""What a search leaves beside its table: trials.csv, the plot of the front, and the best student's recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

from speechpress.runtime.atomic import atomic, write_text

from ..recipe.schema import Recipe
from ..views.warned import attempt
from .rows import AXES, DONE, SKIPPED, Row, best, finished, front, write_csv
from .space import Space, described, shaped

CSV, PLOT, BEST = "trials.csv", "front.svg", "best.yaml"


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
        plot = attempt("the plot of the search", lambda: plot_front(self.out / PLOT, ended, found, self))
        return {
            "trials": len(ended),
            **{state: sum(row["state"] == state for row in ended) for state in ("done", "skipped", "failed")},
            "front": found,
            "best": winner,
            "best_recipe": str(recipe) if winner else None,
            "table": str(self.out / CSV),
            "plot": None if plot is None else str(plot),
        }

    def best_recipe(self, row: Row) -> str:
        """The recipe of a row's student, to be trained in full, under a comment that says where it comes from."""
        shape = self.space.shape(self.space.numbers(row["shape"]))
        # They name lines of the recipe that this one comes from.
        recipe = replace(shaped(self.recipe, shape), name=f"{self.recipe.name}-searched", places={})
        scheme = shape.get("quantize", "none")
        chunk = f" --chunk-ms {row['chunk_ms']:g}" if recipe.streaming else ""
        lines = [
            f"Trial {row['trial']} of the search {self.out.name}: the most faithful within {self.budget_ms:g} ms.",
            f"{described(shape)}.",
            f"{row['p50_ms']:.2f} ms (p50) per {row['chunk_ms']:g} ms on {self.device}; after {self.steps} steps",
            f"its mean cosine to {self.teacher} on held-out speech was {row['fidelity']:.3f}.",
            "",
            "  compress distill --recipe best.yaml --data DIR --out runs/searched",
            f"  compress export runs/searched --target TARGET --quantize {scheme}{chunk}",
        ]
        return "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n" + recipe.text()


def plot_front(path: Path, rows: list[Row], found: list[Row], report: Report) -> Path:
    """Fidelity against latency: every student, the front as a line, the budget; at the foot what was not trained."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    axis = AXES[report.axis]
    trained = [row for row in rows if row["state"] == DONE]
    # Skipped by estimate alone: there is no latency to draw it at.
    over = [row for row in rows if row["state"] == SKIPPED and row["p50_ms"] is not None]
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(
        [row[axis] for row in trained], [row["fidelity"] for row in trained], "o", color="#8aa7c0", label="trained"
    )
    axes.step(
        [row[axis] for row in found],
        [row["fidelity"] for row in found],
        "o-",
        where="post",
        color="#30618c",
        label="front",
    )
    foot = min((row["fidelity"] for row in trained), default=0.0)
    axes.plot([row[axis] for row in over], [foot] * len(over), "x", color="#b0b0b0", label="over budget, not trained")
    for row in found:
        axes.annotate(
            str(row["trial"]), (row[axis], row["fidelity"]), textcoords="offset points", xytext=(4, 4), fontsize=8
        )
    # The budget is for a chunk, and has no place on an axis per second.
    if report.axis == "chunk":
        axes.axvline(report.budget_ms, color="#c0504d", ls="--", lw=1, label=f"budget, {report.budget_ms:g} ms")
    what = "p50 ms per chunk" if report.axis == "chunk" else "ms per second of audio (p50)"
    axes.set(xlabel=f"{what} on {report.device}", ylabel="mean cosine to the teacher, held out")
    axes.set_title(f"{report.recipe.name}: {len(trained)} students after {report.steps} steps")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="svg")
    plt.close(figure)
    return path
