"""`compress prune`. `main.py` adds it to the command line."""

from pathlib import Path
from typing import Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from .help.complete import complete_run, complete_scheme, complete_teacher
from .help.looks import INPUT, METHOD, OUTPUT, TRAINING, choices
from .options import RUNS, Json, TrainingDevice, resume_words

TARGET = "Target size (exactly one)"

Checkpoint = Annotated[
    Path | None,
    typer.Argument(help="Folder of a checkpoint.", show_default="the newest under ./runs", autocompletion=complete_run),
]
ToMacs = Annotated[
    str | None,
    typer.Option(help="Multiply-accumulates per second of audio.", metavar="1.2G", rich_help_panel=TARGET),
]
ToParams = Annotated[str | None, typer.Option(help="Parameters.", metavar="10M", rich_help_panel=TARGET)]
ToLatency = Annotated[
    str | None,
    typer.Option(
        help="Measured time per chunk on a device, such as 8ms@ssh:user@host or 10ms@adb:SERIAL.",
        metavar="5ms@host",
        rich_help_panel=TARGET,
    ),
]
Sparsity = Annotated[
    float | None,
    typer.Option(
        help="Share of the parameters to remove; for parp and one-shot, of the weights.", rich_help_panel=TARGET
    ),
]
Method = Annotated[
    str,
    typer.Option(
        help="taylor and magnitude remove units; parp and one-shot set single weights to zero.",
        metavar=choices("taylor", "magnitude", "..."),
        rich_help_panel=METHOD,
    ),
]
Layers = Annotated[
    int | None, typer.Option(min=1, help="Transformer layers to keep.", show_default="all", rich_help_panel=METHOD)
]
Width = Annotated[
    int | None,
    typer.Option(
        min=1, help="Dimensions of a frame between layers to keep.", show_default="all", rich_help_panel=METHOD
    ),
]
ChunkMs = Annotated[
    float | None,
    typer.Option(help="Chunk size for --to-latency, in ms.", show_default="the target's", rich_help_panel=METHOD),
]
Quantize = Annotated[
    str | None,
    typer.Option(
        help="Quantisation of the program timed for --to-latency.",
        show_default="the device's usual one",
        autocompletion=complete_scheme,
        rich_help_panel=METHOD,
    ),
]
Recover = Annotated[
    int | None,
    typer.Option(
        "--recover",
        "--steps",
        min=0,
        help="Steps of distillation after or while pruning.",
        show_default="a tenth of the recipe's; 120 with --starter; 0 without speech",
        rich_help_panel=TRAINING,
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        help="The teacher.", show_default="where the card says", autocompletion=complete_teacher, rich_help_panel=INPUT
    ),
]
Data = Annotated[
    list[Path] | None,
    typer.Option(help="Speech: folder, Lhotse manifest or Shar folder. Repeatable.", rich_help_panel=INPUT),
]
Starter = Annotated[bool, typer.Option("--starter", help="Use the speech in the package.", rich_help_panel=INPUT)]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the checkpoint's recipe. Repeatable.",
        rich_help_panel=TRAINING,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the result.", show_default="a new one under ./runs", rich_help_panel=OUTPUT),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the recovery in --out, or the newest.", rich_help_panel=OUTPUT)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.", rich_help_panel=OUTPUT)]


def prune(
    checkpoint: Checkpoint = None,
    to_macs: ToMacs = None,
    to_params: ToParams = None,
    to_latency: ToLatency = None,
    sparsity: Sparsity = None,
    method: Method = "taylor",
    layers: Layers = None,
    width: Width = None,
    recover: Recover = None,
    teacher: Teacher = None,
    data: Data = None,
    starter: Starter = False,
    sets: Sets = None,
    chunk_ms: ChunkMs = None,
    quantize: Quantize = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: TrainingDevice = "auto",
    json: Json = False,
) -> None:
    """Prune a checkpoint to a number of parameters or MACs, or a measured latency, and distil it again."""
    from speechpress.runtime.hub.ids import name_of

    from ..distill.folders import choose_folder, newest
    from ..distill.tables import RunView, fidelity_table
    from ..prune.options import METHODS, read_target
    from ..prune.tables import prune_table
    from ..recipe.strict_yaml import did_you_mean
    from ..starter import SPEECH, STEPS
    from ..views.screen import Screen

    if method not in METHODS:
        advice = did_you_mean(method, METHODS)
        raise SpeechpressError(f"--method {method}: must be one of {', '.join(METHODS)}. {advice}".rstrip())
    # Read before torch is imported, so that a mistyped number is told at once.
    target = read_target(to_macs, to_params, to_latency, sparsity)
    screen = Screen(json)
    source = checkpoint or newest(RUNS, screen.say)
    # resolve: "." has no name.
    folder = choose_folder(out, RUNS, f"{name_of(source)}-pruned", resume)
    from ..distill.run import RunOptions
    from ..prune.options import PrunePlan
    from ..prune.prune import prune as run
    from ..prune.prune import settled

    # A tenth of a recipe for 960 hours is far too much for the starter's 28 minutes.
    recover = STEPS if recover is None and starter else recover
    plan = PrunePlan(source, target, method, recover, layers, width, teacher, tuple(sets or []), chunk_ms, quantize)
    options = RunOptions(tuple(data or ([SPEECH] if starter else [])), folder, device, resume, overwrite)
    with RunView(screen) as view:
        document = run(settled(plan, options, screen.say), options, view, screen.say)
    if not document["finished"]:
        screen.say(f"interrupted; continue with: compress {resume_words(folder)}")
        raise typer.Exit(130)
    # Nothing was validated where nothing was distilled.
    shown = [fidelity_table(document["valid"])] if document["valid"] else []
    done = f"checkpoint: {document['out']}", f"next: compress eval {document['out']}"
    screen.result(document, prune_table(document), *shown, *done)
