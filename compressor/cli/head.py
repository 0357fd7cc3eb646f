"""`compress head`. `main.py` adds it to the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechpress.runtime.errors import SpeechpressError

from .options import RUNS, Json

if TYPE_CHECKING:
    from rich.console import RenderableType

Checkpoint = Annotated[Path | None, typer.Argument(help="Folder of a checkpoint; the newest under ./runs.")]
Task = Annotated[
    str | None,
    typer.Option(
        help="A kind: classify, ctc, units, speaker, vad, segment, words; or a task of the mini suite: ks, ic, sid, "
        "er, lid, pr, asr, asv, sd."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(help="Labelled folder, table (CSV, TSV) or Lhotse manifest; or the folder of the suite's corpora."),
]
Name = Annotated[str, typer.Option(help="Of the head; else the task's usual one, such as phones.")]
Label = Annotated[str | None, typer.Option(help="Column of the answers; else the task's usual one.")]
Labels = Annotated[
    str | None, typer.Option(help="All labels that there may be, with commas between them or a line each in a file.")
]
Clusters = Annotated[int, typer.Option(min=1, help="units: how many.")]
Layer = Annotated[int | None, typer.Option(min=0, help="units: of which layer; else the last.")]
Kernel = Annotated[int | None, typer.Option(min=1, help="Frames that a causal convolution hears; 1 is none.")]
Hidden = Annotated[int, typer.Option(min=0, help="Channels of that convolution, or of a speaker's projection.")]
ChunkMs = Annotated[
    list[float] | None,
    typer.Option(help="Chunk in which a streaming student is heard; may be repeated. Else those of its training."),
]
Finetune = Annotated[str | None, typer.Option(help="top:N or all: layers that move too; needs --out.")]
FinetuneLr = Annotated[float, typer.Option(help="Learning rate of those layers.")]
FinetuneSteps = Annotated[int, typer.Option(min=1, help="Steps in which they move.")]
Steps = Annotated[int, typer.Option(min=1, help="Training steps of the head.")]
Seeds = Annotated[int, typer.Option(min=1, help="Heads that are trained; the one that is best on val is kept.")]
FromEval = Annotated[
    bool, typer.Option("--from-eval", help="Take the heads that `eval --suite` has trained and scored.")
]
Out = Annotated[Path | None, typer.Option(help="A copy of the checkpoint gets the head; else the checkpoint itself.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a head of that name.")]
Cache = Annotated[Path | None, typer.Option(help="Folder that keeps features; else the system's cache.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep none.")]
Device = Annotated[str, typer.Option(help="Where features are computed: cpu, cuda or mps.")]


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
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Train a head on a student: phones, letters, keywords, units, a voice, speech or not; it goes into the checkpoint.

    The student stays as it is, unless --finetune lets its top layers move.
    """
    from ..distill.folders import newest
    from ..views.screen import Screen

    data = _required(data, task is not None or from_eval)
    if no_cache and cache is not None:
        raise SpeechpressError("--cache and --no-cache contradict each other; give one of them")
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
        raise SpeechpressError("--data: says which speech the head is trained on; give a folder, table or manifest")
    if not said:
        raise SpeechpressError("--task: says what the head is to answer, such as ctc or vad; see compress head --help")
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
        chance = "" if line.get("chance") is None else f", a guess gets {line['chance']:.3f}"
        rows.append((str(line.get("metric")), f"{line['value']:.3f}{interval}{chance}"))
    data = line.get("data") or {}
    if data.get("hours") is not None:
        rows.append(("trained on", f"{data['hours']:.2f} h of {data.get('source')}"))
    if line.get("parameters"):
        rows.append(("parameters", f"{line['parameters']:,}"))
    return rows


def left_words(document: dict[str, Any]) -> list[str]:
    """What is said of heads that a fine-tuned student has no longer."""
    gone = document["left_out"]
    return [f"left out, because the weights have moved: {', '.join(gone)}; train them again"] if gone else []


def taken_words(document: dict[str, Any]) -> list[str]:
    """What `--from-eval` took, and what it did not."""
    took = [
        f"{name}: {line['metric']} {line['value']:.3f} ({line['task']})" for name, line in document["taken"].items()
    ]
    left = [f"not taken: {task}: {reason}" for task, reason in document["left_out"].items()]
    return [*took, *left, f"checkpoint: {document['out']}"]
