"""Plots for pages and files, drawn once: SVG whose colours follow the page's light and dark, and the same as PNG."""

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

from speechpress.runtime.atomic import atomic, write_text

# Colours of files; in a page each stands for one of its variables (devices/page.css.j2).
INK, SOFT, LINE, CARD = "#17202b", "#5b6776", "#dde2e9", "#fefefe"
SERIES = ("#2563c9", "#c2410c", "#0f8a5f", "#8a3fbf", "#a16a00", "#be2464", "#0b7f95", "#5b6777")
VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line", CARD: "--card"}
VARIABLES |= {colour: f"--c{index}" for index, colour in enumerate(SERIES)}
STYLE: dict[Any, Any] = {
    # Text stays text: it can be searched and read aloud, and has the font of the page.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": CARD,
    "savefig.facecolor": CARD,
}

Draw = Callable[[], Any]


def drawn(draw: Draw, name: str) -> tuple[str, bytes]:
    """(SVG text, PNG bytes) of what `draw` returns, a matplotlib figure; `name` tells ids of several SVGs apart."""
    # A backend that draws into memory and needs no screen: runs happen on servers.
    matplotlib.use("Agg")
    # Not at the top: pyplot is slow to import, and must find its backend chosen.
    import matplotlib.pyplot as plt

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = draw()
        svg, png = io.StringIO(), io.BytesIO()
        # A date, or ids without a fixed salt, would make another file of the same numbers every time.
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=150)
        # pyplot keeps every figure until it is closed.
        plt.close(figure)
    return svg.getvalue(), png.getvalue()


def inline(svg: str, about: str) -> str:
    """An SVG to be put into a page: its colours are the page's, its ids are its own, and it grows with the page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # names of axes and lines, the same in every figure
    body = re.sub(r'(<svg [^>]*?)width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg [^>]*?)height="[^"]*"', rf'\1role="img" aria-label="{about}"', body, count=1)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return body


def save(folder: Path, figures: Mapping[str, tuple[str, bytes]]) -> list[Path]:
    """Write each as NAME.svg and NAME.png."""
    written = []
    for name, (svg, png) in figures.items():
        write_text(folder / f"{name}.svg", svg)
        with atomic(folder / f"{name}.png") as temporary:
            temporary.write_bytes(png)
        written += [folder / f"{name}.svg", folder / f"{name}.png"]
    return written
