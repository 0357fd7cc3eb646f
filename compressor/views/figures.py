"""Plots for pages and files, drawn once: SVG whose colours follow the page's light and dark, and the same as PNG."""

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import rcsetup

from speechpress.runtime.atomic import atomic, write_text

# Colours of files, Okabe and Ito's for series; in a page each is one of its variables (runtime/demo/page/style.css).
INK, SOFT, LINE, CARD = "#17202b", "#5b6776", "#dde2e9", "#fefefe"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8320", "#5b6777")
WIDE, NARROW = 9.2, 4.6  # inches: beside a page's text, and on a phone
VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line", CARD: "--card"}
VARIABLES |= {colour: f"--c{index}" for index, colour in enumerate(SERIES)}
STYLE: dict[Any, Any] = {
    # Text stays text: it can be searched and read aloud, and has the font of the page.
    "svg.fonttype": "none",
    "figure.figsize": (WIDE, 3.8),
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": rcsetup.cycler(color=SERIES),
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


def width() -> float:
    """How wide, in inches, a figure is that is drawn now."""
    return float(matplotlib.rcParams["figure.figsize"][0])


def narrow() -> bool:
    return width() < WIDE


def drawn(draw: Draw, name: str) -> tuple[str, bytes]:
    """(SVG text, PNG bytes) of what `draw` returns, a matplotlib figure; `name` tells ids of several SVGs apart."""
    svg, png = _saved(draw, name, WIDE, "svg", "png")
    return svg.decode(), png


def _saved(draw: Draw, name: str, width_in: float, *kinds: str) -> list[bytes]:
    # A backend that draws into memory and needs no screen: runs happen on servers.
    matplotlib.use("Agg")
    # Not at the top: pyplot is slow to import, and must find its backend chosen.
    import matplotlib.pyplot as plt

    # A date, or ids without a fixed salt, would make another file of the same numbers every time.
    options: dict[str, dict[str, Any]] = {"svg": {"metadata": {"Date": None, "Creator": None}}, "png": {"dpi": 150}}
    files = [io.BytesIO() for _ in kinds]
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name, "figure.figsize": (width_in, 3.8)}):
        figure = draw()
        for file, kind in zip(files, kinds, strict=True):
            figure.savefig(file, format=kind, **options[kind])
        # pyplot keeps every figure until it is closed.
        plt.close(figure)
    return [file.getvalue() for file in files]


def both(draw: Draw, name: str, about: str) -> str:
    """A figure for a page, drawn for wide and for narrow windows; the page shows one of them."""
    sizes = {name: WIDE, f"{name}-narrow": NARROW}
    svgs = (inline(_saved(draw, salt, inches, "svg")[0].decode(), about) for salt, inches in sizes.items())
    return '<div class="only-wide">{}</div><div class="only-narrow">{}</div>'.format(*svgs)


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


def legend_below(figure: Any, panel: Any, most: int = 4) -> None:
    """One legend under the panels, in as many columns as there is room for."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 2 if narrow() else most))


def save(folder: Path, figures: Mapping[str, tuple[str, bytes]]) -> list[Path]:
    """Write each as NAME.svg and NAME.png."""
    written = []
    for name, (svg, png) in figures.items():
        write_text(folder / f"{name}.svg", svg)
        with atomic(folder / f"{name}.png") as temporary:
            temporary.write_bytes(png)
        written += [folder / f"{name}.svg", folder / f"{name}.png"]
    return written
