"""Tables of quantised checkpoints and of the comparison of schemes, for people."""

from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from speechpress.runtime.escape import counted, markdown_text

from ..views import pages


def quantized_table(document: dict[str, Any]) -> RenderableType:
    """What `compress quantize` wrote."""
    table = Table(title=f"{document['scheme']}", title_justify="left", box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    table.add_row("parameters", f"{document['parameters'] / 1e6:.2f} M")
    table.add_row("weights to expect", f"{document['size_bytes'] / 1e6:.1f} MB")
    table.add_row("in float", ", ".join(document["float"]) or "nothing")
    heard = document["calibration"]
    if heard is not None:
        table.add_row(
            "calibrated on",
            f"{heard['seconds']:.0f} s of {heard['source']}, {counted(heard['recordings'], 'recording')}",
        )
        if heard["resampled"]:
            rates = ", ".join(f"{count} of {rate} Hz" for rate, count in heard["resampled"].items())
            table.add_row("resampled", f"{rates}, to 16 kHz")
    if "budget_db" in document:
        table.add_row("budget", f"{document['budget_db']:g} dB, reached {document['reached_db']:.1f} dB")
    return table


def report_tables(document: dict[str, Any]) -> list[RenderableType]:
    """The comparison: schemes side by side, layers, and the operators that suffer most."""
    head, *rows = _rows(document)
    schemes = Table(title=_title(document), title_justify="left", box=box.SIMPLE_HEAD)
    for column in head:
        schemes.add_column(column, justify="left" if column == "scheme" else "right")
    for row in rows:
        schemes.add_row(*row)
    notes = [Text(f"note: {note}", style="yellow") for note in document["notes"]]
    return [schemes, _layers_table(document), _sensitive_table(document), *notes]


def markdown_table(document: dict[str, Any]) -> str:
    """The first table of `report_tables` in Markdown."""
    head, *rows = _rows(document)
    return f"{markdown_text(_title(document))}\n\n" + pages.markdown_table(head, rows)


def _title(document: dict[str, Any]) -> str:
    what = "windows of 1 s" if document["method"] == "window" else "chunks of 320 ms"
    return f"{document['checkpoint']}: programs for {what}, {counted(document['threads'], 'thread')}"


def _rows(document: dict[str, Any]) -> list[list[str]]:
    schemes = document["schemes"]
    first = next(iter(schemes.values()))
    heads, tasks = list(first["heads"]), list(first["probes"])
    named = [*(f"head {layer}" for layer in heads), *tasks]
    rows = [["scheme", "MB", "ms", "on backend", "SNR (dB)", "cosine", *named]]
    for scheme, row in schemes.items():
        numbers = [f"{row['heads'][layer]:.4f}" for layer in heads]
        numbers += [f"{row['probes'][task]['test']:.3f}" for task in tasks]
        parity = row["program"]
        rows.append(
            [
                scheme,
                f"{row['size_bytes'] / 1e6:.1f}",
                f"{row['median_ms']:.2f}",
                f"{row['time_share']:.1%}",
                f"{parity['snr_db']:.1f}",
                f"{parity['cosine']:.4f}",
                *numbers,
            ]
        )
    return rows


def _layers_table(document: dict[str, Any]) -> Table:
    table = Table(title="layers against float32: SNR in dB (cosine)", title_justify="left", box=box.SIMPLE_HEAD)
    schemes = [name for name in document["schemes"] if name != "none"]
    for column in ("layer", *schemes):
        table.add_column(column, justify="right")
    for layer in range(len(document["schemes"]["none"]["layers"])):
        cells = [document["schemes"][name]["layers"][layer] for name in schemes]
        table.add_row(str(layer), *(f"{cell['snr_db']:.1f} ({cell['cosine']:.4f})" for cell in cells))
    return table


def _sensitive_table(document: dict[str, Any]) -> Table:
    title = "most sensitive operators: SNR of the features when it alone is quantised"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("scheme", "operator", "how", "SNR (dB)"):
        table.add_column(column, justify="right" if column == "SNR (dB)" else "left")
    for scheme, row in document["schemes"].items():
        for cost in row["sensitive"]:
            table.add_row(scheme, cost["name"], cost["how"], f"{cost['snr_db']:.1f}")
    return table
