"""The commands that measure: `compress profile` and `compress report`. `main.py` adds them to the command line."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

from .options import BUNDLES, PROFILES, Json

if TYPE_CHECKING:
    from speechpress.devices.record import Record

PACES = {"both": ("real", "flat"), "real": ("real",), "flat": ("flat",)}


def profile(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            help="A bundle's folder, or USER/NAME on the Hub; else the newest under ./bundles that runs here, or ours."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="host, ssh:user@host, ssh:user@host:port or adb:SERIAL.")] = "host",
    chunk_ms: Annotated[float | None, typer.Option(help="One of the bundle's chunk sizes; else its first.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; else the known device's, else 1.")] = None,
    cores: Annotated[str | None, typer.Option(help="Cores to stay on, such as 4-7 or 0,2, or big.")] = None,
    chunks: Annotated[int | None, typer.Option(min=1, help="Chunks to time at each pace; else 100 or 32 s.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds of each pace instead: a sustained run shows heat.")
    ] = None,
    pace: Annotated[str, typer.Option(help="real (as audio comes), flat (one after the other) or both.")] = "both",
    budget_ms: Annotated[float | None, typer.Option(min=0, help="Exit 3 when p99 is over; else only said.")] = None,
    per_op: Annotated[bool, typer.Option("--per-op", help="Also where the time goes, by operator and layer.")] = False,
    python: Annotated[str | None, typer.Option(help="The interpreter on the device; python3 by default.")] = None,
    runner: Annotated[
        Path | None, typer.Option(help="speechpress-run for the device (docs/cpp.md) instead of Python there.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds of silence after which a program hangs.")] = 120.0,
    out: Annotated[Path | None, typer.Option(help="The record to write; by default a new one in ./profiles.")] = None,
    json: Json = False,
) -> None:
    """Measure a bundle on a device, chunk by chunk, after its golden clip was checked there."""
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
    screen.result(document, profile_table(record), f"record: {out}   next: compress report {out} --html report.html")
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
        sys.stderr.write(f"error: {stopped['message']} (what was measured until then is in {out})\n")
        raise typer.Exit(stopped["exit_code"])
    # Without --budget-ms the budget is the chunk itself, which is told but fails nothing.
    if settings["budget_ms"] is not None and result["over_budget"]:
        sys.stderr.write(f"error: p99 is {result['p99_ms']:.2f} ms, over the budget of {settings['budget_ms']:g} ms\n")
        raise typer.Exit(3)


def report(
    results: Annotated[
        list[Path] | None, typer.Argument(help="Records of `compress profile`, or folders of them; ./profiles.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="One page with everything in it; report.html by default.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="A table in Markdown.")] = None,
    csv: Annotated[Path | None, typer.Option(help="A table in CSV.")] = None,
    baseline: Annotated[
        list[Path] | None,
        typer.Option(help="Earlier record or folder to compare with; exit 3 when slower."),
    ] = None,
    json: Json = False,
) -> None:
    """Compare bundles, devices and runs: one page to look at offline, and Markdown and CSV."""
    from speechpress.devices.report import build, find_records, write_csv, write_html, write_markdown

    from ..views.screen import Screen
    from .measure_tables import report_table

    screen = Screen(json)
    if not results:
        screen.say(f"no results were named; taking all of {PROFILES}")
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
        sys.stderr.write(f"error: slower than the baseline: {'; '.join(view.regressions)}\n")
        raise typer.Exit(3)
