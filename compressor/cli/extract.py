"""`compress extract`. `main.py` adds it to the command line."""

from pathlib import Path
from typing import Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from .options import Executor, Json, resume_words

Model = Annotated[str, typer.Argument(help="Folder of a checkpoint or bundle, or a teacher (by name, folder or file).")]
Data = Annotated[
    list[Path] | None, typer.Argument(help="Folders of audio, Lhotse cuts manifests or Shar folders; or --starter.")
]
Out = Annotated[Path, typer.Option(help="Folder to write.")]
Starter = Annotated[bool, typer.Option("--starter", help="The speech that comes with the package.")]
Layers = Annotated[str, typer.Option(help="last, all, or numbers such as 0,2,4; 0 is what goes into the first layer.")]
What = Annotated[str, typer.Option(help="features, units (of a head of units), or answers (events of heads).")]
Heads = Annotated[str | None, typer.Option(help="Heads for units and answers, by commas; else all that fit.")]
Dedup = Annotated[bool, typer.Option("--dedup", help="Units: each run of one unit once.")]
Format = Annotated[str, typer.Option("--format", help="npy, safetensors, parquet or lhotse.")]
Dtype = Annotated[str, typer.Option(help="float32 or float16.")]
ShardOption = Annotated[str, typer.Option(help="K/N: only the K-th of N parts, such as 3/16; may share one --out.")]
Shards = Annotated[int | None, typer.Option(min=1, help="So many parts, all of them, as jobs of their own.")]
Jobs = Annotated[int, typer.Option(min=1, help="--shards: how many at a time.")]
ChunkMs = Annotated[
    float | None, typer.Option(help="Hear in chunks, as a streaming student does; of a bundle: which of its chunks.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Of a bundle: whole recordings at once, not in chunks.")]
LongestS = Annotated[
    float | None, typer.Option(help="Leave longer recordings out; 120 unless the model is a bundle that streams.")
]
BatchS = Annotated[float | None, typer.Option(help="Audio heard at once, in seconds; 0: one recording at a time.")]
Workers = Annotated[int, typer.Option(min=0, help="Recordings heard side by side; 0: as many as suit the machine.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what is in --out.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is in --out.")]


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
    """Write the features, units or answers of a whole corpus; a run that was stopped goes on with --resume."""
    from ..extract.options import ExtractOptions, parse_shard
    from ..starter import SPEECH
    from ..teachers.hub_folder import check_at_hand
    from ..views.screen import Screen

    sources = [*(data or ()), *([SPEECH] if starter else [])]
    if not sources:
        raise SpeechpressError("no speech was named: give a folder or manifest, or --starter for what is at hand")
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
        screen.say(f"interrupted; go on with: compress {resume_words(out)}")
        raise typer.Exit(130)
    screen.result(document, *extract_tables(document), f"written: {out}")
