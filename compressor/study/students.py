"""Whether a suggestion of layers holds: students with one, two, three heads on several choices, at equal steps.

Shapes: S samples.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from ..data.audio import cut_place
from ..data.corpus import open_corpus
from ..data.heldout import hold_out
from ..distill.distill import distill
from ..distill.objectives import load_heads
from ..distill.plan import plan
from ..distill.resume import check_identity
from ..distill.run import RunOptions
from ..evaluate.extract import extract, stores
from ..evaluate.fidelity import fidelity
from ..evaluate.lineup import Heard
from ..evaluate.probes import probe
from ..evaluate.solve import class_parts
from ..evaluate.suite import wanted
from ..evaluate.upstreams import encoder_upstream
from ..models.checkpoint import CARD, STATE, Checkpoint, parameters
from ..models.document_schema import read_card
from ..models.events import Event, OnText
from ..recipe.files import load_recipe
from ..recipe.schema import Recipe
from ..tasks.task import Task
from ..teachers.load import Teacher
from .choose import Suggestion, evenly
from .probes import brief

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """How students are trained: `out` gets a folder for each, `sets` changes keys of the recipe."""

    data: tuple[Path, ...]
    out: Path
    steps: int
    recipe: str = "distilhubert"
    sets: tuple[str, ...] = ()
    device: str = "auto"


@dataclass(frozen=True)
class Runs:
    """Training on a given teacher, looked at before any long work."""

    training: Training
    teacher: Teacher
    most: int
    fingerprint: str
    heard: frozenset[str]  # recordings that students are trained on

    def recipe(self, layers: Sequence[int]) -> Recipe:
        """The recipe with these layers, which are the teacher's own numbers, and everything else the same."""
        training = self.training
        # Seldom: students are measured afterwards in any case.
        often = f"train.validate_every={max(1, training.steps // 4)}"
        own = [f"teacher={self.teacher.card.source}", often, *training.sets, f"train.steps={training.steps}"]
        # After the sets of the user, which must not change what makes students comparable.
        return load_recipe(training.recipe, [*own, f"match.layers={list(layers)}"])


@dataclass(frozen=True)
class Arm:
    """One student: the layers that its heads predict, and which choices these are."""

    layers: tuple[int, ...]
    kinds: tuple[str, ...]
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name


def check_training(training: Training, teacher: Teacher, most: int) -> Runs:
    """Look at everything that the runs take. Raises SpeechpressError for whatever cannot be had."""
    if training.steps < 1:
        raise SpeechpressError(f"study: --steps {training.steps}: students need at least one step")
    foreign = training.out.is_dir() and any(training.out.iterdir()) and not (training.out / "students").is_dir()
    if foreign and not (training.out / "study.json").is_file():
        raise SpeechpressError(f"{training.out}: contains something other than a study; use another --out")
    corpus = open_corpus(*training.data)
    runs = Runs(training, teacher, most, corpus.fingerprint, frozenset())
    # Any layers do for a look at everything else.
    recipe = runs.recipe([teacher.card.depth])
    last, (train_part, _) = plan(recipe, teacher), hold_out(corpus, recipe.train.seed, recipe.train.crop_s)
    hop = last.student.config.hop_samples
    if hop != teacher.card.hop_samples:
        raise SpeechpressError(
            # 16 samples are 1 ms at 16 kHz.
            f"{training.recipe}: its student has a frame every {hop / 16:g} ms, but {teacher.card.source} has one "
            f"every {teacher.card.hop_samples / 16:g} ms; use another --recipe"
        )
    # Resolved: the same file may be reached by another path.
    return replace(runs, heard=frozenset(str(Path(cut_place(cut)).resolve()) for cut in train_part.cuts))


def leaks(runs: Runs, tasks: Sequence[Task]) -> list[str]:
    """What has to be said of test clips that students are trained on, without their labels."""
    said = []
    for task in tasks:
        places = [item.sound.place for item in task.part("test")]
        count = sum(str(Path(place).resolve()) in runs.heard for place in places)
        if count:
            said.append(
                f"{task.name}: students of the comparison are trained on {count} of its {len(places)} test clips "
                "(without labels, all students alike), because they are not marked as test"
            )
    return said


