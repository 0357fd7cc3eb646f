"""`compress prune`. `cli.py` adds it to the command line."""

from pathlib import Path
from typing import Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from .cli_options import RUNS, Json, resume_words


def prune(
    checkpoint: Annotated[Path | None, typer.Argument(help="Folder of a checkpoint; the newest under ./runs.")] = None,
    to_macs: Annotated[str | None, typer.Option(help="Multiply-accumulates per second of audio, such as 1.2G.")] = None,
    to_params: Annotated[str | None, typer.Option(help="Parameters, such as 10M.")] = None,
    to_latency: Annotated[
        str | None, typer.Option(help="Measured time of a chunk: 5ms@host, 8ms@ssh:user@host, 10ms@adb:SERIAL.")
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="Share of the parameters to remove; of the weights for parp and one-shot.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="taylor or magnitude take out units; parp or one-shot set single weights to zero.")
    ] = "taylor",
    layers: Annotated[int | None, typer.Option(min=1, help="Transformer layers to keep; else all stay.")] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Dimensions of a frame between layers to keep; else all stay.")
    ] = None,
    recover: Annotated[
        int | None,
        typer.Option(
            "--recover",
            "--steps",
            min=0,
            help="Steps of distillation: after units went (with --starter 120, else a "
            "tenth of the recipe's; none without speech), or while weights go.",
        ),
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="The teacher, if it is no longer where the card says.")] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Folder of audio, Lhotse cuts manifest or Shar folder; may be repeated.")
    ] = None,
    starter: Annotated[bool, typer.Option("--starter", help="The speech that comes with the package.")] = False,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the checkpoint's recipe.")
    ] = None,
    chunk_ms: Annotated[float | None, typer.Option(help="Chunk whose time --to-latency is; else the target's.")] = None,
    quantize: Annotated[
        str | None, typer.Option(help="Quantisation of the program that is timed; else the usual one there.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the result; by default a new one under ./runs.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the recovery in --out (or the newest).")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    device: Annotated[str, typer.Option(help="Where it is trained: auto, cpu, cuda or mps.")] = "auto",
    json: Json = False,
) -> None:
    """Make a checkpoint smaller: take out what matters least, by parameters, MACs or measured time; distil again."""
    from .display import RunView, Screen, fidelity_table
    from .prune_tables import prune_table
    from .prune_target import METHODS, read_target
    from .runs import choose_folder, newest
    from .starter import SPEECH, STEPS
    from .strict_yaml import did_you_mean

    if method not in METHODS:
        advice = did_you_mean(method, METHODS)
        raise SpeechpressError(f"--method {method}: must be one of {', '.join(METHODS)}. {advice}".rstrip())
    target = read_target(to_macs, to_params, to_latency, sparsity)
    screen = Screen(json)
    source = checkpoint or newest(RUNS, screen.say)
    folder = choose_folder(out, RUNS, f"{source.resolve().name}-pruned", resume)
    from .prune import prune as run
    from .prune import settled
    from .prune_order import Order
    from .run import Where

    recover = STEPS if recover is None and starter else recover
    order = Order(source, target, method, recover, layers, width, teacher, tuple(sets or []), chunk_ms, quantize)
    where = Where(tuple(data or ([SPEECH] if starter else [])), folder, device, resume, overwrite)
    with RunView(screen) as view:
        document = run(settled(order, where, screen.say), where, view, screen.say)
    if not document["finished"]:
        screen.say(f"interrupted; go on with: compress {resume_words(folder)}")
        raise typer.Exit(130)
    shown = [fidelity_table(document["valid"])] if document["valid"] else []
    screen.result(document, prune_table(document), *shown, f"checkpoint: {document['out']}")
