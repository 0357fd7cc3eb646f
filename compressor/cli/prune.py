"""`compress prune`. `main.py` adds it to the command line."""

from pathlib import Path
from typing import Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from .options import RUNS, Json, resume_words

Checkpoint = Annotated[Path | None, typer.Argument(help="Folder of a checkpoint; the newest under ./runs.")]
ToMacs = Annotated[str | None, typer.Option(help="Multiply-accumulates per second of audio, such as 1.2G.")]
ToParams = Annotated[str | None, typer.Option(help="Parameters, such as 10M.")]
ToLatency = Annotated[
    str | None, typer.Option(help="Measured time of a chunk: 5ms@host, 8ms@ssh:user@host, 10ms@adb:SERIAL.")
]
Sparsity = Annotated[
    float | None, typer.Option(help="Share of the parameters to remove; of the weights for parp and one-shot.")
]
Method = Annotated[
    str, typer.Option(help="taylor or magnitude take out units; parp or one-shot set single weights to zero.")
]
Layers = Annotated[int | None, typer.Option(min=1, help="Transformer layers to keep; else all stay.")]
Width = Annotated[int | None, typer.Option(min=1, help="Dimensions of a frame between layers to keep; else all stay.")]
Recover = Annotated[
    int | None,
    typer.Option(
        "--recover",
        "--steps",
        min=0,
        help="Steps of distillation: after units went (with --starter 120, else a "
        "tenth of the recipe's; none without speech), or while weights go.",
    ),
]
Teacher = Annotated[str | None, typer.Option(help="The teacher, if it is no longer where the card says.")]
Data = Annotated[
    list[Path] | None, typer.Option(help="Folder of audio, Lhotse cuts manifest or Shar folder; may be repeated.")
]
Starter = Annotated[bool, typer.Option("--starter", help="The speech that comes with the package.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the checkpoint's recipe.")
]
ChunkMs = Annotated[float | None, typer.Option(help="Chunk whose time --to-latency is; else the target's.")]
Quantize = Annotated[
    str | None, typer.Option(help="Quantisation of the program that is timed; else the usual one there.")
]
Out = Annotated[Path | None, typer.Option(help="Folder of the result; by default a new one under ./runs.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the recovery in --out (or the newest).")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")]
Device = Annotated[str, typer.Option(help="Where it is trained: auto, cpu, cuda or mps.")]


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
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Make a checkpoint smaller: take out what matters least, by parameters, MACs or measured time; distil again."""
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
        screen.say(f"interrupted; go on with: compress {resume_words(folder)}")
        raise typer.Exit(130)
    # Nothing was validated where nothing was distilled.
    shown = [fidelity_table(document["valid"])] if document["valid"] else []
    screen.result(document, prune_table(document), *shown, f"checkpoint: {document['out']}")
