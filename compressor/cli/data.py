"""`compress data`. `main.py` adds it to the command line."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechpress.runtime.escape import counted

from .help.looks import OUTPUT
from .options import Json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..data.to_shar import SharOptions
    from ..views.screen import Screen

LISTED = 5
LINE_S = 10.0  # between two lines in a log

Sources = Annotated[
    list[Path],
    typer.Argument(help="Folders, manifests or corpora of other toolkits, as for --data elsewhere (docs/data.md)."),
]
Out = Annotated[Path, typer.Option(help="Folder of the shards.", rich_help_panel=OUTPUT)]
PerShard = Annotated[int, typer.Option(min=1, help="Recordings per shard.", rich_help_panel=OUTPUT)]
ShardOption = Annotated[
    str,
    typer.Option(
        help="Write only part K of N, so that several machines can share one --out.",
        metavar="K/N",
        rich_help_panel=OUTPUT,
    ),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Shards written in parallel; 0 for one per core.", rich_help_panel=OUTPUT)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace shards of another corpus in --out.", rich_help_panel=OUTPUT)
]


def data(
    sources: Sources,
    out: Out,
    per_shard: PerShard = 1000,
    shard: ShardOption = "1/1",
    workers: Workers = 0,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Convert a corpus to Lhotse Shar: FLAC, 16 kHz, mono. Run the same command again to continue."""
    from ..extract.options import parse_shard
    from ..views.screen import Screen

    part = parse_shard(shard)
    from ..data.to_shar import SharOptions

    options = SharOptions(out, per_shard, part.number, part.count, workers, overwrite)
    screen = Screen(json)
    document = run(sources, options, screen)
    screen.result(document, *data_tables(document), f"written: {out}", f"next: compress distill --data {out}")


def run(sources: list[Path], options: "SharOptions", screen: "Screen") -> dict[str, Any]:
    """Write the shards while a bar or, in a log, lines say how far it is."""
    from rich.progress import TaskProgressColumn

    from ..data.to_shar import write_shar
    from ..views.screen import progress_bar

    bar = progress_bar(screen, "data", TaskProgressColumn())
    task = bar.add_task("", total=None, state="")
    heard_s, total_s, said = 0.0, 0.0, time.monotonic()

    def listen(event: dict[str, Any]) -> None:
        nonlocal heard_s, total_s, said
        if event["event"] == "plan":
            total_s = event["audio_s"]
            bar.update(task, total=total_s)
            screen.say(f"{event['corpus']}; {counted(event['shards'], 'shard')}, {event['kept']} already written")
            return
        heard_s += event["audio_s"]
        state = counted(event["shards"], "shard")
        bar.update(task, completed=heard_s, state=state)
        # In a log file, a line now and then; a large corpus would fill it.
        if not screen.console.is_terminal and time.monotonic() - said >= LINE_S:
            said = time.monotonic()
            screen.say(f"{heard_s / 60:.1f} of {total_s / 60:.1f} min  {state}")

    with bar:
        return write_shar(sources, options, listen)


def data_tables(document: dict[str, Any]) -> list["RenderableType"]:
    """What was written, and the first of what was not."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(document["corpus"]), title_justify="left", box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("recordings", f"{document['recordings']}, {document['audio_s'] / 3600:.2f} h")
    table.add_row(
        "shards",
        f"{document['shards']} of {document['shards_in_all']} complete: "
        f"{document['written']} written now, {document['kept']} before",
    )
    rates = ", ".join(f"{count} of {rate} Hz" for rate, count in document["resampled"].items())
    table.add_row("resampled", rates or "none, all at 16 kHz")
    if document["attenuated"]:
        table.add_row("attenuated", f"{len(document['attenuated'])} beyond full scale, which FLAC cannot store")
    shown = [Text(f"note: {note}", style="yellow") for note in document["notes"]]
    skipped = document["skipped"]
    shown += [Text(f"skipped: {item['path']}: {item['reason']}", style="yellow") for item in skipped[:LISTED]]
    if len(skipped) > LISTED:
        shown.append(Text(f"skipped: {len(skipped) - LISTED} more, see cuts.skipped.json", style="yellow"))
    return [table, *shown]
