"""`compress eval --report`: what of the teacher was kept, task by task, and score against size; HTML or Markdown.

It takes the JSON documents of `quick.evaluate` and of `suite.evaluate_suite`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import write_text
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import counted, markdown_text

from ..tasks.kinds import is_error, quality
from ..tasks.published import ABOUT as ABOUT_PUBLISHED
from ..tasks.published import published_table
from ..views.figures import both
from ..views.pages import markdown_table, render
from ..views.warned import attempt
from .figures import kept_by_task, score_by_size
from .retention import interval, mean, models_of, retention

ENDINGS = (".html", ".md")
FLOOR_TITLES = {"random": "random weights", "logmel": "log-mel"}
LAYER_WORDS = {"weighted": "a learned weighted sum", "last": "the last one only", "best": "the best one of each"}
MEGA = 1e6


def check_report(path: Path) -> None:
    """Before any long work; raises SpeechpressError for a file that is neither a page nor Markdown."""
    if path.suffix.lower() not in ENDINGS:
        raise SpeechpressError(f"--report {path}: must end in .html or .md (JSON is what --json prints)")


def reported(path: Path | None) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What `compress eval` does with its document: add what was kept, and write the report that was asked for.

    Raises SpeechpressError at once for a path that cannot be one.
    """
    if path is not None:
        check_report(path)

    def finish(document: dict[str, Any]) -> dict[str, Any]:
        whole = {**document, "retention": retention(document)}
        if path is None:
            return whole
        # A page that cannot be drawn must not lose what was measured.
        written = attempt(f"the report {path}", lambda: write_report([document], path))
        return whole | {"report": str(path) if written else None}

    return finish


@dataclass(frozen=True)
class Dot:
    """A model in the plot of score against size."""

    name: str
    role: str  # student, teacher, other, random
    size_bytes: float
    score: float


def dots(documents: Sequence[Mapping[str, Any]]) -> list[Dot]:
    """Every model whose size is known, with its mean quality over the tasks that all documents have."""
    # A mean over other tasks would be no comparison.
    common = common_tasks(documents)
    found: dict[tuple[str, float], Dot] = {}
    for document in documents:
        for name, size_bytes in document.get("size_bytes", {}).items():
            score = mean_quality(document, name, common)
            if size_bytes and score is not None:
                role = name if name in ("student", "teacher", "random") else "other"
                dot = Dot(title(document, name), role, size_bytes, score)
                # The same teacher stands in several documents, and once in the plot.
                found.setdefault((dot.name, size_bytes), dot)
    return list(found.values())


def common_tasks(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for name in documents[0]["tasks"] if all(name in document["tasks"] for document in documents)]


def mean_quality(document: Mapping[str, Any], model: str, tasks: Sequence[str]) -> float | None:
    """Over tasks, on the scale of `kinds.quality`; None when a score is missing."""
    found = [document["tasks"][name] for name in tasks]
    if not found or any(task.get(model) is None for task in found):
        return None
    return mean([quality(task["metric"], task[model]) for task in found])


def title(document: Mapping[str, Any], model: str) -> str:
    """The student by its folder's name, a floor by what it is."""
    return Path(document["checkpoint"]).name if model == "student" else FLOOR_TITLES.get(model, model)


