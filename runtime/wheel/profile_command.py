"""`speechpress-profile`: a bundle measured on this device alone; the record is that of `compress profile`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .runtime.errors import SpeechpressError

if TYPE_CHECKING:
    from .devices.record import Record

PACES = {"both": ("real", "flat"), "real": ("real",), "flat": ("flat",)}
WORDS = {"golden": "checking the golden clip", "time": "timing"}


def main(words: list[str] | None = None) -> int:
    """Exit code 0; 1 the user can mend it; 3 a check failed, or p99 is over --budget-ms."""
    try:
        return run(parser().parse_args(words))
    except SpeechpressError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser("speechpress-profile", description="Measure a bundle on this device, by chunks.")
    found.add_argument(
        "bundle", nargs="?", type=Path, help="its folder, or USER/NAME on the Hub; else the one in the package"
    )
    found.add_argument("--chunk-ms", type=float, help="one of the bundle's chunk sizes; else its first")
    found.add_argument("--threads", type=int, help="threads; else the known device's, else 1")
    found.add_argument("--cores", help="cores to stay on, such as 4-7 or 0,2, or big")
    found.add_argument("--chunks", type=int, help="chunks to time at each pace; else 100 or 32 s")
    found.add_argument("--duration", type=float, help="seconds of each pace instead: a sustained run shows heat")
    found.add_argument("--pace", default="both", choices=PACES, help="as audio comes, one after the other, or both")
    found.add_argument("--budget-ms", type=float, help="exit 3 when p99 is over")
    found.add_argument("--out", type=Path, default=Path("profile.json"), help="the record to write (profile.json)")
    found.add_argument("--json", action="store_true", help="the record's figures as one JSON object on stdout")
    return found


def run(given: argparse.Namespace) -> int:
    from .devices.open import HostDevice
    from .devices.profile import ProfileOptions, profile
    from .runtime.atomic import write_json
    from .runtime.bundle import read_bundle
    from .runtime.choice import SHIPPED
    from .runtime.hub.fetch import local_folder
    from .runtime.hub.manifest import BUNDLE
    from .runtime.json_file import json_text

    for name in ("threads", "chunks", "duration"):
        value = getattr(given, name)
        if value is not None and value <= 0:
            raise SpeechpressError(f"--{name} is {value:g}, but must be above 0")
    options = ProfileOptions(
        *(given.chunk_ms, given.threads, given.cores, given.chunks, given.duration, PACES[given.pace]),
        budget_ms=given.budget_ms,
    )
    record = profile(read_bundle(local_folder(given.bundle or SHIPPED, BUNDLE)), HostDevice(), options, heard)
    # Also of a run that stopped: what was measured is worth the most.
    write_json(given.out, record)
    shown = {"out": str(given.out), "engine": record["device"].get("engine"), **record["result"]}
    sys.stdout.write(f"{json_text(shown)}\n" if given.json else "\n".join(lines(record, given.out)) + "\n")
    return exit_code(record, given.out)


def heard(event: dict[str, Any]) -> None:
    if event["event"] == "start" and event["phase"] in WORDS:
        sys.stderr.write(f"{WORDS[event['phase']]}\n")
    elif event["event"] == "say":
        sys.stderr.write(f"note: {event['text']}\n")


def lines(record: "Record", out: Path) -> list[str]:
    """The figures that one looks at first."""
    bundle, settings, result = record["bundle"], record["settings"], record["result"]
    found = [
        f"{bundle['name']}, {bundle['quantize']}, {settings['chunk_ms']:g} ms, threads: {settings['threads']}",
        f"engine: {(record['device'].get('engine') or {}).get('about', 'unknown')}",
    ]
    for name, pace in record["paces"].items():
        if pace["ms"]:
            figures = ", ".join(f"{key} {pace[f'{key}_ms']:.2f}" for key in ("p50", "p90", "p99", "max"))
            found.append(f"{name:5s} {len(pace['ms'])} chunks, ms: {figures}")
    if result["p50_ms"] is not None:
        found.append(
            f"loaded in {result['load_ms']:.0f} ms, real-time factor {result['rtf']:.4f}, peak memory "
            f"{(result['peak_rss_bytes'] or 0) / 1e6:.0f} MB"
        )
    found += [f"warning: {item['text']}" for item in record["warnings"]]
    return [*found, f"record: {out}"]


def exit_code(record: "Record", out: Path) -> int:
    stopped, result, budget_ms = record["stopped"], record["result"], record["settings"]["budget_ms"]
    if stopped is not None:
        sys.stderr.write(f"error: {stopped['message']} (what was measured until then is in {out})\n")
        return stopped["exit_code"]
    if budget_ms is not None and result["over_budget"]:
        sys.stderr.write(f"error: p99 is {result['p99_ms']:.2f} ms, over the budget of {budget_ms:g} ms\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