def choose_arms(suggestion: Suggestion, depth: int, most: int, out: Path) -> list[Arm]:
    """Suggested and evenly spaced layers for 1 to `most` heads; one head at equal steps is the last layer alone."""
    kinds: dict[tuple[int, ...], list[str]] = {}
    for heads in range(1, most + 1):
        for kind, layers in (("suggested", suggestion.first(heads)), ("even", evenly(heads, depth))):
            # In a shallow teacher there are fewer evenly spaced layers than heads.
            if len(layers) == heads:
                # What two choices agree on is trained once.
                kinds.setdefault(layers, []).append("last" if kind == "even" and heads == 1 else f"{kind}-{heads}")
    return [
        Arm(layers, tuple(names), out / "students" / f"layers-{'-'.join(map(str, layers))}")
        for layers, names in kinds.items()
    ]


def train_arms(runs: Runs, suggestion: Suggestion, listen: OnText) -> list[Arm]:
    """Distil every arm; a finished run is taken as it is, an unfinished one goes on.

    Raises KeyboardInterrupt when it is interrupted, with the run kept, and SpeechpressError when a folder holds another
    run.
    """
    arms = choose_arms(suggestion, runs.teacher.card.depth, runs.most, runs.training.out)
    for number, arm in enumerate(arms, 1):
        recipe = runs.recipe(arm.layers)
        if _finished(arm.folder):
            _check_same(arm.folder, recipe, runs)
            listen(f"student {number} of {len(arms)}, {arm.name}: already exists")
            continue
        # Killed before its first save, it has nothing to go on from, and starts anew.
        going_on = (arm.folder / STATE).is_file()
        options = RunOptions(runs.training.data, arm.folder, runs.training.device, going_on, overwrite=not going_on)
        outcome = distill(recipe, options, _told(f"student {number} of {len(arms)}, {arm.name}", recipe, listen))
        if not outcome.finished:
            # distill takes the first Ctrl-C itself; here it ends the study.
            listen(f"interrupted; the same command with --out {runs.training.out} goes on")
            raise KeyboardInterrupt
    return arms


def _finished(folder: Path) -> bool:
    return (folder / CARD).is_file() and bool(read_card(folder / CARD).get("finished"))


def _check_same(folder: Path, recipe: Recipe, runs: Runs) -> None:
    """As `--resume` does: a student of another recipe, teacher or data must not pass for this one."""
    card = read_card(folder / CARD)
    teacher, data = card.get("teacher") or {}, card.get("data") or {}
    saved = {"recipe": card.get("recipe"), "teacher": teacher.get("sha256"), "data": data.get("fingerprint")}
    now = {"recipe": recipe.to_dict(), "teacher": runs.teacher.card.sha256, "data": runs.fingerprint}
    check_identity(folder, saved, now)


