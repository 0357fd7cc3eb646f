"""`compress search`, which `main.py` adds to the command line."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechpress.runtime.errors import SpeechpressError

from .help.complete import complete_device, complete_recipe, complete_teacher
from .help.looks import DEVICE, INPUT, METHOD, OUTPUT, choices
from .options import Executor, Json, resume_words

if TYPE_CHECKING:
    from ..recipe.schema import Recipe
    from ..search.walk import Search
    from ..views.screen import Screen

SEARCHES = Path("searches")

Data = Annotated[
    list[Path] | None,
    typer.Option(help="Speech: folder, Lhotse manifest or Shar folder. Repeatable.", rich_help_panel=INPUT),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the recipe; it is then not searched. Repeatable.",
        rich_help_panel=INPUT,
    ),
]
Runner = Annotated[
    Path | None,
    typer.Option(help="speechpress-run for the device, instead of Python there (docs/cpp.md).", rich_help_panel=DEVICE),
]
Against = Annotated[
    str,
    typer.Option(
        help="Latency axis: ms per chunk, or ms per second of audio.",
        metavar=choices("chunk", "second"),
        rich_help_panel=METHOD,
    ),
]
BudgetMs = Annotated[
    float, typer.Option(min=0.001, help="Most that a chunk may take on the device (median).", rich_help_panel=METHOD)
]
Steps = Annotated[
    int,
    typer.Option(min=1, help="Training steps per student: a cheap proxy, not a full run.", rich_help_panel=METHOD),
]
Trials = Annotated[
    int, typer.Option(min=1, help="Shapes to try, including those over the budget.", rich_help_panel=METHOD)
]
Space = Annotated[
    Path | None,
    typer.Option(help="YAML with the choices per key.", show_default="the built-in space", rich_help_panel=METHOD),
]
Jobs = Annotated[
    int,
    typer.Option(min=1, max=64, help="Trials in parallel; they pause while one is timed.", rich_help_panel=METHOD),
]
Origin = Annotated[
    str,
    typer.Option(
        help="Name or YAML file of the recipe to vary.", autocompletion=complete_recipe, rich_help_panel=INPUT
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        help="Hub id, folder, file or torchaudio:NAME.",
        show_default="the recipe's",
        autocompletion=complete_teacher,
        rich_help_panel=INPUT,
    ),
]
Starter = Annotated[
    bool, typer.Option("--starter", help="Use the teacher and speech in the package.", rich_help_panel=INPUT)
]
Device = Annotated[
    str,
    typer.Option(
        help="Where the student will run: host, ssh:user@host[:port] or adb:SERIAL.",
        autocompletion=complete_device,
        rich_help_panel=DEVICE,
    ),
]
Threads = Annotated[int, typer.Option(min=1, help="Threads on the device.", rich_help_panel=DEVICE)]
Chunks = Annotated[int, typer.Option(min=5, help="Chunks to time per shape.", rich_help_panel=DEVICE)]
Python = Annotated[
    str | None,
    typer.Option(help="Python interpreter on the device.", show_default="python3", rich_help_panel=DEVICE),
]
TrainDevice = Annotated[
    str,
    typer.Option(
        help="Where to train the students.", metavar=choices("auto", "cpu", "cuda", "mps"), rich_help_panel=METHOD
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the search.", show_default="a new one under ./searches", rich_help_panel=OUTPUT),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the search in --out, or the newest one.", rich_help_panel=OUTPUT),
]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Share the study with other searches: journal:FILE, or the URL of a database.",
        show_default="not shared",
        rich_help_panel=OUTPUT,
    ),
]
Study = Annotated[str, typer.Option(help="--storage: name of the study there.", rich_help_panel=OUTPUT)]


def search(
    budget_ms: BudgetMs,
    steps: Steps,
    recipe: Origin = "pocket-heads",
    device: Device = "host",
    trials: Trials = 30,
    teacher: Teacher = None,
    data: Data = None,
    starter: Starter = False,
    space: Space = None,
    jobs: Jobs = 1,
    against: Against = "chunk",
    out: Out = None,
    resume: Resume = False,
    sets: Sets = None,
    threads: Threads = 1,
    chunks: Chunks = 60,
    python: Python = None,
    runner: Runner = None,
    train_device: TrainDevice = "auto",
    executor: Executor = "processes",
    storage: Storage = None,
    study: Study = "speechpress",
    json: Json = False,
) -> None:
    """Search for the student with the highest fidelity within a latency budget on a device."""
    from speechpress.devices.open import open_device

    from ..cluster.executor import check_executor
    from ..export.clock import DeviceClock
    from ..search.rows import AXES
    from ..search.space import load_space, narrowed
    from ..search.tables import search_table
    from ..views.screen import Screen

    if against not in AXES:
        raise SpeechpressError(f"--against {against}: must be one of {', '.join(AXES)}")
    open_device(device, python)  # is it an address at all
    check_executor(executor)
    whole, proxy, speech = _recipes(recipe, teacher, data, starter, steps, list(sets or []))
    choices, notes = narrowed(load_space(space), proxy)
    folder, screen = _folder(out, whole.name, resume), Screen(json)
    from ..teachers.hub_folder import check_at_hand

    # Before torch is imported: offline, a teacher that is not there is told at once.
    check_at_hand(whole.teacher)
    clock = DeviceClock(device, threads, chunks, python, runner)
    from ..search.walk import Search

    order = Search(
        *(whole, proxy, choices, speech, folder),
        clock=clock, budget_ms=budget_ms, trials=trials, jobs=jobs, axis=against, train_device=train_device,
        resume=resume, executor=executor, storage=storage, study=study, notes=tuple(notes),
    )  # fmt: skip
    document = _walked(order, screen)
    screen.result(document, search_table(document), f"page: {document['page']}, table: {document['table']}")
    if document["best_recipe"]:
        screen.say(f"recipe: {document['best_recipe']}", f"next: compress distill --recipe {document['best_recipe']}")


def _walked(order: "Search", screen: "Screen") -> dict[str, Any]:
    """The document of a finished search; raises typer.Exit when it was interrupted."""
    from ..search.search import search as walk
    from ..search.tables import SearchView
    from ..search.trial import SearchStopped

    again = f"continue with: compress {resume_words(order.out)}"
    with SearchView(screen, order.trials, list(order.notes)) as view:
        try:
            outcome = walk(order, view)
        except SearchStopped as error:
            # Trials so far are kept, so the advice is to mend and go on.
            raise SpeechpressError(f"{error}. Then {again}") from error
    if not outcome.finished:
        screen.say(f"interrupted; {again}")
        raise typer.Exit(130)
    return outcome.document


def _recipes(
    name: str, teacher: str | None, data: list[Path] | None, starter: bool, steps: int, sets: list[str]
) -> tuple["Recipe", "Recipe", tuple[Path, ...]]:
    """The recipe as it is, the same as it is trained here, and the speech."""
    from .. import starter as at_hand
    from ..recipe.files import load_recipe

    own = [f"teacher={teacher}", *sets] if teacher else sets
    if starter:
        data = data or [at_hand.SPEECH]
    if not data:
        raise SpeechpressError("no speech given: use --data FOLDER, or --starter for the speech in the package")
    # What is written in the end: the starter's few steps are for the search only.
    whole = load_recipe(name, own)
    proxy = load_recipe(name, [*(at_hand.settings(teacher) if starter else []), *own])
    # Validated once, at the end: all that is asked of a trial is its fidelity there.
    train = replace(proxy.train, steps=steps, validate_every=steps, checkpoint_every=steps)
    return whole, replace(proxy, train=train), tuple(data)


def _folder(out: Path | None, name: str, resume: bool) -> Path:
    """`out` as given; else a new folder under SEARCHES, or with `resume` the newest search there."""
    from ..distill.folders import choose_folder
    from ..search.rows import TRIALS

    if out is not None or not resume:
        return choose_folder(out, SEARCHES, name, resume=False)
    # By the table and not the folder, whose time does not change when a trial is added to the file.
    begun = sorted(SEARCHES.glob(f"*/{TRIALS}"), key=lambda path: path.stat().st_mtime)
    if not begun:
        raise SpeechpressError(f"--resume: there is no search under {SEARCHES}; name its folder with --out")
    return begun[-1].parent
