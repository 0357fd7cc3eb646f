"""The report's pictures: SVG text whose colours are the page's, so that they follow light and dark.

Every record has a letter and a colour; a chart names records by both, so that colour alone says nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .record import quantile

# Of the viewBox; the page scales them, so that they also fit a phone.
WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 16, 36
BINS, MOST_POINTS = 32, 240
COLOURS = 8


@dataclass(frozen=True)
class Point:
    """One record in a scatter plot."""

    letter: str
    colour: int
    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Axis:
    """From values to places, with the values at which it is labelled."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.log:
            steps = [factor * 10.0**power for power in range(-6, 8) for factor in (1, 2, 5)]
            return [value for value in steps if self.low <= value <= self.high]
        return _round_values(self.low, self.high)


def scatter(points: Sequence[Point], x_title: str, y_title: str) -> str:
    """Accuracy (up is better) against latency (left is better), with the front that nothing beats in both."""
    xs, ys = [point.x for point in points], [point.y for point in points]
    # On a linear axis a device that is much slower would press all others into one place.
    log = max(xs) / min(xs) > 4
    margin = (max(xs) - min(xs)) * 0.15 or max(xs) * 0.3
    low, high = (min(xs) / 1.5, max(xs) * 1.5) if log else (max(0.0, min(xs) - margin), max(xs) + margin)
    x = Axis(low, high, LEFT, WIDTH - RIGHT, log)
    # Points of one value, or a single one, have no spread to take a share of.
    spread = (max(ys) - min(ys)) * 0.2 or abs(ys[0]) * 0.1 or 1.0
    y = Axis(min(ys) - spread, max(ys) + spread, HEIGHT - BOTTOM, TOP)
    front = pareto(points)
    steps = _steps([(x.at(point.x), y.at(point.y)) for point in front], WIDTH - RIGHT)
    body = [f'<path class="front" d="{steps}"/>'] if len(front) > 1 else []
    for point in points:
        dot = f'<circle class="fill{point.colour}" cx="{x.at(point.x):.1f}" cy="{y.at(point.y):.1f}" r="10"/>'
        body.append(f"<g><title>{escape(point.title)}</title>{dot}{_letter(x.at(point.x), y.at(point.y), point)}</g>")
    return _framed(x, y, x_title, y_title, "".join(body))


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both latency and accuracy, from fast to accurate."""
    front: list[Point] = []
    for point in sorted(points, key=lambda item: (item.x, -item.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def histogram(paces: dict[str, list[float]], budget_ms: float, colour: int) -> str:
    """How often a chunk took how long: at the pace of audio filled, flat out as a line."""
    values = [value for each in paces.values() for value in each]
    low, high = min(values), max(values)
    margin = (high - low) * 0.05 or high * 0.1
    x = Axis(max(0.0, low - margin), high + margin, LEFT, WIDTH - RIGHT)
    counts = {name: _counts(each, x) for name, each in paces.items() if each}
    most = max(max(each) for each in counts.values())
    y = Axis(0, most * 1.1, HEIGHT - BOTTOM, TOP)
    step = (x.end - x.start) / BINS
    body = []
    if "real" in counts:
        for index, count in enumerate(counts["real"]):
            if count:
                place, top = x.start + index * step, y.at(count)
                body.append(_rect(place, top, step - 1, y.start - top, f"fill{colour} soft", f"{count} chunks"))
    if "flat" in counts:
        body.append(f'<path class="line{colour} dash" d="{_outline(counts["flat"], x.start, step, y)}"/>')
    body.append(_budget_across(x, budget_ms))
    return _framed(x, y, "ms per chunk", "chunks", "".join(body))


def timeline(paces: dict[str, tuple[list[float], list[float]]], budget_ms: float, colour: int, x_title: str) -> str:
    """How long chunks took as the run went on, which shows heat and other programs; a long run as medians and worst.

    Args:
        paces: of each, where its chunks are along the run, and their times in ms.
        budget_ms: drawn as a line where it is near, else told.
        colour: of the record.
        x_title: what the first of the two numbers is.
    """
    end_s = max(start[-1] for start, ms in paces.values() if ms)
    highest = max(max(ms) for _, ms in paces.values() if ms)
    # A budget far above would flatten the curve to a line at the bottom; one far below must not cut the curve off.
    shown = max(budget_ms, highest) if budget_ms < 1.6 * highest else highest
    x = Axis(0, end_s * 1.02 or 1.0, LEFT, WIDTH - RIGHT)
    y = Axis(0, shown * 1.15, HEIGHT - BOTTOM, TOP)
    body = []
    for name, (start, ms) in paces.items():
        if ms:
            style = f"line{colour}" + (" dash" if name == "flat" else "")
            middle, worst = _thinned(start, ms, quantile_share=0.5), _thinned(start, ms, quantile_share=1.0)
            # The median alone would hide single slow chunks, and a live stream suffers from those.
            if len(ms) > MOST_POINTS:
                body.append(f'<path class="line{colour} faint" d="{_path(worst, x, y)}"/>')
            body.append(f'<path class="{style}" d="{_path(middle, x, y)}"/>')
    body.append(_budget_along(y, budget_ms, highest))
    return _framed(x, y, x_title, "ms per chunk", "".join(body))


@dataclass(frozen=True)
class Bar:
    """A row of a bar chart: `part` of `value` is drawn in the warning colour."""

    title: str
    value: float
    label: str
    part: float = 0.0
    colour: int = 0


def bars(rows: Sequence[Bar]) -> str:
    """Horizontal bars, each under its own title: long names stay readable on a phone."""
    row_height, most = 34, max((row.value for row in rows), default=1.0) or 1.0
    height = len(rows) * row_height + 4
    body = []
    for index, row in enumerate(rows):
        top = index * row_height
        # Never 0: a bar that cannot be seen looks like one that was forgotten.
        length = max(1.0, row.value / most * (WIDTH - 4))
        body.append(f'<text class="label" x="2" y="{top + 13}">{escape(row.title)}</text>')
        body.append(f'<text class="value" x="{WIDTH - 2}" y="{top + 13}">{escape(row.label)}</text>')
        body.append(f'<rect class="track" x="2" y="{top + 18}" width="{WIDTH - 4}" height="8" rx="4"/>')
        body.append(f'<rect class="fill{row.colour}" x="2" y="{top + 18}" width="{length:.1f}" height="8" rx="4"/>')
        if row.part > 0:
            part = max(1.0, row.part / most * (WIDTH - 4))
            body.append(f'<rect class="outside" x="2" y="{top + 18}" width="{part:.1f}" height="8" rx="4"/>')
    return _svg(height, "".join(body))


def _counts(values: Sequence[float], x: Axis) -> list[int]:
    counts = [0] * BINS
    for value in values:
        # The highest value would fall into a bin of its own.
        counts[min(BINS - 1, int((value - x.low) / (x.high - x.low) * BINS))] += 1
    return counts


def _thinned(start: list[float], ms: list[float], quantile_share: float) -> list[tuple[float, float]]:
    """As they are when there are few, else one for each of many equal pieces of the run."""
    if len(ms) <= MOST_POINTS:
        return list(zip(start, ms, strict=True))
    size = math.ceil(len(ms) / MOST_POINTS)
    pieces = range(0, len(ms), size)
    return [(start[i], quantile(sorted(ms[i : i + size]), quantile_share)) for i in pieces]


def _budget_across(x: Axis, budget_ms: float) -> str:
    if x.low <= budget_ms <= x.high:
        place = x.at(budget_ms)
        line = f'<line class="budget" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        return line + _note(place - 4, TOP + 10, f"budget {budget_ms:g} ms", "end")
    side = "budget {:g} ms, far to the right →" if budget_ms > x.high else "← budget {:g} ms"
    return _note(WIDTH - RIGHT - 2, TOP + 10, side.format(budget_ms), "end")


def _budget_along(y: Axis, budget_ms: float, highest: float) -> str:
    if budget_ms <= y.high:
        place = y.at(budget_ms)
        line = f'<line class="budget" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
        return line + _note(WIDTH - RIGHT - 2, place - 4, f"budget {budget_ms:g} ms", "end")
    text = f"budget {budget_ms:g} ms ↑ {budget_ms / highest:.0f} × the slowest chunk"
    return _note(WIDTH - RIGHT - 2, TOP + 6, text, "end")


def _framed(x: Axis, y: Axis, x_title: str, y_title: str, body: str) -> str:
    """Axes, grid and titles around a drawing."""
    parts = []
    for value in y.ticks():
        place = y.at(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    for value in x.ticks():
        place = x.at(value)
        parts.append(
            f'<text class="tick" x="{place:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{_short(value)}</text>'
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.start}" y2="{y.start}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="title" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_title)}</text>')
    parts.append(f'<text class="title" x="2" y="10">{escape(y_title)}</text>')
    return _svg(HEIGHT, "".join(parts) + body, f"{y_title} by {x_title}")


def _svg(height: int, body: str, about: str = "bar chart") -> str:
    return f'<svg class="drawn" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(about)}">{body}</svg>'


def _path(points: list[tuple[float, float]], x: Axis, y: Axis) -> str:
    return "M" + "L".join(f"{x.at(a):.1f} {y.at(b):.1f}" for a, b in points)


def _steps(points: list[tuple[float, float]], end: float) -> str:
    """A staircase: to the right of a point its accuracy is the best, until the next."""
    words, height = [], 0.0
    for index, (place, height_here) in enumerate(points):
        words.append(f"M{place:.1f} {height_here:.1f}" if index == 0 else f"H{place:.1f}V{height_here:.1f}")
        height = height_here
    return "".join(words) + (f"H{end:.1f}" if height else "")


def _outline(counts: list[int], start: float, step: float, y: Axis) -> str:
    words = [f"M{start:.1f} {y.start:.1f}"]
    for index, count in enumerate(counts):
        words.append(f"V{y.at(count):.1f}H{start + (index + 1) * step:.1f}")
    return "".join([*words, f"V{y.start:.1f}"])


def _rect(x: float, y: float, width: float, height: float, style: str, title: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{style}" {place} rx="1"><title>{escape(title)}</title></rect>'


def _letter(x: float, y: float, point: Point) -> str:
    style = f"badge on{point.colour}"
    return f'<text class="{style}" x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{escape(point.letter)}</text>'


def _note(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="note" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _round_values(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high."""
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= raw)
    # Multiples by whole numbers: adding the step would let rounding creep in.
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step) + 1)]


def _short(value: float) -> str:
    return f"{value:.4g}"
