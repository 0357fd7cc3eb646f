"""The command that studies teachers: `compress study layers`. `main.py` adds it to the command line."""

from pathlib import Path
from typing import Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from .help.complete import complete_recipe, complete_run, complete_teacher
from .help.looks import DEVICE, INPUT, METHOD, OUTPUT, Command, Group
from .options import FeatureDevice, Json

STUDIES = Path("studies")
STUDENTS = "Students"
SUITE_TASKS, FOLDER_TASKS = "ks,ic,sid", "ks,sid"

# A group, because its name says what is studied: other questions about a teacher become further commands.
study = typer.Typer(cls=Group, help="Study a teacher before distilling it.", no_args_is_help=True)


@study.callback()
def about() -> None:
    """Study a teacher before distilling it."""


Teacher = Annotated[
    str, typer.Argument(help="Hub id, folder, file or torchaudio:NAME.", autocompletion=complete_teacher)
]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of the mini suite's corpora.", rich_help_panel=INPUT)]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder of audio with a labels.tsv.", show_default="the speech in the package", rich_help_panel=INPUT
    ),
]
Tasks = Annotated[
    str | None,
    typer.Option(
        help="Tasks, separated by commas: ks, sid, lid, er; with --data-root ks, ic, sid, er.",
        show_default="ks,sid; ks,ic,sid with --data-root",
        rich_help_panel=METHOD,
    ),
]
Student = Annotated[
    list[Path] | None,
    typer.Option(
        help="Checkpoint folder to compare with the teacher. Repeatable.",
        autocompletion=complete_run,
        rich_help_panel=INPUT,
    ),
]
TrainHeads = Annotated[
    bool,
    typer.Option(
        "--train-heads",
        help="Also distil students on the suggested and on other layers, for the same steps.",
        rich_help_panel=STUDENTS,
    ),
]
Steps = Annotated[int, typer.Option(min=1, help="Training steps per student.", rich_help_panel=STUDENTS)]
Recipe = Annotated[
    str,
    typer.Option(
        help="Recipe of the students; it needs heads.", autocompletion=complete_recipe, rich_help_panel=STUDENTS
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key of that recipe. Repeatable.", rich_help_panel=STUDENTS
    ),
]
TrainData = Annotated[
    list[Path] | None,
    typer.Option(
        help="Training speech of the students. Repeatable.",
        show_default="the corpora of the tasks",
        rich_help_panel=STUDENTS,
    ),
]
Heads = Annotated[int, typer.Option(min=1, max=4, help="Most heads to suggest.", rich_help_panel=METHOD)]
Seeds = Annotated[int, typer.Option(min=1, help="Probes per layer and task.", rich_help_panel=METHOD)]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder of cached features.", show_default="the user's cache", rich_help_panel=DEVICE),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the study.", show_default="a new one under ./studies", rich_help_panel=OUTPUT),
]


@study.command("layers", cls=Command)
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
    device: FeatureDevice = "cpu",
    out: Out = None,
    json: Json = False,
) -> None:
    """Probe each layer of a teacher and suggest which to distil; --train-heads tests the suggestion."""
    # They would have no effect, which a user would only notice after the study.
    if not train_heads and (sets or train_data):
        raise SpeechpressError("study: --set and --train-data apply to students; add --train-heads")
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
    screen.result(document, *study_tables(document), *(f"written: {path}" for path in written[:3]))