def write_report(documents: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write a page (.html) or Markdown (.md) of one or several results; returns its path.

    Raises:
        SpeechpressError: another ending, no document, or one that is no result of `compress eval`.
    """
    check_report(path)
    if not documents:
        raise SpeechpressError(f"{path}: there is no result to report")
    for document in documents:
        if not document.get("tasks"):
            raise SpeechpressError(f"{path}: this is not a result of `compress eval`: it has no tasks")
    view = report_view(documents)
    if path.suffix.lower() == ".md":
        return write_text(path, report_markdown(view))
    plots = {}
    if view["dots"]:
        plots["size"] = both(lambda: score_by_size(view["dots"], view["floor_lines"]), "size", "score against size")
    for number, part in enumerate(view["parts"]):
        plots[f"kept-{number}"] = both(partial(kept_by_task, part["rows"]), f"kept-{number}", "quality by task")
    return write_text(path, render("eval_report.html.j2", view=view, plots=plots))


def report_view(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that page and Markdown show, as texts and rows."""
    common = common_tasks(documents)
    lines = {title(d, "logmel"): score for d in documents if (score := mean_quality(d, "logmel", common)) is not None}
    return {
        "parts": [_part(document) for document in documents],
        "models": models_table(documents),
        "common": common,
        "dots": dots(documents),
        "floor_lines": lines,
        "published": published_table(),
        "about_published": ABOUT_PUBLISHED,
    }


def _part(document: Mapping[str, Any]) -> dict[str, Any]:
    kept = retention(document)
    return {
        "title": title(document, "student"),
        "table": retention_table(document, kept),
        "rows": [_quality_row(name, task, kept["tasks"][name]) for name, task in document["tasks"].items()],
        "below": [name for name, task in document["tasks"].items() if _below(task)],
        "mean": {key: percent(value) for key, value in kept["mean"]["student"].items() if key != "tasks"},
        "counted": kept["mean"]["student"]["tasks"],
        "size": _sizes(document),
        "facts": _facts(document),
        "notes": [*left_out(kept), *_task_notes(document), *document.get("notes", []), *_complaints(document)],
    }


def left_out(kept: Mapping[str, Any]) -> list[str]:
    """Tasks that are in no mean of what was kept above the floor, each with why."""
    return [f"{name}: not in the mean above the floor: {why}" for name, why in kept["left_out"].items()]


def mean_above(document: Mapping[str, Any], kept: Mapping[str, Any]) -> str:
    """The student's mean above the floor, with its interval where that is of these very tasks."""
    shown = percent(kept["mean"]["student"]["kept_above_floor"])
    drawn = document.get("kept_above_floor") or {}
    counted = [name for name in kept["tasks"] if name not in kept["left_out"]]
    if drawn.get("tasks") != counted or "student" not in drawn["models"]:
        return shown
    low, high = drawn["models"]["student"]
    return f"{shown} ({percent(low)} to {percent(high)})"


def retention_table(document: Mapping[str, Any], kept: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A row for each task: scores with intervals, and both retentions of the student."""
    heads = [
        "task",
        "metric",
        "student",
        "teacher",
        "random weights",
        "log-mel",
        "student / teacher",
        "above the floor",
    ]
    rows = []
    for name, task in document["tasks"].items():
        own = kept["tasks"][name]["models"]["student"]
        arrow = "↓" if is_error(task["metric"]) else "↑"
        scores = [scored(task, model) for model in ("student", "teacher", "random", "logmel")]
        rows.append(
            [name, f"{task['metric']} {arrow}", *scores, percent(own["of_teacher"]), percent(own["kept_above_floor"])]
        )
    mean = kept["mean"]["student"]
    rows.append(["mean", "", "", "", "", "", percent(mean["of_teacher"]), mean_above(document, kept)])
    return heads, rows


def models_table(documents: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]] | None:
    """A row for each student and what was measured against it, where there are several; scores and what was kept."""
    pairs = [(document, model) for document in documents for model in models_of(document)]
    if len(pairs) < 2:
        return None
    tasks = list(dict.fromkeys(name for document in documents for name in document["tasks"]))
    heads = ["model", "size", *tasks, "of its teacher", "above the floor"]
    rows = []
    for document, model in pairs:
        mean = retention(document)["mean"][model]
        scores = [plain(document["tasks"].get(name), model) for name in tasks]
        size_bytes = document.get("size_bytes", {}).get(model)
        size = f"{size_bytes / MEGA:.1f} MB" if size_bytes else "–"
        rows.append(
            [title(document, model), size, *scores, percent(mean["of_teacher"]), percent(mean["kept_above_floor"])]
        )
    return heads, rows


def _quality_row(name: str, task: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """Where everybody stands on the scale of quality, for the plot."""

    def at(model: str) -> float | None:
        return None if task.get(model) is None else quality(task["metric"], task[model])

    row: dict[str, Any] = {model: at(model) for model in ("student", "teacher", *FLOOR_TITLES)}
    return {"task": f"{name} ({task['metric']})", "ci95": interval(task, "student"), "floor": kept["floor"], **row}


def _below(task: Mapping[str, Any]) -> bool:
    found = [quality(task["metric"], task[name]) for name in FLOOR_TITLES if task.get(name) is not None]
    return bool(found) and quality(task["metric"], task["student"]) < max(found)


def _sizes(document: Mapping[str, Any]) -> str | None:
    sizes = document.get("size_bytes", {})
    if not sizes.get("student"):
        return None
    words = f"{sizes['student'] / MEGA:.1f} MB"
    return words + (f" of {sizes['teacher'] / MEGA:.1f} MB" if sizes.get("teacher") else "")


def _facts(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [("checkpoint", document["checkpoint"])]
    if document.get("data"):
        facts.append(("data", document["data"]))
    if document.get("hours"):
        facts.append(("audio", f"{document['hours']:.2f} h"))
    if document.get("layers"):
        facts.append(("layers", LAYER_WORDS.get(document["layers"], document["layers"])))
    if budget := document.get("budget"):
        rates = ", ".join(f"{lr:g}" for lr in budget["lrs"])
        steps, seeds = counted(budget["steps"], "step"), counted(budget["seeds"], "seed")
        facts.append(("budget", f"{steps} of {counted(budget['batch'], 'clip')}, learning rates {rates}, {seeds}"))
    if latency := document.get("latency"):
        facts.append(("heard", f"in chunks of {latency['chunk_ms']:g} ms"))
    methods = sorted({task["ci95_method"] for task in document["tasks"].values() if task.get("ci95_method")})
    return [*facts, ("intervals", "95 %: " + "; ".join(methods))] if methods else facts


def _task_notes(document: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {note}" for name, task in document["tasks"].items() for note in task.get("notes", [])]


def _complaints(document: Mapping[str, Any]) -> list[str]:
    """Of `--sanity`, where that was asked for."""
    return [f"out of order: {line}" for line in (document.get("sanity") or {}).get("complaints", [])]


def scored(task: Mapping[str, Any], model: str) -> str:
    """0.812 (0.784–0.837), or a dash."""
    if task.get(model) is None:
        return "–"
    low, high = task["ci95"][model]
    return f"{task[model]:.3f} ({low:.3f}–{high:.3f})"


def plain(task: Mapping[str, Any] | None, model: str) -> str:
    return "–" if task is None or task.get(model) is None else f"{task[model]:.3f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def report_markdown(view: Mapping[str, Any]) -> str:
    """The same in Markdown."""
    parts = ["# What the student kept\n"]
    for part in view["parts"]:
        parts += [f"## {markdown_text(part['title'])}\n", markdown_table(*part["table"], left=2)]
        parts.append("\n".join(f"- {name}: {markdown_text(value)}" for name, value in part["facts"]) + "\n")
        if part["notes"]:
            parts.append("\n".join(f"- {markdown_text(note)}" for note in part["notes"]) + "\n")
    if view["models"]:
        parts += ["## Side by side\n", markdown_table(*view["models"])]
    if view["dots"]:
        rows = [[d.name, f"{d.size_bytes / MEGA:.1f} MB", f"{d.score:.3f}"] for d in view["dots"]]
        parts += [f"## Score against size\n\nMean quality over {markdown_text(', '.join(view['common']))}.\n"]
        parts.append(markdown_table(["model", "size", "mean quality"], rows))
    parts += ["## Published, for orientation\n", f"{view['about_published']}\n", markdown_table(*view["published"])]
    return "\n".join(parts)
