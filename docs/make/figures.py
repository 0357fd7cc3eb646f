"""The figures of "How it works", as SVG: `python docs/make/figures.py` writes docs/figures.

Colours are the page's own where a figure stands in the site, else they follow the system's light or dark.
"""

from collections.abc import Callable
from pathlib import Path

FIGURES = Path(__file__).parents[1] / "figures"
STYLE = """<style>
.spf { --spf-ink: #23272f; --spf-pale: #6b7180; --spf-a: #4664d8; --spf-b: #c2571a; font: 14px system-ui, sans-serif }
@media (prefers-color-scheme: dark) {
  .spf { --spf-ink: #e4e6ec; --spf-pale: #9aa0b0; --spf-a: #8fa4ff; --spf-b: #f0995c }
}
[data-md-color-scheme="default"] .spf { --spf-ink: #23272f; --spf-pale: #6b7180; --spf-a: #4664d8; --spf-b: #c2571a }
[data-md-color-scheme="slate"] .spf { --spf-ink: #e4e6ec; --spf-pale: #9aa0b0; --spf-a: #8fa4ff; --spf-b: #f0995c }
.spf text { fill: var(--spf-ink) } .spf .pale { fill: var(--spf-pale) } .spf .small { font-size: 12px }
.spf .a { fill: var(--spf-a) } .spf .b { fill: var(--spf-b) } .spf .off { fill: var(--spf-pale); opacity: 0.16 }
.spf .box, .spf .line { fill: none; stroke: var(--spf-ink); stroke-width: 1.4 } .spf .dash { stroke-dasharray: 5 4 }
.spf .boxa, .spf .boxb { fill: none; stroke-width: 2; stroke: var(--spf-a) } .spf .boxb { stroke: var(--spf-b) }
</style>"""


def svg(width: int, height: int, *parts: str) -> str:
    head = f'<svg class="spf" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
    marker = (
        '<defs><marker id="spf-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" style="fill:var(--spf-ink)"/></marker></defs>'
    )
    return "\n".join([head, STYLE, marker, *parts, "</svg>\n"])


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{words}</text>'


def box(x: float, y: float, width: float, height: float, words: str = "", kind: str = "box") -> str:
    shape = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" class="{kind}"/>'
    return shape + (text(x + width / 2, y + height / 2 + 5, words) if words else "")


def arrow(*points: tuple[float, float], kind: str = "") -> str:
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{path}" class="line {kind}" marker-end="url(#spf-tip)"/>'


def heads() -> str:
    """A student of two layers with one prediction head for each of three teacher layers."""
    parts = [text(130, 24, "teacher, frozen"), text(420, 24, "student"), box(40, 396, 470, 32, "the same recording")]
    for layer in range(1, 13):
        y = 352 - 26 * (layer - 1)
        parts.append(box(60, y, 140, 20, f"layer {layer}", "boxa" if layer in (4, 8, 12) else "box"))
    parts += [arrow((130, 396), (130, 374)), arrow((440, 396), (440, 374)), box(370, 342, 140, 30, "front end")]
    parts += [box(370, 300, 140, 30, "layer 1"), box(370, 258, 140, 30, "layer 2")]
    parts += [arrow((440, 342), (440, 332)), arrow((440, 300), (440, 290))]
    for number, layer in enumerate((12, 8, 4)):
        y = 56 + 62 * number
        target = 352 - 26 * (layer - 1) + 10
        parts.append(box(390, y, 120, 28, f"head {layer}", "boxb"))
        parts.append(arrow((536, y + 14), (512, y + 14)))
        parts.append(f'<line x1="388" y1="{y + 14}" x2="202" y2="{target}" class="boxb dash"/>')
    parts.append('<path d="M510 273 H536 V70" class="line"/>')
    parts += [text(296, 30, "loss: L1 and cosine", "small")]
    parts += [text(560, 80, "dropped", "small pale", "start"), text(560, 96, "after training", "small pale", "start")]
    return svg(660, 440, *parts)


FRAMES, CHUNK, LEFT, CELL = 16, 4, 4, 20


def seen(query: int, key: int) -> bool:
    """As `chunk_mask` in compressor/models/encoder.py, for a stream that starts at frame 0."""
    start = query // CHUNK * CHUNK
    return start - LEFT <= key < start + CHUNK


def chunk_mask() -> str:
    """Which frames each frame attends to: its own chunk, and so many frames before it."""
    left, top, size = 120, 60, FRAMES * CELL
    parts = [
        text(left + size / 2, 24, "frame that is attended to"),
        text(left + size / 2, 46, "time &#8594;", "small pale"),
    ]
    parts.append(f'<g transform="translate(50 {top + size / 2}) rotate(-90)">{text(0, 0, "frame that attends")}</g>')
    for query in range(FRAMES):
        for key in range(FRAMES):
            kind = "off" if not seen(query, key) else "a" if query // CHUNK == key // CHUNK else "b"
            x, y = left + key * CELL, top + query * CELL
            parts.append(
                f'<rect x="{x + 1}" y="{y + 1}" width="{CELL - 2}" height="{CELL - 2}" rx="2" class="{kind}"/>'
            )
    for number in range(FRAMES // CHUNK):
        y = top + (number + 0.5) * CHUNK * CELL + 5
        parts.append(text(left - 8, y, f"chunk {number + 1}", "small", "end"))
    x = left + size + 24
    for row, (kind, words) in enumerate((("a", "its own chunk"), ("b", "left context"), ("off", "not seen"))):
        y = top + 30 * row
        parts += [
            f'<rect x="{x}" y="{y}" width="16" height="16" rx="2" class="{kind}"/>',
            text(x + 24, y + 13, words, "", "start"),
        ]
    return svg(620, top + size + 16, *parts)


def state() -> str:
    """One call for each chunk; all memory is an argument and a result."""
    parts = []
    for number in range(3):
        x = 40 + 230 * number
        parts.append(box(x, 120, 120, 56, "step", "boxa"))
        parts += [box(x, 214, 120, 30, f"chunk {number + 1}"), arrow((x + 60, 214), (x + 60, 178))]
        parts += [
            arrow((x + 60, 120), (x + 60, 90)),
            text(x + 60, 62, "frames"),
            text(x + 60, 80, "outputs of heads", "small pale"),
        ]
        parts.append(arrow((x + 120, 148), (x + 228, 148)))
        parts.append(text(x + 175, 138, "state"))
    parts += [arrow((4, 148), (38, 148)), text(20, 114, "initial", "small"), text(20, 130, "state", "small")]
    inside = (
        "state: last samples of audio &#183; features for the position convolution &#183; keys and values of each",
        "layer &#183; counters &#183; states of the heads. Its size is fixed, so a stream never grows.",
    )
    parts += [text(370, 280 + 18 * row, line, "small") for row, line in enumerate(inside)]
    return svg(750, 310, *parts)


ALL: dict[str, Callable[[], str]] = {"heads": heads, "chunk-mask": chunk_mask, "state": state}

if __name__ == "__main__":
    for name, draw in ALL.items():
        (FIGURES / f"{name}.svg").write_text(draw(), encoding="utf-8")
