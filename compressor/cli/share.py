"""What other people and tools get: `compress convert` writes another tool's form, `compress push` publishes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table
from .help.complete import complete_run, complete_share
from .help.looks import choices
from .options import Json


def convert(
    source: Annotated[
        str,
        typer.Argument(help="Folder of a checkpoint, or a checkpoint of another toolkit.", autocompletion=complete_run),
    ],
    out: Annotated[Path, typer.Argument(help="The file to write; for transformers, the folder.")],
    to: Annotated[
        str | None,
        typer.Option(
            help="s3prl, s3prl-hubert or transformers.",
            metavar=choices("s3prl", "..."),
            show_default="the first that fits",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Convert a checkpoint to the format of s3prl or transformers."""
    from dataclasses import asdict

    from ..teachers.hub_folder import check_at_hand

    check_at_hand(source)
    from ..teachers.convert import convert
    from ..views.screen import Screen

    converted = convert(source, out, to)
    document = {**asdict(converted), "out": str(converted.out)}
    Screen(json).result(
        document, f"written: {converted.out}", f"next: open it with {converted.open_with}", *converted.notes
    )


def push(
    folder: Annotated[
        Path, typer.Argument(help="Folder of a finished run or a bundle.", autocompletion=complete_share)
    ],
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="Repository on the Hugging Face Hub.")],
    license_id: Annotated[
        str | None, typer.Option("--license", help="Licence, by its name on the Hub, such as apache-2.0.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Training data, by its name on the Hub. Repeatable.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show files, sizes and the model card; send nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Publish a run or bundle on the Hugging Face Hub, with a model card and the hash of every file."""
    from rich.text import Text

    from ..hub.push import plan_push
    from ..hub.push import push as upload
    from ..views.screen import Screen

    screen = Screen(json)
    plan = plan_push(folder, repo, license_id, dataset or ())
    for note in plan.notes:
        screen.say(Text(note))
    if dry_run:
        document = plan.document()
        return screen.result(document, _files(document), Text(document["card"]), Text("nothing was sent"))
    with screen.busy("push") as say:
        document = upload(plan, private, say)
    opens = "compress demo" if document["kind"] == "bundle" else "compress export --target host"
    screen.result(document, _files(document), Text(f"published: {document['url']}"), Text(f"next: {opens} {repo}"))


def _files(document: dict[str, Any]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, facts in document["files"].items():
        table.add_row(Text(name), f"{facts['size_bytes']:,} bytes", facts["sha256"][:12])
    for name in document["left_out"]:
        table.add_row(Text(name), "not uploaded", "")
    return table
