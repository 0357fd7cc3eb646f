"""Results of `compress eval` for people."""

from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from speechpress.runtime.escape import counted

from .report import left_out, mean_above
from .retention import retention

UPSTREAMS = ("student", "teacher", "random", "logmel")


def probe_tables(result: dict[str, Any]) -> list[RenderableType]:
    """The quick measure: probes (if any) with 95 % intervals, fidelity per teacher layer, and what has to be said."""
    probes = Table(
        title=f"accuracy of linear probes on frozen features: {result['data']}{_heard(result)}", title_justify="left"
    )
    for column in ("task", *UPSTREAMS):
        probes.add_column(column)
    for name, task in result["tasks"].items():
        probes.add_row(name, *(_cell(task[upstream], task["ci95"][upstream]) for upstream in UPSTREAMS))
    notes = [line for name, task in result["tasks"].items() for line in _probe_facts(name, task)]
    return [*([probes] if result["tasks"] else []), *_fidelity(result), _words(notes, result)]


def suite_tables(result: dict[str, Any]) -> list[RenderableType]:
    """The suite: each task's metric, which way is better, every upstream with its 95 % interval, and the retention."""
    others = result["against"]
    title = f"{result['suite']} suite, {_layers(result)}{_heard(result)}: {result['checkpoint']}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("task")
    for column in (*UPSTREAMS, *others, "of teacher", "above floor"):
        table.add_column(column, justify="right", overflow="fold")  # a cut interval would be no interval
    kept = retention(result)
    for name, task in result["tasks"].items():
        arrow = "↓" if task["better"] == "lower" else "↑"
        # Tasks of an earlier call may have been measured beside others.
        cells = (_cell(task.get(one), task["ci95"].get(one)) for one in (*UPSTREAMS, *others))
        table.add_row(f"{name}\n{task['metric']} {arrow}", *cells, *_shares(kept["tasks"][name]["models"]["student"]))
    table.add_row("mean", *[""] * (len(UPSTREAMS) + len(others)), *_mean_shares(result, kept))
    notes = left_out(kept)
    notes += [line for name, task in result["tasks"].items() for line in _suite_facts(name, task)]
    seconds = result["seconds"]
    notes.append(f"took {seconds['all'] / 60:.1f} min, {seconds['features'] / 60:.1f} of them for features")
    return [table, *_fidelity(result), _words(notes, result), *_sanity(result)]


def s3prl_words(document: dict[str, Any]) -> Text:
    """The commands of `--s3prl`, ready to be pasted."""
    lines = [f"# {note}" for note in document["notes"]]
    for step in document["steps"]:
        lines += ["", f"# {step['what']}", *step["commands"]]
    return Text("\n".join(lines))


def _layers(result: dict[str, Any]) -> str:
    return "last layer only" if result["layers"] == "last" else "learned sum of layers"


def _heard(result: dict[str, Any]) -> str:
    latency = result["latency"]
    return "" if latency is None else f", student in chunks of {latency['chunk_ms']:g} ms"


def _words(notes: list[str], result: dict[str, Any]) -> Text:
    return Text("\n".join([*notes, *(f"note: {note}" for note in result["notes"])]))


def _probe_facts(name: str, task: dict[str, Any]) -> list[str]:
    chance = f"chance {task['chance']:.3f}"
    if task["chance_by_voice"] is not None:
        chance += f", {task['chance_by_voice']:.3f} from the speaker alone"
    voices = "unseen speakers" if task["speaker_disjoint"] else "speakers that may also be in training"
    clips = f"{counted(task['clips']['test'], 'test clip')} of {voices}"
    return [
        f"{name}: {counted(task['classes'], 'class', 'classes')}, {chance}, {clips}",
        *(f"  {note}" for note in task["notes"]),
    ]


def _suite_facts(name: str, task: dict[str, Any]) -> list[str]:
    voices = {True: " of unseen speakers", False: " of speakers that are also in training", None: ""}
    facts = [f"{counted(task['clips']['test'], 'test clip')}{voices[task['speaker_disjoint']]}"]
    if task["chance"] is not None:
        facts.insert(0, f"chance is {task['chance']:.3f}")
    for metric in sorted({key for one in task["also"].values() if one for key in one}):
        values = ", ".join(f"{who} {one[metric]:.3f}" for who, one in task["also"].items() if one)
        facts.append(f"{metric}: {values}")
    if shuffled := task.get("shuffled"):
        facts.append(f"with shuffled labels {shuffled['of']} gets {shuffled['test']:.3f}")
    return [f"{name}: {'; '.join(facts)}", *(f"  {note}" for note in task["notes"])]


def _fidelity(result: dict[str, Any]) -> list[RenderableType]:
    if not result["fidelity"]:
        return []
    table = Table(title="fidelity to the teacher on test clips", title_justify="left")
    for column in ("teacher layer", "heads: cosine", "L1", "linear map: cosine", "R2", "CKA"):
        table.add_column(column, justify="right")
    for layer, parts in result["fidelity_detail"].items():
        heads, linear = parts["heads"] or {}, parts["linear"]
        numbers = (heads.get("cosine"), heads.get("l1"), linear["cosine"], linear["r2"], parts["cka"])
        table.add_row(layer, *("–" if number is None else f"{number:.3f}" for number in numbers))
    return [table]


def _sanity(result: dict[str, Any]) -> list[RenderableType]:
    if result["sanity"] is None:
        return []
    if result["sanity"]["ok"]:
        return [Text("sanity: floors, teacher and shuffled labels score as expected", style="green")]
    return [Text("\n".join(f"sanity: {line}" for line in result["sanity"]["complaints"]), style="red")]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _shares(kept: dict[str, Any]) -> tuple[str, str]:
    return _share(kept["of_teacher"]), _share(kept["kept_above_floor"])


def _mean_shares(result: dict[str, Any], kept: dict[str, Any]) -> tuple[str, str]:
    return _share(kept["mean"]["student"]["of_teacher"]), mean_above(result, kept).replace(" (", "\n(")


def _cell(value: float | None, interval: list[float] | None) -> Text:
    return Text("–" if value is None or interval is None else f"{value:.3f}\n{interval[0]:.3f}–{interval[1]:.3f}")
