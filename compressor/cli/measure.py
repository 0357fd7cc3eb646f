"""The commands that measure: `compress profile` and `compress report`. `main.py` adds them to the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from .help.complete import complete_bundle, complete_device
from .help.looks import DEVICE, INPUT, METHOD, OUTPUT, choices
from .options import BUNDLES, PROFILES, Json, complain

if TYPE_CHECKING:
    from speechpress.devices.record import Record

PACES = {"both": ("real", "flat"), "real": ("real",), "flat": ("flat",)}


Bundle = Annotated[
    Path | None,
    typer.Argument(
        help="Folder of a bundle, or USER/NAME on the Hub.",
        show_default="the newest under ./bundles, else the built-in one",
        autocompletion=complete_bundle,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="host, ssh:user@host, ssh:user@host:port or adb:SERIAL.",
        autocompletion=complete_device,
        rich_help_panel=DEVICE,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Number of threads.", show_default="the known device's, else 1", rich_help_panel=DEVICE),
]
Cores = Annotated[
    str | None,
    typer.Option(help="Cores to run on, such as 4-7 or 0,2, or big.", show_default="any", rich_help_panel=DEVICE),
]
Python = Annotated[
    str | None,
    typer.Option(help="Python interpreter on the device.", show_default="python3", rich_help_panel=DEVICE),
]
Runner = Annotated[
    Path | None,
    typer.Option(help="speechpress-run for the device, instead of Python there (docs/cpp.md).", rich_help_panel=DEVICE),
]
Timeout = Annotated[
    float, typer.Option(min=1, help="Give up after so many seconds of silence.", rich_help_panel=DEVICE)
]
ChunkMs = Annotated[
    float | None,
    typer.Option(
        help="One of the bundle's chunk sizes, in ms.", show_default="the bundle's first", rich_help_panel=METHOD
    ),
]
Chunks = Annotated[
    int | None,
    typer.Option(min=1, help="Chunks to time at each pace.", show_default="100, or 32 s", rich_help_panel=METHOD),
]
Duration = Annotated[
    float | None,
    typer.Option(min=0.1, help="Seconds at each pace instead; a long run shows throttling.", rich_help_panel=METHOD),
]
Pace = Annotated[
    str,
    typer.Option(
        help="real: as audio arrives; flat: one chunk after the other.",
        metavar=choices("both", "real", "flat"),
        rich_help_panel=METHOD,
    ),
]
PerOp = Annotated[
    bool,
    typer.Option("--per-op", help="Also time each operator and layer.", rich_help_panel=METHOD),
]
BudgetMs = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Exit 3 if p99 is above this.",
        show_default="the chunk size, without exit 3",
        rich_help_panel=METHOD,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="The record to write.", show_default="a new one in ./profiles", rich_help_panel=OUTPUT),
]


def profile(
    bundle: Bundle = None,
    device: Device = "host",
    threads: Threads = None,
    cores: Cores = None,
    python: Python = None,
    runner: Runner = None,
    timeout: Timeout = 120.0,
    chunk_ms: ChunkMs = None,
    chunks: Chunks = None,
    duration: Duration = None,
    pace: Pace = "both",
    per_op: PerOp = False,
    budget_ms: BudgetMs = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Check a bundle on a device with its golden clip, then time it chunk by chunk."""
    from speechpress.devices.open import open_device
    from speechpress.devices.profile import ProfileOptions
    from speechpress.devices.profile import profile as measure
    from speechpress.runtime.atomic import write_json
    from speechpress.runtime.bundle import read_bundle
    from speechpress.runtime.choice import choose_bundle
    from speechpress.runtime.hub.fetch import local_folder
    from speechpress.runtime.hub.ids import name_of
    from speechpress.runtime.hub.manifest import BUNDLE

    from ..views.screen import Screen
    from .measure_tables import ProfileView, profile_table, summary

    # Before the device is reached, which may take half a minute.
    if pace not in PACES:
        raise SpeechpressError(f"--pace {pace}: must be one of {', '.join(PACES)}")
    screen = Screen(json)
    if bundle is None:
        bundle = choose_bundle(BUNDLES, screen.say)
    options = ProfileOptions(
        chunk_ms, threads, cores, chunks, duration, PACES[pace], budget_ms, per_op, timeout, runner
    )
    # The address is only read here; `measure` reaches the device.
    opened, place = read_bundle(local_folder(bundle, BUNDLE)), open_device(device, python)
    with ProfileView(screen) as view:
        record = measure(opened, place, options, view)
    out = out or _new_name(PROFILES, f"{name_of(bundle)}-{device}")
    # Before anything is shown, also of a run that stopped: what was measured is worth the most.
    write_json(out, record)
    document = summary(record, out)
    next_step = f"next: compress report {out} --html report.html"
    screen.result(document, profile_table(record), f"record: {out}", next_step)
    # Last, so that the table is seen whatever the exit code says.
    _leave(record, out)


def _new_name(folder: Path, name: str) -> Path:
    """A file that is not there yet; addresses hold signs that file names should not."""
    plain = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name)
    number = 1
    # Never over an earlier record: it may be the baseline of the next comparison.
    while (path := folder / f"{plain}{'' if number == 1 else f'-{number}'}.json").exists():
        number += 1
    return path


def _leave(record: "Record", out: Path) -> None:
    """Exit with the code that the outcome asks for."""
    stopped, settings, result = record["stopped"], record["settings"], record["result"]
    if stopped is not None:
        complain(f"{stopped['message']} (what was measured until then is in {out})")
        raise typer.Exit(stopped["exit_code"])
    # Without --budget-ms the budget is the chunk itself, which is told but fails nothing.
    if settings["budget_ms"] is not None and result["over_budget"]:
        complain(f"p99 is {result['p99_ms']:.2f} ms, over the budget of {settings['budget_ms']:g} ms")
        raise typer.Exit(3)


def report(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Records of `compress profile`, or folders of them.", show_default="./profiles"),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write one self-contained page.", show_default="report.html", rich_help_panel=OUTPUT),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a table in Markdown.", rich_help_panel=OUTPUT)] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a table in CSV.", rich_help_panel=OUTPUT)] = None,
    baseline: Annotated[
        list[Path] | None,
        typer.Option(help="Earlier records to compare with; exit 3 if slower. Repeatable.", rich_help_panel=INPUT),
    ] = None,
    json: Json = False,
) -> None:
    """Compare bundles, devices and runs, on one page, in Markdown or in CSV."""
    from speechpress.devices.report import build, find_records, write_csv, write_html, write_markdown

    from ..views.screen import Screen
    from .measure_tables import report_table

    screen = Screen(json)
    if not results:
        screen.say(f"no results given; using all of {PROFILES}")
    view = build(find_records(results or [PROFILES]), find_records(baseline) if baseline else [])
    # A report without any file would be the table alone; the page is what most want.
    if html is None and markdown is None and csv is None:
        html = Path("report.html")
    written = []
    for path, write in ((html, write_html), (markdown, write_markdown), (csv, write_csv)):
        if path is not None:
            write(path, view)
            written.append(str(path))
    document = {"out": written, **view.document()}
    screen.result(document, report_table(document), *(f"written: {path}" for path in written))
    # Last: the files are there for whoever looks into the failure.
    if view.regressions:
        complain(f"slower than the baseline: {'; '.join(view.regressions)}")
        raise typer.Exit(3)
