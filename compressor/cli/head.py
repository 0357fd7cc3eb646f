"""`compress head`. `main.py` adds it to the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechpress.runtime.errors import SpeechpressError

from .help.complete import complete_run
from .help.looks import DEVICE, INPUT, METHOD, OUTPUT, TRAINING, choices
from .options import RUNS, FeatureDevice, Json

if TYPE_CHECKING:
    from rich.console import RenderableType

Checkpoint = Annotated[
    Path | None,
    typer.Argument(help="Folder of a checkpoint.", show_default="the newest under ./runs", autocompletion=complete_run),
]
Task = Annotated[
    str | None,
    typer.Option(
        help="A kind of head (classify, ctc, units, speaker, vad, segment, words) or a task of the mini suite "
        "(ks, ic, sid, er, lid, pr, asr, asv, sd).",
        metavar=choices("ctc", "vad", "ks", "..."),
        rich_help_panel=INPUT,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Labelled speech: folder, table (CSV, TSV), Lhotse manifest, or the suite's folder.", rich_help_panel=INPUT
    ),
]
Label = Annotated[
    str | None, typer.Option(help="Column of the labels.", show_default="the task's", rich_help_panel=INPUT)
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="All possible labels: separated by commas, or a file with one per line.",
        show_default="those in the data",
        rich_help_panel=INPUT,
    ),
]
Name = Annotated[
    str, typer.Option(help="Name of the head.", show_default="the task's, such as phones", rich_help_panel=OUTPUT)
]
Clusters = Annotated[int, typer.Option(min=1, help="units: number of clusters.", rich_help_panel=METHOD)]
Layer = Annotated[
    int | None, typer.Option(min=0, help="units: layer to cluster.", show_default="the last", rich_help_panel=METHOD)
]
Kernel = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Frames seen by the head's causal convolution; 1 for none.",
        show_default="the kind's",
        rich_help_panel=METHOD,
    ),
]
Hidden = Annotated[
    int,
    typer.Option(
        min=0,
        help="Channels of that convolution, or of a speaker head's projection; 0 for the kind's.",
        rich_help_panel=METHOD,
    ),
]
ChunkMs = Annotated[
    list[float] | None,
    typer.Option(
        help="Chunk size of a streaming student, in ms. Repeatable.",
        show_default="those of its training",
        rich_help_panel=METHOD,
    ),
]
Finetune = Annotated[
    str | None,
    typer.Option(
        help="Also train the top N layers, or all of them; needs --out.",
        metavar="[top:N|all]",
        rich_help_panel=TRAINING,
    ),
]
FinetuneLr = Annotated[float, typer.Option(help="Learning rate of those layers.", rich_help_panel=TRAINING)]
FinetuneSteps = Annotated[int, typer.Option(min=1, help="Training steps of those layers.", rich_help_panel=TRAINING)]
Steps = Annotated[int, typer.Option(min=1, help="Training steps of the head.", rich_help_panel=TRAINING)]
Seeds = Annotated[int, typer.Option(min=1, help="Heads to train; the best on val is kept.", rich_help_panel=TRAINING)]
FromEval = Annotated[
    bool,
    typer.Option("--from-eval", help="Use the heads that `compress eval --suite` trained.", rich_help_panel=TRAINING),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Write a copy of the checkpoint with the head.",
        show_default="add it to the checkpoint",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a head of the same name.", rich_help_panel=OUTPUT)
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder of cached features.", show_default="the system's cache", rich_help_panel=DEVICE),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Cache nothing.", rich_help_panel=DEVICE)]


def head(
    checkpoint: Checkpoint = None,
    task: Task = None,
    data: Data = None,
    name: Name = "",
    label: Label = None,
    labels: Labels = None,
    clusters: Clusters = 100,
    layer: Layer = None,
    kernel: Kernel = None,
    hidden: Hidden = 0,
    chunk_ms: ChunkMs = None,
    finetune: Finetune = None,
    finetune_lr: FinetuneLr = 3e-5,
    finetune_steps: FinetuneSteps = 300,
    steps: Steps = 300,
    seeds: Seeds = 3,
    from_eval: FromEval = False,
    out: Out = None,
    overwrite: Overwrite = False,
    cache: Cache = None,
    no_cache: NoCache = False,
    device: FeatureDevice = "cpu",
    json: Json = False,
) -> None:
    """Train a head on a student: phones, letters, keywords, units, speakers or voice activity.

    The head becomes part of the checkpoint. The student does not change unless --finetune is given.
    """
    from ..distill.folders import newest
    from ..views.screen import Screen

    data = _required(data, task is not None or from_eval)
    if no_cache and cache is not None:
        raise SpeechpressError("--cache and --no-cache contradict each other; use one of them")
    moved = moving_layers(finetune)
    screen = Screen(json)
    source = checkpoint or newest(RUNS, screen.say)
    from ..evaluate.heads import Budget
    from ..evaluate.store import cache_folder
    from ..heads.kinds import read_label_list
    from ..heads.learn import HeadOptions, Shape

    # In the order of its fields.
    alphabet = () if labels is None else read_label_list(labels)
    chunks, kept = tuple(chunk_ms or ()), None if no_cache else cache or cache_folder()
    asked = (task or "", data, out, name, overwrite, label, alphabet, Shape(kernel, hidden), clusters, layer, chunks)
    options = HeadOptions(*asked, Budget(steps=steps, seeds=seeds), moved, finetune_lr, finetune_steps, kept, device)
    if from_eval:
        from ..heads.from_eval import take

        document = take(source, options, screen.say)
        screen.result(document, "\n".join(taken_words(document)))
        return
    from ..heads.head import train_head

    with screen.busy("head") as say:
        document = train_head(source, options, say)
    screen.result(document, head_table(document), *left_words(document))


def _required(data: Path | None, said: bool) -> Path:
    """The speech; raises SpeechpressError when none was named, or nothing says what the head is to answer."""
    if data is None:
        raise SpeechpressError(
            "no --data given: name the labelled speech to train the head on, a folder, table or manifest"
        )
    if not said:
        raise SpeechpressError(
            "no --task given: name what the head is to answer, such as ctc or vad; see compress head --help"
        )
    return data


def moving_layers(text: str | None) -> int:
    """How many of the top layers move: "top:2" is 2, "all" is -1, none is 0. Raises SpeechpressError for others."""
    if text is None:
        return 0
    count = text.removeprefix("top:")
    if text == "all":
        return -1
    if text.startswith("top:") and count.isascii() and count.isdigit() and int(count):
        return int(count)
    raise SpeechpressError(f"--finetune {text}: must be top:N, such as top:2, or all")


def head_table(document: dict[str, Any]) -> "RenderableType":
    """What `compress head` trained, for people."""
    from rich.table import Table

    table = Table(title=f"head {document['head']}", title_justify="left", box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in head_rows(document):
        table.add_row(name, value)
    table.add_row("checkpoint", document["out"])
    return table


def head_rows(line: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a head's line in a card, as far as it says something."""
    rows = [("kind", str(line.get("kind")))]
    labels = line.get("labels") or {}
    if labels.get("count"):
        shown = [str(one) if one != " " else "space" for one in labels.get("list") or []]
        some = ", ".join(shown[:8]) + (", ..." if len(shown) > 8 else "")
        rows.append(("labels", f"{labels['count']}: {some}"))
    if line.get("value") is not None:
        low, high = line.get("ci95") or (None, None)
        interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
        chance = "" if line.get("chance") is None else f", chance {line['chance']:.3f}"
        rows.append((str(line.get("metric")), f"{line['value']:.3f}{interval}{chance}"))
    data = line.get("data") or {}
    if data.get("hours") is not None:
        rows.append(("trained on", f"{data['hours']:.2f} h of {data.get('source')}"))
    if line.get("parameters"):
        rows.append(("parameters", f"{line['parameters']:,}"))
    return rows


def left_words(document: dict[str, Any]) -> list[str]:
    """What is said of heads that a fine-tuned student no longer has."""
    gone = document["left_out"]
    return [f"removed, because the weights have changed: {', '.join(gone)}; train them again"] if gone else []


def taken_words(document: dict[str, Any]) -> list[str]:
    """What `--from-eval` took, and what it did not."""
    took = [
        f"{name}: {line['metric']} {line['value']:.3f} ({line['task']})" for name, line in document["taken"].items()
    ]
    left = [f"not used: {task}: {reason}" for task, reason in document["left_out"].items()]
    return [*took, *left, f"checkpoint: {document['out']}"]