def _told(name: str, recipe: Recipe, listen: OnText) -> Any:
    told = max(1, recipe.train.steps // 10)

    def hear(event: Event) -> None:
        if event["event"] == "train" and event["step"] % told == 0:
            listen(f"{name}: step {event['step']} of {recipe.train.steps}, loss {event['loss']:.3f}")

    return hear


@dataclass(frozen=True)
class Measuring:
    """On what students are measured; `waves` are test clips, (1, S) each."""

    teacher: Teacher
    tasks: Sequence[Task]
    waves: list[Tensor]
    seeds: int
    cache: Path | None
    device: str
    listen: OnText


def measure_students(opened: Mapping[str, Checkpoint], on: Measuring) -> dict[str, Any]:
    """Probes of the learned sum of each student's layers, and fidelity of its last one to every teacher layer.

    Returns:
        {name: {"path", "layers" (that its heads predict), "steps", "parameters", "tasks": {task: {"val", "test",
        "ci95"}}, "fidelity": see `fidelity.fidelity`, "r2": the mean over the teacher's layers}}.
    """
    if not opened:
        return {}
    upstreams = {name: encoder_upstream(checkpoint.encoder.to(on.device)) for name, checkpoint in opened.items()}
    found = {}
    with stores(on.cache, upstreams) as kept:
        extract(upstreams, wanted(on.tasks), kept, on.device, on.listen)
        for name, checkpoint in opened.items():
            scores = {p.name: brief(probe(*class_parts(p, kept[name]), on.seeds)) for p in on.tasks}
            on.listen(f"{name}: " + ", ".join(f"{task} {score['test']:.3f}" for task, score in scores.items()))
            found[name] = {**_lineage(checkpoint), "tasks": scores, **_fidelity(checkpoint, on)}
    return found


def _lineage(checkpoint: Checkpoint) -> dict[str, Any]:
    card = checkpoint.card
    return {
        "path": str(checkpoint.path),
        "layers": list((card.get("match") or {}).get("layers") or []),
        "steps": card.get("steps"),
        "parameters": parameters(checkpoint.encoder),
    }


def _fidelity(checkpoint: Checkpoint, on: Measuring) -> dict[str, Any]:
    heads = load_heads(checkpoint.path, checkpoint.encoder.config.width, on.teacher.card.width)
    student = Heard(encoder_upstream(checkpoint.encoder))
    detail = fidelity(student, on.teacher, None if heads is None else heads.to(on.device), on.waves)
    r2 = [entry["linear"]["r2"] for entry in detail.values()]
    return {"fidelity": detail, "r2": sum(r2) / len(r2)}


def compared(runs: Runs, arms: Sequence[Arm], found: Mapping[str, Any], heads: int) -> dict[str, Any]:
    """The arms side by side, and whether the suggestion for so many heads holds; plain JSON.

    Returns:
        {"recipe", "steps", "data", "arms": [{"student", "layers", "kinds", "accuracy" (mean over tasks), "noise",
        "r2"}], "verdict"}.
    """
    rows = [
        {"student": arm.name, "layers": list(arm.layers), "kinds": list(arm.kinds), **_mean(found[arm.name])}
        for arm in arms
    ]
    training = runs.training
    return {
        "recipe": training.recipe,
        "sets": list(training.sets),
        "steps": training.steps,
        "data": [str(path) for path in training.data],
        "arms": rows,
        "verdict": verdict(rows, heads),
    }


def _mean(student: Mapping[str, Any]) -> dict[str, float]:
    """Mean accuracy over tasks, the half width of its 95 % interval (tasks taken as independent), and R2."""
    tasks = list(student["tasks"].values())
    widths = [(task["ci95"][1] - task["ci95"][0]) / 2 for task in tasks]
    return {
        "accuracy": sum(task["test"] for task in tasks) / len(tasks),
        "noise": math.sqrt(sum(width**2 for width in widths)) / len(tasks),
        "r2": student["r2"],
    }


def verdict(arms: Sequence[Mapping[str, Any]], heads: int) -> list[str]:
    """Sentences: for each number of heads the suggested layers against the others, then the suggestion against all.

    A difference counts when it is larger than both intervals together (in squares); students are tested on the same
    clips, so that is careful. It does not hold another seed of the training.
    """
    by_kind = {kind: arm for arm in arms for kind in arm["kinds"]}
    words = []
    for count in range(1, len(by_kind) + 1):
        own, other = by_kind.get(f"suggested-{count}"), by_kind.get("last" if count == 1 else f"even-{count}")
        if own is not None and other is not None:
            words.append(f"{count} head{'s' if count > 1 else ''}: {_against(own, other)}")
    own = by_kind[f"suggested-{heads}"]
    rest = [arm for arm in arms if arm["student"] != own["student"]]
    if not rest:
        return words
    best = max(rest, key=lambda arm: arm["accuracy"])
    # Independent errors add up in squares.
    gap, noise = own["accuracy"] - best["accuracy"], math.hypot(own["noise"], best["noise"])
    holds = "holds" if gap > noise else "does not hold" if gap < -noise else "is neither confirmed nor refuted"
    words.append(
        f"the suggestion {holds}: {_layers(own)} {own['accuracy']:.3f} on average, the best other choice "
        f"({_layers(best)}) {best['accuracy']:.3f}, a difference of {gap:+.3f} ± {noise:.3f}; one training run each"
    )
    return words


def _against(own: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    if own["student"] == other["student"]:
        return f"the suggested and the evenly spaced choice are the same, {_layers(own)}"
    gap, noise = own["accuracy"] - other["accuracy"], math.hypot(own["noise"], other["noise"])
    size = "beyond" if abs(gap) > noise else "within"
    return (
        f"suggested {_layers(own)} {own['accuracy']:.3f}, evenly spaced {_layers(other)} {other['accuracy']:.3f}: "
        f"{gap:+.3f}, {size} the noise of {noise:.3f}; R2 {own['r2']:.3f} and {other['r2']:.3f}"
    )


def _layers(arm: Mapping[str, Any]) -> str:
    return f"layer{'s' if len(arm['layers']) > 1 else ''} {', '.join(map(str, arm['layers']))}"
