"""A study as files: JSON, one page to look at offline, Markdown, and every plot as SVG and PNG."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import filled, write_json, write_text
from speechpress.runtime.escape import counted, markdown_text

from ..views.figures import both, drawn, save
from ..views.pages import markdown_table, render
from ..views.warned import attempt
from .figures import study_figures

RESULT = "study.json"
ABOUT = {
    "accuracy": "Accuracy of a probe on each layer alone, by task",
    "weights": "Learned weights of the layers, by task",
    "cka": "CKA of the teacher's layers with each other",
    "cka-students": "CKA of the teacher's layers with those of students",
    "students": "Students of the comparison, by task",
}


def write_study(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write study.json, and study.html, study.md and the plots as far as they can be drawn; returns what was written.

    `folder` may hold students already, which stay; study.json comes last.
    """
    with filled(folder, [RESULT]) as part:
        write_json(part / RESULT, dict(document))
        # Hours of probes must not be lost to a plot that fails.
        drawn = attempt("the pages of the study", lambda: _draw(document, part)) or []
        names = [path.name for path in drawn]
    return [folder / name for name in [*names[:2], RESULT, *names[2:]]]


def _draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """study.html, study.md and the plots."""
    figures, view = study_figures(document), study_view(document)
    shown = {name: both(draw, name, ABOUT[name]) for name, draw in figures.items()}
    html, markdown = folder / "study.html", folder / "study.md"
    write_text(html, render("study.html.j2", view=view, study=document, figures=shown))
    write_text(markdown, study_markdown(document, view, list(figures)))
    return [html, markdown, *save(folder, {name: drawn(draw, name) for name, draw in figures.items()})]


def study_view(document: Mapping[str, Any]) -> dict[str, Any]:
    """Texts for page, Markdown and terminal, all from here: tables as heads and rows."""
    return {
        "teacher": teacher_line(document["teacher"]),
        "layers": layers_table(document),
        "floors": floors_table(document),
        "arms": arms_table(document) if document["comparison"] else None,
        "students": students_table(document) if document["students"] else None,
        "notes": all_notes(document),
    }


def teacher_line(teacher: Mapping[str, Any]) -> str:
    kind = "supervised" if teacher["supervised"] else "self-supervised"
    return (
        f"{teacher['source']}: {teacher['family']}, {counted(teacher['depth'], 'layer')} × {teacher['width']}, "
        f"{teacher['parameters'] / 1e6:.2f} M parameters, {kind}"
    )


