"""Tables of the pages, and numbers as they are printed, to hold them against what a benchmark wrote."""

import json
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "recipes/README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
NUMBER = r"[−+-]?\d++(?:[.,]\d++)*+"  # possessive: 1.81 is not found as a 1 in 1.81x


@cache
def result(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


@cache
def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def tables(page):
    """{header line: {first cell: the others}} of every table of a page; cells without marks."""
    found = {}
    for block in re.findall(r"(?:^\|.*\n)+", text_of(page), re.M):
        head, _, *rows = block.splitlines()
        cells = [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]
        found[head] = {
            tuple(row)[:1][0] if len({r[0] for r in cells}) == len(cells) else tuple(row): row for row in cells
        }
    return found


def numbers(text):
    """Every number that stands for itself in a text, as it is printed."""
    return re.findall(rf"(?<![\w.])({NUMBER})(?:x\b|(?!\w))", text)


def same(printed, value):
    """Whether a value is printed so: rounded to so many decimals."""
    plain = printed.replace("−", "-").replace(",", "")
    decimals = len(plain.partition(".")[2])
    return abs(float(plain) - value) <= 0.5 * 10**-decimals * (1 + 1e-9) + 1e-12


def differences(row, wanted):
    """What differs between cells and the numbers wanted in each; None for a cell that is not looked at."""
    assert len(row) == len(wanted), (row, wanted)
    found = []
    for cell, values in zip(row, wanted, strict=True):
        if values is None:
            continue
        values = values if isinstance(values, (list, tuple)) else [values]
        printed = numbers(cell)
        if len(printed) != len(values) or not all(map(same, printed, values)):
            found.append((cell, [round(value, 5) for value in values]))
    return found


def sentence(page, template):
    """The numbers at the {} of a sentence, wherever its lines are broken; None when it is not on the page."""
    parts = [r"\s+".join(map(re.escape, part.split(" "))) for part in template.split("{}")]
    match = re.search(f"({NUMBER})".join(parts), text_of(page))
    return None if match is None else list(match.groups())
