"""What pruning did, as tables for people."""

from typing import Any

from rich.table import Table

from ..views.numbers import giga_macs, megabytes, millions

KINDS = {"conv": "front-end channels", "head": "heads", "ffn": "FFN units"}


def prune_table(document: dict[str, Any]) -> Table:
    """Before and after: sizes, measured time, units per layer, or sparsity per layer."""
    before, pruned = document["before"], document["prune"]
    table = Table(title=f"pruned by {document['method']}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "before", "after"):
        table.add_column(column)
    table.add_row("parameters", millions(before["parameters"]), millions(document["parameters"]))
    table.add_row("per second of audio", giga_macs(before["macs_per_s"]), giga_macs(document["macs_per_s"]))
    table.add_row("fp32", megabytes(before["size_bytes"]["fp32"]), megabytes(document["size_bytes"]["fp32"]))
    latency = pruned.get("latency")
    if latency:
        place = f"{latency['device']}, chunk of {latency['chunk_ms']:g} ms, {latency['quantize']}"
        table.add_row(f"measured on {place}", f"{latency['before_ms']:.2f} ms", f"{latency['after_ms']:.2f} ms")
    width = pruned.get("width")
    if width and width[0] != width[1]:
        table.add_row("width", *map(str, width))
    for name, pairs in (pruned.get("units") or {}).items():
        old, new = (", ".join(str(pair[side]) for pair in pairs) for side in (0, 1))
        table.add_row(KINDS[name], old, new)
    for name, share in (pruned.get("layers") or {}).items():
        table.add_row(name, "", f"{share:.1%} zeros")
    if pruned.get("note"):
        table.caption, table.caption_justify = f"note: {pruned['note']}", "left"
    return table
