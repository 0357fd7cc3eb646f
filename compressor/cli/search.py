"""`compress search`, which `main.py` adds to the command line."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechpress.runtime.errors import SpeechpressError

from .options import Executor, Json, resume_words

if TYPE_CHECKING:
    from ..recipe.schema import Recipe
    from ..search.walk import Search
    from ..views.screen import Screen

SEARCHES = Path("searches")

Data = Annotated[
    list[Path] | None, typer.Option(help="Folder of audio, Lhotse cuts manifest or Shar folder; may be repeated.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; it is not searched."),
]
Runner = Annotated[
    Path | None, typer.Option(help="speechpress-run for the device (docs/cpp.md) instead of Python there.")
]
Against = Annotated[
    str, typer.Option(help="What fidelity is weighed against: ms per chunk, or per second of audio (second).")
]


BudgetMs = Annotated[float, typer.Option(min=0.001, help="The median time that one chunk may take on the device.")]
Steps = Annotated[int, typer.Option(min=1, help="Training steps of each student: a cheap proxy, not a full run.")]
Origin = Annotated[str, typer.Option(help="Whose student is changed: a shipped recipe's name, or a YAML file.")]
Device = Annotated[str, typer.Option(help="Where it will run: host, ssh:user@host[:port] or adb:SERIAL.")]
Trials = Annotated[int, typer.Option(min=1, help="Shapes to look at; those over the budget count too.")]
Teacher = Annotated[str | None, typer.Option(help="Hub id, folder, file or torchaudio:NAME; else the recipe's.")]
Starter = Annotated[bool, typer.Option("--starter", help="Teacher and speech that come with the package.")]
Space = Annotated[Path | None, typer.Option(help="YAML with the choices per key; else the one that ships.")]
Jobs = Annotated[int, typer.Option(min=1, max=64, help="Trials side by side; they stand still while one is timed.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the search; by default a new one under ./searches.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the search in --out (or the newest one).")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of a program on the device.")]
Chunks = Annotated[int, typer.Option(min=5, help="Chunks that are timed of each shape.")]
Python = Annotated[str | None, typer.Option(help="The interpreter on the device; python3 by default.")]
Storage = Annotated[
    str | None, typer.Option(help="Share the study with other searches: journal:FILE, or a database's URL.")
]
Study = Annotated[str, typer.Option(help="--storage: the study's name there.")]
TrainDevice = Annotated[str, typer.Option(help="Where students are trained: auto, cpu, cuda or mps.")]


def search(
    budget_ms: BudgetMs,
    steps: Steps,
    recipe: Origin = "pocket",
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
    """Search for the student that is the most faithful to its teacher within a latency budget on a device."""
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
    screen.result(document, search_table(document), f"table: {document['table']}   plot: {document['plot']}")
    screen.say(f"recipe: {document['best_recipe']}   next: compress distill --recipe {document['best_recipe']}")


def _walked(order: "Search", screen: "Screen") -> dict[str, Any]:
    """The document of a finished search; raises typer.Exit when it was interrupted."""
    from ..search.search import search as walk
    from ..search.tables import SearchView
    from ..search.trial import SearchStopped

    again = f"go on with: compress {resume_words(order.out)}"
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
        raise SpeechpressError("no speech was named: give --data FOLDER, or --starter for what comes with the package")
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
