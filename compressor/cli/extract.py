"""`compress extract`. `main.py` adds it to the command line."""

from pathlib import Path
from typing import Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from .help.complete import complete_model
from .help.looks import DEVICE, INPUT, METHOD, OUTPUT, choices
from .options import Executor, Json, resume_words

Model = Annotated[
    str, typer.Argument(help="Folder of a checkpoint or bundle, or a teacher.", autocompletion=complete_model)
]
Data = Annotated[list[Path] | None, typer.Argument(help="Folders of audio, Lhotse manifests or Shar folders.")]
Starter = Annotated[bool, typer.Option("--starter", help="Use the speech in the package.", rich_help_panel=INPUT)]
ShardOption = Annotated[
    str,
    typer.Option(
        help="Extract only part K of N, so that several machines can share one --out.",
        metavar="K/N",
        rich_help_panel=INPUT,
    ),
]
Shards = Annotated[
    int | None,
    typer.Option(min=1, help="Extract all of N parts, each as a job of its own.", metavar="N", rich_help_panel=INPUT),
]
Jobs = Annotated[
    int,
    typer.Option(min=1, help="--shards: parts in parallel.", rich_help_panel=DEVICE),
]
LongestS = Annotated[
    float | None,
    typer.Option(
        help="Skip recordings longer than this, in seconds.",
        show_default="120; none for a streaming bundle",
        rich_help_panel=INPUT,
    ),
]
What = Annotated[
    str,
    typer.Option(
        help="Features, units of a units head, or answers (events of heads).",
        metavar=choices("features", "units", "answers"),
        rich_help_panel=METHOD,
    ),
]
Layers = Annotated[
    str,
    typer.Option(help="last, all, or numbers such as 0,2,4; 0 is the first layer's input.", rich_help_panel=METHOD),
]
Heads = Annotated[
    str | None,
    typer.Option(
        help="Heads for units and answers, separated by commas.",
        show_default="all that fit",
        rich_help_panel=METHOD,
    ),
]
Dedup = Annotated[
    bool, typer.Option("--dedup", help="Units: write each run of equal units once.", rich_help_panel=METHOD)
]
ChunkMs = Annotated[
    float | None,
    typer.Option(
        help="Process in chunks of this size, in ms, as a streaming student does.",
        show_default="whole recordings; a bundle's first chunk size",
        rich_help_panel=METHOD,
    ),
]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Bundle: process whole recordings, not chunks.", rich_help_panel=METHOD),
]
BatchS = Annotated[
    float | None,
    typer.Option(
        help="Audio per batch, in seconds; 0 for one recording at a time.",
        show_default="what suits the device",
        rich_help_panel=DEVICE,
    ),
]
Workers = Annotated[
    int,
    typer.Option(min=0, help="Recordings in parallel; 0 for what suits the machine.", rich_help_panel=DEVICE),
]
Device = Annotated[
    str,
    typer.Option(
        help="Where to compute features.", metavar=choices("auto", "cpu", "cuda", "mps"), rich_help_panel=DEVICE
    ),
]
Out = Annotated[Path, typer.Option(help="Folder to write.", rich_help_panel=OUTPUT)]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="npy, safetensors, parquet or lhotse.",
        metavar=choices("npy", "safetensors", "..."),
        rich_help_panel=OUTPUT,
    ),
]
Dtype = Annotated[
    str,
    typer.Option(help="Type of the features.", metavar=choices("float32", "float16"), rich_help_panel=OUTPUT),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue with what is in --out.", rich_help_panel=OUTPUT)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.", rich_help_panel=OUTPUT)]


def extract(
    model: Model,
    out: Out,
    data: Data = None,
    starter: Starter = False,
    layers: Layers = "last",
    what: What = "features",
    heads: Heads = None,
    dedup: Dedup = False,
    form: Format = "npy",
    dtype: Dtype = "float32",
    shard: ShardOption = "1/1",
    shards: Shards = None,
    jobs: Jobs = 1,
    executor: Executor = "processes",
    chunk_ms: ChunkMs = None,
    offline: Offline = False,
    longest_s: LongestS = None,
    batch_s: BatchS = None,
    workers: Workers = 0,
    device: Device = "auto",
    resume: Resume = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Extract the features, units or answers of a whole corpus."""
    from ..extract.options import ExtractOptions, parse_shard
    from ..starter import SPEECH
    from ..teachers.hub_folder import check_at_hand
    from ..views.screen import Screen

    sources = [*(data or ()), *([SPEECH] if starter else [])]
    if not sources:
        raise SpeechpressError("no speech given: name a folder or manifest, or use --starter")
    names = tuple(name.strip() for name in (heads or "").split(",") if name.strip())
    options = ExtractOptions(
        out=out, layers=layers, what=what, form=form, dtype=dtype, shard=parse_shard(shard), heads=names, dedup=dedup,
        chunk_ms=chunk_ms, offline=offline, longest_s=longest_s, batch_s=batch_s, workers=workers, device=device,
        resume=resume, overwrite=overwrite,
    )  # fmt: skip
    check_at_hand(model)  # before torch is imported: offline, a model that is not there is told at once
    from ..extract.extract import extract as run
    from ..extract.shards import extract_shards
    from ..extract.tables import ExtractView, extract_tables

    screen = Screen(json)
    with ExtractView(screen) as view:
        if shards is None:
            document = run(model, sources, options, view)
        else:
            document = extract_shards(model, sources, options, shards, view, executor=executor, jobs=jobs)
    if not document["finished"]:
        screen.say(f"interrupted; continue with: compress {resume_words(out)}")
        raise typer.Exit(130)
    screen.result(document, *extract_tables(document), f"written: {out}")
