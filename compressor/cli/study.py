"""The command that studies teachers: `compress study layers`. `main.py` adds it to the command line."""

from pathlib import Path
from typing import Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from .options import Json

STUDIES = Path("studies")
SUITE_TASKS, FOLDER_TASKS = "ks,ic,sid", "ks,sid"

study = typer.Typer(help="Study a teacher before it is distilled.", no_args_is_help=True)


@study.callback()
def about() -> None:
    """Study a teacher before it is distilled."""


Teacher = Annotated[str, typer.Argument(help="Hub id, folder, file or torchaudio:NAME.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of the mini suite's corpora.")]
Data = Annotated[Path | None, typer.Option(help="One folder of audio with a labels.tsv; else the starter.")]
Tasks = Annotated[str | None, typer.Option(help="Comma-separated: ks, sid, lid, er; with --data-root ks, ic, sid, er.")]
Student = Annotated[list[Path] | None, typer.Option(help="Checkpoint folder to compare with it; may be repeated.")]
TrainHeads = Annotated[
    bool, typer.Option("--train-heads", help="Also distil students on these and other layers, at equal steps.")
]
Steps = Annotated[int, typer.Option(min=1, help="Of each student.")]
Recipe = Annotated[str, typer.Option(help="Recipe of the students, with heads.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of that recipe.")]
TrainData = Annotated[
    list[Path] | None, typer.Option(help="What students are trained on; else the corpora of the tasks.")
]
Heads = Annotated[int, typer.Option(min=1, max=4, help="Heads at most.")]
Seeds = Annotated[int, typer.Option(min=1, help="Probes for each layer and task.")]
Cache = Annotated[Path | None, typer.Option(help="Folder in which features are kept; else the user's.")]
Device = Annotated[str, typer.Option(help="Where features are computed: cpu, cuda or mps.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the study; by default a new one in ./studies.")]


@study.command("layers")
def layers(
    teacher: Teacher = "hubert-mini",
    data_root: DataRoot = None,
    data: Data = None,
    tasks: Tasks = None,
    student: Student = None,
    train_heads: TrainHeads = False,
    steps: Steps = 200,
    recipe: Recipe = "distilhubert",
    sets: Sets = None,
    train_data: TrainData = None,
    heads: Heads = 3,
    seeds: Seeds = 1,
    cache: Cache = None,
    device: Device = "cpu",
    out: Out = None,
    json: Json = False,
) -> None:
    """Which layer knows what, how alike layers are, and which to distil; with --train-heads also whether that holds."""
    # They would have no effect, which a user would only notice after the study.
    if not train_heads and (sets or train_data):
        raise SpeechpressError("study: --set and --train-data are about students; add --train-heads")
    from ..teachers.hub_folder import check_at_hand

    # Before torch is imported: offline, a teacher that is not there is told at once.
    check_at_hand(teacher)
    from ..distill.folders import choose_folder
    from ..evaluate.store import cache_folder
    from ..study.probes import corpora_of, open_tasks
    from ..study.report import write_study
    from ..study.students import Training
    from ..study.study import study_layers
    from ..study.tables import study_tables
    from ..views.screen import Screen

    screen = Screen(json)
    opened = open_tasks((tasks or (SUITE_TASKS if data_root else FOLDER_TASKS)).split(","), data_root, data)
    # A hub id or torchaudio:NAME holds signs that file names should not.
    name = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in Path(teacher).name)
    folder = choose_folder(out, STUDIES, name, resume=False)
    training = None
    if train_heads:
        speech = tuple(train_data or corpora_of(opened))
        training = Training(speech, folder, steps, recipe, tuple(sets or ()), device)
    with screen.busy("study") as say:
        document = study_layers(
            teacher,
            opened,
            student or (),
            training=training,
            seeds=seeds,
            most=heads,
            cache=cache or cache_folder(),
            device=device,
            listen=say,
        )
    # Before it is shown: a long study must not be lost because showing it failed.
    written = write_study(document, folder)
    document = {"out": str(folder), **document}
    screen.result(document, *study_tables(document), f"written: {', '.join(map(str, written[:3]))}")
