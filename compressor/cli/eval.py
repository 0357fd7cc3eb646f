"""`compress eval`. `main.py` adds it to the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from speechpress.runtime.errors import SpeechpressError

from ..abx.asked import abx, asks_for_abx, refuse_beside_abx
from ..views.screen import Screen
from .help.complete import complete_model, complete_teacher
from .help.looks import DEVICE, INPUT, METHOD, OUTPUT, choices
from .options import RUNS, Executor, FeatureDevice, Json, complain

STEPS = {"mini": 300, "superb": 3000}
MOST_WORKERS = 8
Finish = Callable[[dict[str, Any]], dict[str, Any]]  # adds what was kept, and writes the report that was asked for


Checkpoint = Annotated[
    str | None,
    typer.Argument(
        help="Folder of a checkpoint or bundle, or a teacher.",
        show_default="the newest under ./runs",
        autocompletion=complete_model,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder of audio with a labels.tsv.", show_default="the speech in the package", rich_help_panel=INPUT
    ),
]
Suite = Annotated[
    str | None,
    typer.Option(
        help="Run the ten SUPERB tasks on the corpora in --data-root.",
        metavar=choices("mini", "superb"),
        show_default="a quick measure",
        rich_help_panel=INPUT,
    ),
]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of the suite's unpacked corpora.", rich_help_panel=INPUT)]
Clips = Annotated[
    int | None,
    typer.Option(min=1, help="superb: at most this many clips per split.", rich_help_panel=INPUT),
]
Items = Annotated[
    Path | None, typer.Option(help="abx: item file; its recordings are under --data.", rich_help_panel="ABX")
]
AbxMax = Annotated[
    int | None,
    typer.Option(
        min=0, help="abx: tokens per phone, context and speaker; 0 for all.", show_default="10", rich_help_panel="ABX"
    ),
]
AbxUnits = Annotated[
    int | None,
    typer.Option(min=2, help="abx: also score discrete units, this many clusters per layer.", rich_help_panel="ABX"),
]
Tasks = Annotated[
    str | None,
    typer.Option(
        help="Tasks, separated by commas: voices, ks, sid; with --suite also ic, sf, asv, sd, er, pr, asr, qbe. "
        "Or abx alone.",
        show_default="voices; with --data ks,sid; all of a suite",
        rich_help_panel=METHOD,
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        help="Checkpoint, bundle or teacher to measure as well. Repeatable.",
        autocompletion=complete_model,
        rich_help_panel=METHOD,
    ),
]
Layers = Annotated[
    str,
    typer.Option(
        help="Features: a learned sum of layers, or the last layer, as in a bundle.",
        metavar=choices("weighted", "last"),
        rich_help_panel=METHOD,
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        help="The teacher.",
        show_default="where the card says",
        autocompletion=complete_teacher,
        rich_help_panel=INPUT,
    ),
]
ChunkMs = Annotated[
    float | None,
    typer.Option(
        help="Process in chunks of this size, in ms, as a streaming student does.",
        show_default="whole recordings",
        rich_help_panel=METHOD,
    ),
]
Seeds = Annotated[
    int,
    typer.Option(min=1, help="Heads per task, each with its own random seed.", rich_help_panel=METHOD),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Training steps of each head of a suite.",
        show_default="300 for mini, 3000 for superb",
        rich_help_panel=METHOD,
    ),
]
Sanity = Annotated[
    bool,
    typer.Option(
        "--sanity", help="Also train with shuffled labels; exit 3 if a score is implausible.", rich_help_panel=METHOD
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Folder of cached features and scores.", show_default="the system's cache", rich_help_panel=DEVICE
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Cache nothing.", rich_help_panel=DEVICE)]
Report = Annotated[
    Path | None,
    typer.Option(help="Also write a report: FILE.html or FILE.md.", metavar="FILE", rich_help_panel=OUTPUT),
]
S3prl = Annotated[
    bool,
    typer.Option("--s3prl", help="Only print the commands that run the full SUPERB in s3prl.", rich_help_panel=OUTPUT),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Tasks of a suite in parallel.",
        show_default="one per core, up to 8",
        rich_help_panel=DEVICE,
    ),
]


def evaluate(
    checkpoint: Checkpoint = None,
    data: Data = None,
    tasks: Tasks = None,
    suite: Suite = None,
    data_root: DataRoot = None,
    against: Against = None,
    layers: Layers = "weighted",
    teacher: Teacher = None,
    chunk_ms: ChunkMs = None,
    seeds: Seeds = 3,
    steps: Steps = None,
    clips: Clips = None,
    sanity: Sanity = False,
    cache: Cache = None,
    no_cache: NoCache = False,
    device: FeatureDevice = "cpu",
    executor: Executor = "processes",
    jobs: Jobs = None,
    items: Items = None,
    abx_max: AbxMax = None,
    abx_units: AbxUnits = None,
    report: Report = None,
    s3prl: S3prl = False,
    json: Json = False,
) -> None:
    """Measure what a student kept: its fidelity to the teacher, and task scores beside teacher and baselines.

    Without --suite, quick linear probes on the speech in the package or on --data. With --suite, the SUPERB tasks.
    """
    from ..distill.folders import newest
    from ..teachers.hub_folder import check_at_hand

    screen = Screen(json)
    source = checkpoint or str(newest(RUNS, screen.say))
    check_at_hand(source)  # before torch is imported: offline, a model that is not there is told at once
    from ..evaluate.report import reported

    finish = reported(report)  # before anything is measured: a name that cannot be a report's is told at once
    if s3prl:
        return _print_commands(screen, source, data_root)
    shared: dict[str, Any] = {"teacher": teacher, "chunk_ms": chunk_ms, "device": device}
    beside: dict[str, Any] = {"against": against or (), "layers": layers}
    training: dict[str, Any] = {"steps": steps, "sanity": sanity, "cache": cache, "no_cache": no_cache, "jobs": jobs}
    training["executor"] = None if executor == "processes" else executor
    if asks_for_abx(tasks, items, abx_max, abx_units):
        refuse_beside_abx(suite=suite, data_root=data_root, clips=clips, **training)
        found = abx(screen.say, source, (items, data, abx_max, abx_units), **shared, **beside)
        return _tell(screen, found, finish, source)
    if (chosen := suite or ("mini" if data_root is not None else None)) is None:
        _only_with_suite(against=against, layers=layers != "weighted", clips=clips, **training)
        return _tell(screen, _quick(screen, source, data, tasks, seeds=seeds, **shared), finish, source)
    training["steps"] = steps or STEPS.get(chosen, 1)
    wish = (chosen, tasks or "all", _corpora(chosen, data_root, data), clips)
    document = _suite(screen, source, wish, seeds=seeds, **training, **shared, **beside)
    _tell(screen, document, finish, source)  # and then exit: a measurement that is out of order is still one
    _require_sane(document["sanity"] if sanity else None)


def _corpora(suite: str, data_root: Path | None, data: Path | None) -> Path:
    """The folder of a suite's corpora; raises SpeechpressError when none was named, or --data was."""
    if data_root is None:
        raise SpeechpressError(f"--suite {suite}: needs --data-root, the folder of the unpacked corpora")
    if data is not None:
        raise SpeechpressError("--data is for the quick measure; a suite reads its corpora from --data-root")
    return data_root


