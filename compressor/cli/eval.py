"""`compress eval`. `main.py` adds it to the command line."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from speechpress.runtime.errors import SpeechpressError

from ..abx.asked import abx, asks_for_abx, refuse_beside_abx
from ..views.screen import Screen
from .options import RUNS, Executor, Json

QUICK_TASKS = "ks,sid"
STEPS = {"mini": 300, "superb": 3000}
MOST_WORKERS = 8
Finish = Callable[[dict[str, Any]], dict[str, Any]]  # adds what was kept, and writes the report that was asked for


Checkpoint = Annotated[
    str | None,
    typer.Argument(help="Folder of a checkpoint or bundle, or a teacher; the newest checkpoint under ./runs."),
]
Data = Annotated[Path | None, typer.Option(help="Folder of audio with a labels.tsv; else the starter speech.")]
Tasks = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated: ks, sid; with --suite also ic, sf, asv, sd, er, pr, asr, qbe, or all; or abx, alone."
    ),
]
Items = Annotated[Path | None, typer.Option(help="Item file of --tasks abx; its recordings lie under --data.")]
AbxMax = Annotated[
    int | None, typer.Option(min=0, help="abx: tokens per phone, context and speaker; 0 for all. 10 unless given.")
]
AbxUnits = Annotated[int | None, typer.Option(min=2, help="abx: also of discrete units, so many clusters per layer.")]
Suite = Annotated[str | None, typer.Option(help="mini or superb: the ten tasks, on corpora in --data-root.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder that holds the suite's corpora, unpacked.")]
Against = Annotated[
    list[str] | None, typer.Option(help="Checkpoint, bundle or teacher to measure beside it; may be repeated.")
]
Layers = Annotated[str, typer.Option(help="weighted (a learned sum) or last, all that a deployed one has.")]
Teacher = Annotated[str | None, typer.Option(help="The teacher, if it is no longer where the card says.")]
ChunkMs = Annotated[
    float | None, typer.Option(help="Hear the audio in chunks, as a streaming student does; else all at once.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Heads per task, each with its own random numbers.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Training steps of each head of the suite.")]
Clips = Annotated[int | None, typer.Option(min=1, help="At most so many clips per split, for superb.")]
Sanity = Annotated[
    bool, typer.Option("--sanity", help="Also with shuffled labels; exit 3 when something is out of order.")
]
Cache = Annotated[Path | None, typer.Option(help="Folder that keeps features and outcomes; else the system's cache.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep neither.")]
Device = Annotated[str, typer.Option(help="Where features are computed: cpu, cuda or mps.")]
Report = Annotated[Path | None, typer.Option(help="Also a report of what was kept: FILE.html or FILE.md.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Tasks of the suite solved at once; else one a core, up to 8.")]
S3prl = Annotated[bool, typer.Option("--s3prl", help="Only print the commands that run the full SUPERB in s3prl.")]


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
    device: Device = "cpu",
    executor: Executor = "processes",
    jobs: Jobs = None,
    items: Items = None,
    abx_max: AbxMax = None,
    abx_units: AbxUnits = None,
    report: Report = None,
    s3prl: S3prl = False,
    json: Json = False,
) -> None:
    """What a student kept: fidelity to its teacher, and tasks beside the teacher, random weights and log-mel.

    Without --suite, quick linear probes on the starter speech or on --data. With --suite, the tasks of SUPERB.
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
        return _tell(screen, _quick(screen, source, data, tasks or QUICK_TASKS, seeds=seeds, **shared), finish, source)
    training["steps"] = steps or STEPS.get(chosen, 1)
    wish = (chosen, tasks or "all", _corpora(chosen, data_root, data), clips)
    document = _suite(screen, source, wish, seeds=seeds, **training, **shared, **beside)
    _tell(screen, document, finish, source)  # and then exit: a measurement that is out of order is still one
    _require_sane(document["sanity"] if sanity else None)


def _corpora(suite: str, data_root: Path | None, data: Path | None) -> Path:
    """The folder of a suite's corpora; raises SpeechpressError when none was named, or --data was."""
    if data_root is None:
        raise SpeechpressError(f"--suite {suite}: needs --data-root, the folder that holds the corpora, unpacked")
    if data is not None:
        raise SpeechpressError("--data is for the quick measure; a suite reads its corpora from --data-root")
    return data_root


def _require_sane(sanity: dict[str, Any] | None) -> None:
    """Raises typer.Exit when something is out of order."""
    if sanity is not None and not sanity["ok"]:
        sys.stderr.write(f"error: sanity: {'; '.join(sanity['complaints'])}\n")
        # As for every check that was asked for and failed.
        raise typer.Exit(3)


def _only_with_suite(**given: Any) -> None:
    wrong = [name.replace("_", "-") for name, value in given.items() if value]
    if wrong:
        raise SpeechpressError(f"--{wrong[0]}: is for the suites; add --suite mini or superb, and --data-root")


def _quick(
    screen: Screen,
    source: str,
    data: Path | None,
    tasks: str,
    *,
    seeds: int,
    **settings: Any,
) -> dict[str, Any]:
    from ..evaluate.quick import evaluate as measure
    from ..models.scores import stamped
    from ..tasks.suites import quick_names

    document = measure(
        source,
        data,
        tasks=quick_names(tasks.split(",")),
        seeds=seeds,
        listen=screen.say,
        **settings,
    )
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
        raise SpeechpressError("--cache and --no-cache contradict each other; give one of them")
    where = executor or "processes"
    check_executor(where)
    opened, notes = open_suite(suite, tasks.split(","), root, clips)
    place = None if no_cache else cache or cache_folder()
    screen.say("nothing is kept" if place is None else f"features and outcomes are kept in {place}")
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
    from ..abx.tables import abx_tables
    from ..evaluate.tables import probe_tables, suite_tables
    from ..models.scores import write_back

    # Only the quick measure and abx name their data; a suite names its root.
    tables = abx_tables if "abx" in document else probe_tables if "data" in document else suite_tables
    shown = tables(document)
    try:
        words = [f"written: {path}" for path in write_back(document, source)]
    except SpeechpressError as error:
        words = [f"[yellow]note[/] the result was not written beside the weights: {error}"]
    screen.result(finish(document), *shown)
    for line in words:
        screen.say(line)


def _print_commands(screen: Screen, source: str, data_root: Path | None) -> None:
    from ..evaluate.s3prl import s3prl_plan
    from ..evaluate.tables import s3prl_words

    document = s3prl_plan(source, data_root)
    screen.result(document, s3prl_words(document))