def layers_table(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A row for each layer: test accuracy and learned weight, by task; the best on val is marked."""
    tasks, chosen = document["tasks"], document["suggestion"]["layers"]
    heads = ["layer", *tasks, *(f"weight, {name}" for name in tasks)]
    rows = []
    for k in range(document["teacher"]["depth"] + 1):
        scores = [_score(task, k) for task in tasks.values()]
        weights = [f"{task['weighted']['layer_weights'][k]:.3f}" for task in tasks.values()]
        rows.append([f"{k}{' (suggested)' if k in chosen else ''}", *scores, *weights])
    return heads, rows


def _score(task: Mapping[str, Any], layer: int) -> str:
    return f"{task['layers'][layer]['test']:.3f}" + (" *" if task["best_layer"] == layer else "")


def floors_table(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A row for each task: the learned sum, the best layer, and what is there without learning."""
    heads = ["task", "learned sum", "best layer", "random weights", "log-mel", "chance", "classes", "test clips"]
    rows = []
    for name, task in document["tasks"].items():
        best = task["layers"][task["best_layer"]]
        rows.append(
            [
                name,
                cell(task["weighted"]),
                f"{task['best_layer']}: {cell(best)}",
                cell(task["random"]),
                cell(task["logmel"]),
                f"{task['chance']:.3f}",
                str(task["classes"]),
                str(task["clips"]["test"]),
            ]
        )
    return heads, rows


def arms_table(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A row for each student of the comparison."""
    heads = ["heads predict", "choice", *document["tasks"], "mean", "R2", "CKA of last layers"]
    rows = []
    for arm in document["comparison"]["arms"]:
        student = document["students"][arm["student"]]
        rows.append(
            [
                ", ".join(map(str, arm["layers"])),
                ", ".join(kind_words(kind) for kind in arm["kinds"]),
                *(cell(task) for task in student["tasks"].values()),
                f"{arm['accuracy']:.3f} ± {arm['noise']:.3f}",
                f"{arm['r2']:.3f}",
                _last_cka(document, arm["student"]),
            ]
        )
    return heads, rows


def kind_words(kind: str) -> str:
    """suggested-2 -> suggested for 2 heads."""
    if kind == "last":
        return "last layer only"
    name, heads = kind.rsplit("-", 1)
    return f"{'suggested' if name == 'suggested' else 'evenly spaced'} for {heads}"


def students_table(document: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A row for each student, also those that were brought along."""
    heads = ["student", "heads predict", *document["tasks"], "R2", "CKA of last layers", "parameters", "steps"]
    rows = []
    for name, student in document["students"].items():
        steps = student["steps"]
        rows.append(
            [
                name,
                ", ".join(map(str, student["layers"])) or "–",
                *(cell(task) for task in student["tasks"].values()),
                f"{student['r2']:.3f}",
                _last_cka(document, name),
                f"{student['parameters'] / 1e6:.2f} M",
                "–" if steps is None else f"{steps:,}",
            ]
        )
    return heads, rows


def _last_cka(document: Mapping[str, Any], student: str) -> str:
    # Rows are the teacher's layers, columns the student's.
    return f"{document['cka']['students'][student][-1][-1]:.3f}"


def cell(score: Mapping[str, Any] | None) -> str:
    """0.812 (0.784–0.837), or a dash."""
    return "–" if score is None else f"{score['test']:.3f} ({score['ci95'][0]:.3f}–{score['ci95'][1]:.3f})"


def all_notes(document: Mapping[str, Any]) -> list[str]:
    """What has to be said of the data, the teacher and the figures."""
    notes = [f"{name}: {note}" for name, task in document["tasks"].items() for note in task["notes"]]
    skipped = document["skipped"]
    if skipped:
        notes.append(f"{len(skipped)} clips could not be read, the first: {skipped[0]['path']}: {skipped[0]['reason']}")
    if document["teacher"]["supervised"]:
        notes.append("this teacher was trained on transcripts or labels: it is not self-supervised")
    return [*document["notes"], *notes]


def study_markdown(document: Mapping[str, Any], view: Mapping[str, Any], figures: list[str]) -> str:
    """The same in Markdown; plots are linked beside it."""
    suggestion, comparison = document["suggestion"], document["comparison"]
    parts = [
        f"# Which layers to distil\n\n{markdown_text(view['teacher'])}\n",
        f"**{markdown_text(suggestion['reason'])}**\n",
    ]
    parts.append(
        "\n".join(f"{n}. {markdown_text(step['reason'])}" for n, step in enumerate(suggestion["steps"], 1)) + "\n"
    )
    parts.append("## Each layer alone\n\nTest accuracy; * is the best on val.\n")
    parts += [markdown_table(*view["layers"]), markdown_table(*view["floors"])]
    parts += [f"![{ABOUT[name]}]({name}.png)\n" for name in ("accuracy", "weights")]
    parts.append(f"## How similar layers are\n\nLinear CKA on {document['cka']['frames']} frames of test clips.\n")
    parts += [f"![{ABOUT[name]}]({name}.png)\n" for name in ("cka", "cka-students") if name in figures]
    if comparison:
        parts.append(
            f"## Students at {counted(comparison['steps'], 'step')} each, recipe "
            f"{markdown_text(comparison['recipe'])}\n"
        )
        parts += [
            markdown_table(*view["arms"], left=2),
            "\n".join(f"- {markdown_text(line)}" for line in comparison["verdict"]) + "\n",
        ]
        parts.append(f"![{ABOUT['students']}](students.png)\n")
    elif view["students"]:
        parts += ["## Students\n", markdown_table(*view["students"], left=2)]
    if view["notes"]:
        parts.append("## Notes\n\n" + "\n".join(f"- {markdown_text(note)}" for note in view["notes"]) + "\n")
    return "\n".join(parts)