def _require_sane(sanity: dict[str, Any] | None) -> None:
    """Raises typer.Exit when something is out of order."""
    if sanity is not None and not sanity["ok"]:
        complain(f"sanity: {'; '.join(sanity['complaints'])}")
        # As for every check that was asked for and failed.
        raise typer.Exit(3)


def _only_with_suite(**given: Any) -> None:
    wrong = [name.replace("_", "-") for name, value in given.items() if value]
    if wrong:
        raise SpeechpressError(f"--{wrong[0]}: only for suites; add --suite mini or superb, and --data-root")


def _quick(
    screen: Screen,
    source: str,
    data: Path | None,
    tasks: str | None,
    **settings: Any,
) -> dict[str, Any]:
    from ..abx.quick import quick
    from ..models.scores import stamped

    document = quick(source, data, tasks, listen=screen.say, **settings)
    suite = "starter" if data is None else f"probes of {data.resolve().name}"
    return stamped(document, suite, source)


def _suite(
    screen: Screen,
    source: str,
    wish: tuple[str, str, Path, int | None],
    *,
    steps: int,
    seeds: int,
    cache: Path | None,
    no_cache: bool,
    jobs: int | None,
    executor: str | None,
    **settings: Any,
) -> dict[str, Any]:
    import torch

    from ..cluster.executor import check_executor
    from ..evaluate.heads import Budget
    from ..evaluate.store import cache_folder
    from ..evaluate.suite import evaluate_suite
    from ..models.scores import stamped
    from ..tasks.suites import open_suite

    suite, tasks, root, clips = wish
    if no_cache and cache is not None:
        raise SpeechpressError("--cache and --no-cache contradict each other; use one of them")
    where = executor or "processes"
    check_executor(where)
    opened, notes = open_suite(suite, tasks.split(","), root, clips)
    place = None if no_cache else cache or cache_folder()
    screen.say("cache: none" if place is None else f"cache of features and scores: {place}")
    document = evaluate_suite(
        source,
        opened,
        budget=Budget(steps=steps, seeds=seeds),
        cache=place,
        workers=jobs or min(MOST_WORKERS, torch.get_num_threads()),
        executor=where,
        listen=screen.say,
        **settings,
    )
    return stamped({**document, "notes": [*notes, *document["notes"]]}, suite, source)


def _tell(screen: Screen, document: dict[str, Any], finish: Finish, source: str) -> None:
    """Write the result beside the weights, then show it, and last the report; what cannot be written is said."""
    from ..abx.tables import abx_tables, quick_tables
    from ..evaluate.tables import suite_tables
    from ..models.scores import write_back

    # Only the quick measure and abx name their data; a suite names its root.
    tables = abx_tables if "abx" in document else quick_tables if "data" in document else suite_tables
    shown = tables(document)
    try:
        words = [f"written: {path}" for path in write_back(document, source)]
    except SpeechpressError as error:
        words = [f"[yellow]note:[/] the result could not be written beside the weights: {error}"]
    screen.result(finish(document), *shown)
    for line in words:
        screen.say(line)


def _print_commands(screen: Screen, source: str, data_root: Path | None) -> None:
    from ..evaluate.s3prl import s3prl_plan
    from ..evaluate.tables import s3prl_words

    document = s3prl_plan(source, data_root)
    screen.result(document, s3prl_words(document))
