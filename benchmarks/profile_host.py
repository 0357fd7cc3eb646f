"""The host profile of HuBERT-base, DistilHuBERT and `pocket-conv`, fp32 and int8: the README's first table and picture.

    python benchmarks/profile_host.py [--models hubert-base distilhubert pocket-conv] [--schemes none int8] [--chunks N]
        [--threads 1] [--html report.html]

Random weights: their arithmetic is the same, so their latency is; nothing is said of accuracy. `pocket-conv` streams in
chunks of 320 ms; HuBERT-base and DistilHuBERT do not stream, so live they run a window of a second anew, and a "chunk"
is such a window. Every bundle is exported and profiled, in processes of its own, with --per-op. Writes the records to
results/profile_host/NAME.json, the table to results/profile_host.json and stdout, the page to --html and a picture to
results/profile_host.svg. With the defaults it takes about twenty minutes, and 3 GB of disk in TMPDIR.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from common import write
from profile_models import export_random

from speechpress.compressor.views.figures import SERIES, drawn, width
from speechpress.devices.open import HostDevice
from speechpress.devices.profile import ProfileOptions, profile
from speechpress.devices.report import build, write_html
from speechpress.runtime.atomic import write_json, write_text
from speechpress.runtime.bundle import read_bundle

RESULTS = Path(__file__).parent / "results"
COLOURS = {"none": SERIES[0], "int8": SERIES[1]}
NAMES = {"none": "fp32"}


def measure(name: str, scheme: str, options: ProfileOptions) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        bundle = read_bundle(export_random(name, scheme, Path(folder) / name))
        record = profile(bundle, HostDevice(), options, lambda event: None)
    record["bundle"]["path"] = f"{name}, {scheme}, random weights"
    if record["stopped"]:
        raise SystemExit(f"{name}, {scheme}: {record['stopped']['message']}")
    return record


def row_of(name: str, record: dict[str, Any]) -> dict[str, Any]:
    """What stands in the table."""
    result, settings = record["result"], record["settings"]
    keys = ("p50_ms", "p90_ms", "p99_ms", "rtf", "streams_per_core", "load_ms", "first_chunk_ms", "peak_rss_bytes")
    return {
        "model": name,
        "quantize": record["bundle"]["quantize"],
        "chunk_ms": settings["chunk_ms"],
        "threads": settings["threads"],
        **{key: result[key] for key in keys},
        "size_bytes": record["bundle"]["size_bytes"],
        "outside_share": record["operators"]["outside_share"],
        "warnings": [item["text"] for item in record["warnings"]],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    heads = [
        "",
        "quantisation",
        "runs on",
        "p50",
        "p99",
        "real-time factor",
        "streams per core",
        "program",
        "peak memory",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        unit = f"{row['chunk_ms']:g} ms"
        figures = [
            f"{row['p50_ms']:.1f} ms",
            f"{row['p99_ms']:.1f} ms",
            f"{row['rtf']:.4f}",
            f"{row['streams_per_core']:.0f}",
        ]
        sizes = [f"{row['size_bytes'] / 1e6:.1f} MB", f"{row['peak_rss_bytes'] / 1e6:.0f} MB"]
        scheme = NAMES.get(row["quantize"], row["quantize"])
        lines.append("| " + " | ".join([row["model"], scheme, unit, *figures, *sizes]) + " |")
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Milliseconds of computing per second of audio, as bars."""
    write_text(path, drawn(lambda: draw(rows), path.stem)[0])


def draw(rows: list[dict[str, Any]]) -> Any:
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(width(), 0.5 * len(rows) + 1.2))
    for place, row in enumerate(reversed(rows)):
        value = 1000 * row["p50_ms"] / row["chunk_ms"]
        panel.barh(place, value, color=COLOURS[row["quantize"]], height=0.62)
        panel.text(value, place, f"  {value:.0f} ms", va="center", fontsize=9)
    labels = [f"{row['model']}, {NAMES.get(row['quantize'], row['quantize'])}" for row in reversed(rows)]
    panel.set_yticks(range(len(rows)), labels)
    panel.set_xlabel("computing time per second of audio (ms; p50, one core)")
    panel.grid(axis="y", visible=False)
    panel.margins(x=0.12)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["hubert-base", "distilhubert", "pocket-conv"])
    parser.add_argument("--schemes", nargs="+", default=["none", "int8"])
    parser.add_argument("--chunks", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--html", type=Path)
    given = parser.parse_args()
    records, rows = [], []
    for name in given.models:
        for scheme in given.schemes:
            record = measure(name, scheme, ProfileOptions(chunks=given.chunks, threads=given.threads, per_op=True))
            write_json(RESULTS / "profile_host" / f"{name}-{scheme}.json", record)
            records.append(record)
            rows.append(row_of(name, record))
            print(f"{name}, {scheme}: p50 {rows[-1]['p50_ms']:.2f} ms", flush=True)
    print(table(rows))
    write("profile_host", {"random_weights": True, "rows": rows})
    picture(rows, RESULTS / "profile_host.svg")
    if given.html:
        write_html(given.html, build(records, []))


if __name__ == "__main__":
    main()
