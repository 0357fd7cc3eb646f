"""Tables of bundles and exports for people."""

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from speechpress.runtime.bundle import layer_words
from speechpress.runtime.parity import describe

from .card import head_lines, metric_words, output_words, score_lines


def export_table(document: dict[str, Any]) -> RenderableType:
    """What `compress export` found out: per method closeness and time, and what runs beside the backend."""
    title = f"{document['target']}, {document['quantize']}, {document['size_bytes'] / 1e6:.1f} MB"
    if len(document["layers"]) > 1:
        title += f", {layer_words(document['layers'])} side by side"
    if not document["runs_here"]:
        return Text(f"{title}: exported, but not run here", style="yellow")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("method", "against the checkpoint", "time on the backend", "operators on it"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for method, share in document["delegation"].items():
        operators = f"{share['delegated']} of {share['operators']}"
        parity = describe(document["parity_per_method"][method])
        table.add_row(method, parity, f"{share['time_share']:.1%}", operators)
    return Group(table, *_head_lines(document["heads"]), *_fallback_lines(document["delegation"]))


def _head_lines(heads: list[dict[str, Any]]) -> list[Text]:
    return [Text(f"head {head['name']}: {head['kind']}{metric_words(head.get('metrics'))}") for head in heads]


def _fallback_lines(delegation: dict[str, Any]) -> list[Text]:
    lines = []
    for method, share in delegation.items():
        rows = [row for row in share["fallback"] if row["time_share"] >= 0.002][:3]
        words = ", ".join(f"{row['operator']} in {row['layer']} {row['time_share']:.1%}" for row in rows)
        if words:
            lines.append(Text(f"{method}, outside the backend: {words}", style="dim"))
    return lines


def target_rows(target: dict[str, Any]) -> list[tuple[str, str]]:
    """What `show` tells of a target."""
    runs = "exported and checked here" if target["runs_here"] else "exported here, runs on the device only"
    rows = [
        ("backend", f"{target['backend']}; {runs}"),
        ("quantisation", f"{target['quantize']} by default, of {', '.join(target['schemes'])}"),
        ("chunks", ", ".join(f"{chunk_ms:g} ms" for chunk_ms in target["chunks_ms"])),
    ]
    return [*rows, *((f"limits of {scheme}", describe(target["tolerances"][scheme])) for scheme in target["schemes"])]


def bundle_table(document: dict[str, Any]) -> RenderableType:
    """What bundle.json says, for a terminal."""
    title = Text(f"{document['path']}: {document['name']}", style="table.title")
    table = Table(title=title, title_justify="left", box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, words in bundle_rows(document):
        table.add_row(name, Text(words))  # Text: what a bundle says of itself is never markup
    return table


def bundle_rows(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What `show` tells of a bundle."""
    target, features, lineage = document["target"], document["features"], document["lineage"]
    yield "target", f"{target['name']}: {target['description']} ({target['backend']})"
    yield "quantisation", document["quantize"]
    yield "program", f"{document['files']['encoder.pte']['size_bytes'] / 1e6:.1f} MB"
    yield "features", f"{output_words(features)}, {features['width']} wide"
    for stream in document["streams"]:
        lag = f"lag {stream['lag_ms']:g} ms, " if "lag_ms" in stream else ""
        waits = f"look-ahead {stream['lookahead_ms']:g} ms, {lag}worst age of a sample {stream['worst_age_ms']:g} ms"
        yield "live", f"chunks of {stream['chunk_ms']:g} ms, {waits}"
    if document["window"]:
        yield "live", f"no; windows of {document['window']['ms']:g} ms"
    longest_s = document["offline"]["max_s"]
    yield "whole recordings", f"up to {longest_s:g} s" if longest_s else "none"
    for method, figures in document["parity"].items():
        share = document["delegation"][method]["time_share"]
        yield method, f"{describe(figures)}; {share:.1%} of the time on the backend"
    for line in head_lines(document):
        yield "answers", line
    for line in score_lines(lineage.get("scores")):
        yield "scores", line
    yield "made", f"{document['created']} from {(lineage['teacher'] or {}).get('source', 'a checkpoint')}"
