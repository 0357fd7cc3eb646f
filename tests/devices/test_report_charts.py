import re
import xml.etree.ElementTree as ElementTree

import pytest

from speechpress.devices.report_charts import (
    BOTTOM,
    HEIGHT,
    TOP,
    WIDTH,
    Axis,
    Bar,
    Point,
    bars,
    histogram,
    pareto,
    scatter,
    timeline,
)


def point(letter, x, y):
    return Point(letter, 0, x, y, letter)


def places(svg):
    """Numbers of every attribute that is a place."""
    return [float(value) for value in re.findall(r'\b(?:x|y|x1|x2|y1|y2|cx|cy|width|height)="([-\d.]+)"', svg)]


def test_the_front_that_nothing_beats():
    points = [point("a", 5, 0.9), point("b", 2, 0.7), point("c", 6, 0.8), point("d", 2, 0.6), point("e", 9, 0.95)]
    assert [p.letter for p in pareto(points)] == ["b", "a", "e"]


@pytest.mark.parametrize("values", [[(5.0, 0.9)], [(5.0, 0.9), (5.0, 0.9)], [(0.5, -3.0), (80.0, 120.0), (8.0, 40.0)]])
def test_scatter_plots_are_drawn_within_their_frame(values):
    svg = scatter([point(str(i), x, y) for i, (x, y) in enumerate(values)], "ms & more", "<dB>")
    ElementTree.fromstring(svg)
    assert all(-1 <= place <= WIDTH + 1 for place in places(svg)) and svg.count("<circle") == len(values)


def test_the_budget_is_drawn_or_told():
    near, far = histogram({"real": [9.0, 10.0, 11.0]}, 10.5, 0), histogram({"real": [9.0, 10.0]}, 320.0, 0)
    assert 'class="budget"' in near and 'class="budget"' not in far and "budget 320 ms" in far
    lines = {"real": ([0.3, 0.6], [9.0, 12.0])}
    assert 'class="budget"' in timeline(lines, 10.0, 0, "s") and "27 × the slowest" in timeline(lines, 320.0, 0, "s")


def test_chunks_that_all_took_the_same():
    for svg in (histogram({"flat": [5.0, 5.0]}, 80.0, 1), timeline({"flat": ([0.1], [5.0])}, 80.0, 1, "s")):
        ElementTree.fromstring(svg)


def test_a_long_run_is_thinned_but_keeps_its_worst():
    ms = [10.0] * 10_000
    ms[5_000] = 99.0
    svg = timeline({"real": ([0.32 * i for i in range(10_000)], ms)}, 320.0, 0, "s")
    assert len(svg) < 20_000 and "faint" in svg and "3 × the slowest" in svg


def test_bars_escape_names_and_fit():
    svg = bars([Bar("a < b & c", 3.0, "3 ms", part=1.0), Bar("nothing", 0.0, "0 ms")])
    ElementTree.fromstring(svg)
    assert "a &lt; b &amp; c" in svg and svg.count('class="outside"') == 1
    ElementTree.fromstring(bars([]))


def test_axes_are_labelled_with_round_numbers():
    assert Axis(0.0, 10.0, 0, 100).ticks() == [0, 2, 4, 6, 8, 10]
    assert Axis(0.9, 120.0, 0, 100, log=True).ticks() == [1, 2, 5, 10, 20, 50, 100]
    assert Axis(1.0, 100.0, 0, 100, log=True).at(10.0) == pytest.approx(50.0)


@pytest.mark.parametrize("budget_ms", [10.0, 45.0, 60.0, 500.0])
def test_a_curve_lies_within_its_frame_whether_or_not_the_budget_is_kept(budget_ms):
    paces = {"real": ([1.0, 2.0, 3.0], [30.0, 50.0, 40.0]), "flat": ([1.0, 2.0, 3.0], [20.0, 25.0, 22.0])}
    svg = timeline(paces, budget_ms, 0, "chunk number")
    heights = [float(word.split()[1]) for path in re.findall(r'd="M([^"]+)"', svg) for word in path.split("L")]
    assert len(heights) == 6 and min(heights) >= TOP and max(heights) <= HEIGHT - BOTTOM
