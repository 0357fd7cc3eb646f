"""The style of all plots."""

import itertools
import re
from pathlib import Path

import pytest

from speechpress.compressor.views import figures
from speechpress.runtime.demo.web import PAGE

WHITE = (0.95, 1.0, 1.089)
ROOT = Path(__file__).parents[2]
# How each primary of a screen looks to the two common kinds of colour blindness (Viénot, Brettel and Mollon, 1999).
BLIND = {
    "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
}


def linear(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def lab(rgb):
    """CIE L*a*b* of linear RGB."""
    matrix = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(w * v for w, v in zip(row, rgb, strict=True)) for row in matrix]
    f = [(v / w) ** (1 / 3) if v / w > 0.008856 else 7.787 * v / w + 16 / 116 for v, w in zip(xyz, WHITE, strict=True)]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def apart(one, other, kind):
    def seen(colour):
        rgb = linear(colour)
        return lab([max(0.0, sum(w * v for w, v in zip(row, rgb, strict=True))) for row in BLIND[kind]])

    return sum((a - b) ** 2 for a, b in zip(seen(one), seen(other), strict=True)) ** 0.5


@pytest.mark.parametrize("kind", BLIND)
def test_the_first_colours_are_told_apart_by_colour_blind_people(kind):
    """By 10 steps of CIE 1976 at least: 2.3 can just be seen. Beyond the first six, letters and marks help."""
    closest = min((apart(one, other, kind), one, other) for one, other in itertools.combinations(figures.SERIES[:6], 2))
    assert closest[0] > 10, closest


def test_colours_of_files_are_those_of_a_light_page():
    light = (PAGE / "style.css").read_text("utf-8").split("@media", 1)[0]
    named = dict(re.findall(r"(--[\w]+): (#[0-9a-f]{6});", light))
    for colour, variable in figures.VARIABLES.items():
        # The card's white is one off, so that it can be told from white text when it becomes a variable.
        assert named[variable] == (colour if variable != "--card" else "#ffffff"), variable


def test_every_plot_is_drawn_in_the_one_style():
    """No colour of its own, no backend of its own, nowhere but in the style's module."""
    for path in [*(ROOT / "compressor").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        text = path.read_text("utf-8")
        if "plt.subplots" in text:
            assert "views.figures" in text, path
            assert "matplotlib.use" not in text and not re.search(r'color="(#|C\d)', text), path


def test_a_figure_is_drawn_for_wide_and_for_narrow_windows():
    sizes = []

    def draw():
        import matplotlib.pyplot as plt

        sizes.append((figures.width(), figures.narrow()))
        return plt.subplots()[0]

    text = figures.both(draw, "a", "nothing")
    assert sizes == [(figures.WIDE, False), (figures.NARROW, True)]
    assert text.count("<svg") == 2 and text.count('aria-label="nothing"') == 2
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
