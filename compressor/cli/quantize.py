"""`compress quantize`: calibrate a checkpoint, or compare the schemes on it. `main.py` adds it to the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from .help.complete import complete_run, complete_scheme, complete_teacher
from .help.looks import INPUT, METHOD, OUTPUT, choices
from .options import RUNS, Executor, Json

if TYPE_CHECKING:
    from ..views.screen import Screen


Checkpoint = Annotated[
    Path | None,
    typer.Argument(help="Folder of a checkpoint.", show_default="the newest under ./runs", autocompletion=complete_run),
]
Scheme = Annotated[
    list[str] | None,
    typer.Option(
        help="int8-static, int8, int8-linear, int4, fp16 or mixed; repeatable with --report.",
        metavar=choices("int8-static", "..."),
        show_default="int8-static; all with --report",
        autocompletion=complete_scheme,
        rich_help_panel=METHOD,
    ),
]
BudgetDb = Annotated[
    float,
    typer.Option(min=1, help="mixed: SNR of the features to keep, in dB.", rich_help_panel=METHOD),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Speech: folder of audio or Lhotse manifest.",
        show_default="the speech in the package",
        rich_help_panel=INPUT,
    ),
]
Report = Annotated[
    bool,
    typer.Option("--report", help="Compare the schemes and write nothing.", rich_help_panel="Comparison"),
]
Tasks = Annotated[
    str,
    typer.Option(help="--report: probes, of ks (keywords) and sid (speakers), or none.", rich_help_panel="Comparison"),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        help="--report: the teacher.",
        show_default="where the card says",
        autocompletion=complete_teacher,
        rich_help_panel="Comparison",
    ),
]
Markdown = Annotated[
    Path | None, typer.Option(help="--report: also write the table to this file.", rich_help_panel="Comparison")
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder to write.", show_default="a new one under ./runs", rich_help_panel=OUTPUT),
]
Jobs = Annotated[int, typer.Option(min=1, help="--report: schemes in parallel.", rich_help_panel="Comparison")]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace the quantised checkpoint in --out.", rich_help_panel=OUTPUT),
]


def quantize(
    checkpoint: Checkpoint = None,
    scheme: Scheme = None,
    budget_db: BudgetDb = 30.0,
    data: Data = None,
    report: Report = False,
    tasks: Tasks = "ks,sid",
    teacher: Teacher = None,
    markdown: Markdown = None,
    jobs: Jobs = 1,
    executor: Executor = "processes",
    out: Out = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Quantise a checkpoint, calibrated on held-out speech, or compare the schemes with --report."""
    from speechpress.runtime.hub.ids import name_of

    from ..distill.folders import choose_folder, newest
    from ..targets import known_scheme
    from ..views.screen import Screen

    # All of them before the first is tried: a report runs for minutes.
    for name in scheme or ():
        known_scheme(name)
    # A checkpoint has one scheme; silently taking the first would surprise.
    if not report and len(scheme or ()) > 1:
        raise SpeechpressError(f"--scheme was given {len(scheme or ())} times; add --report to compare several")
    screen = Screen(json)
    folder = checkpoint or newest(RUNS, screen.say)
    if report:
        return _report(screen, folder, scheme, data, budget_db, tasks, teacher, markdown, (executor, jobs))
    from ..heads.files import read_heads
    from ..quantize.ptq import prepare
    from ..quantize.ptq import quantize as write
    from ..quantize.scheme import CALIBRATED
    from ..quantize.tables import quantized_table

    chosen = scheme[0] if scheme else "int8-static"
    # Other schemes look at weights only and need no speech.
    prepared = prepare(folder, data, chosen in CALIBRATED, read_heads(folder))
    place = choose_folder(out, RUNS, f"{name_of(folder)}-{chosen}", resume=False)
    with screen.busy("quantize") as say:
        document = write(prepared, chosen, place, say, budget_db, overwrite)
    next_step = f"next: compress export {place} --target android"
    screen.result(document, quantized_table(document), f"checkpoint: {place}", next_step)


def _report(
    screen: "Screen",
    folder: Path,
    schemes: list[str] | None,
    data: Path | None,
    budget_db: float,
    tasks: str,
    teacher: str | None,
    markdown: Path | None,
    side_by_side: tuple[str, int],
) -> None:
    from speechpress.runtime.atomic import write_text

    from ..cluster.executor import check_executor
    from ..quantize.ptq import prepare
    from ..quantize.tables import markdown_table, report_tables
    from ..study.schemes import SchemeReportOptions, report
    from ..targets import SCHEMES
    from ..views.warned import attempt

    check_executor(side_by_side[0])
    probes = tuple(name.strip() for name in tasks.split(",") if name.strip() not in ("", "none"))
    options = SchemeReportOptions(
        tuple(schemes or SCHEMES), probes, data, teacher, budget_db, executor=side_by_side[0], jobs=side_by_side[1]
    )
    # For every scheme: the report measures each of them on it.
    prepared = prepare(folder, data, needs_speech=True)
    with screen.busy("report") as say:
        document = report(prepared, options, say)
    if markdown is not None:
        table = markdown_table(document)
        # `attempt`: the report took minutes, and must be shown even if its table cannot be written.
        document["out"] = attempt(f"the table {markdown}", lambda: str(write_text(markdown, table)))
    screen.result(document, *report_tables(document))
