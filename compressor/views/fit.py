"""Tables that fit: on a terminal no word is broken or cut, in a pipe they are plain text as wide as it has to be.

rich shrinks a table by cutting words short. Here columns keep their longest word, and what has no room beside the
others goes into a second table under the first.
"""

import re
from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

ENDLESS = 10_000  # columns: wider than any text
GAP = 2  # between the columns of a table without lines


def fitted(console: Console, *shown: RenderableType) -> Iterator[RenderableType]:
    """What to print, one after the other, each on lines of its own."""
    parts = [part for one in shown for part in (one.renderables if isinstance(one, Group) else [one])]
    for number, part in enumerate(parts):
        if isinstance(part, Group):
            yield from fitted(console, part)
        elif isinstance(part, Table):
            # On a terminal the table's own lines set it apart.
            if number and part.show_header and not console.is_terminal:
                yield Text()
            yield from _parts(part, console)
        elif isinstance(part, str | Text):
            yield from _wrapped(_text(console, part), console)
        else:
            yield part


def _wrapped(text: Text, console: Console, indent: int = 0) -> Iterator[Text]:
    """Lines of a terminal's width less an indent, broken between words; a longer word stays whole, to be copied."""
    room = console.width - indent if console.is_terminal else ENDLESS
    for line in text.split("\n", allow_blank=True):
        places, used = [], 0
        for word in re.finditer(r"\s*\S+\s*", line.plain):
            size = cell_len(word.group().rstrip())
            if used and used + size > room:
                places.append(word.start())
                used = 0
            used += cell_len(word.group())
        for part in line.divide(places):
            part.rstrip()
            yield part


def _parts(table: Table, console: Console) -> Iterator[RenderableType]:
    # By itself: rich would break a title at the width of its table.
    if table.title:
        yield from _wrapped(_text(console, table.title, "table.title"), console)
    if not table.show_header or not console.is_terminal:
        yield from _lines(table, console)
    else:
        blocks = _blocks(table, console)
        if all(_taken([width for _, width in block]) <= console.width for block in blocks):
            yield from (_drawn(table, block) for block in blocks)
        else:
            yield from _records(table, console)
    if table.caption:
        yield from _wrapped(_text(console, table.caption, "table.caption"), console)


def _records(table: Table, console: Console) -> Iterator[Text]:
    """Rows one under the other, where even two columns have no room beside each other."""
    first, *others = table.columns
    for number, name in enumerate(first.cells):
        yield from _wrapped(_text(console, name, "bold"), console)
        for column in others:
            title, cell = _text(console, column.header), _text(console, list(column.cells)[number])
            yield from _wrapped(Text("  ") + Text(" ").join(title.split("\n")) + Text(": ") + cell, console)


def _text(console: Console, cell: RenderableType, style: object = "") -> Text:
    found = console.render_str(cell, highlight=False) if isinstance(cell, str) else cell
    assert isinstance(found, Text), "cells are words"
    found = found.copy()
    found.stylize_before(str(style or ""))
    return found


def _lines(table: Table, console: Console) -> Iterator[Text]:
    """A table without lines: columns padded to their width, the last one with a hanging indent."""
    columns = [[_text(console, cell, column.style) for cell in column.cells] for column in table.columns]
    if table.show_header:
        columns = [[_text(console, c.header, "bold"), *cells] for c, cells in zip(table.columns, columns, strict=True)]
    if not console.is_terminal:
        columns = [[Text(" ").join(cell.split("\n")) for cell in cells] for cells in columns]
    widths = [max((cell.cell_len for cell in cells), default=0) for cells in columns]
    indent = sum(widths[:-1]) + GAP * (len(widths) - 1)
    for row in zip(*columns, strict=True):
        cells = [
            _padded(cell, width, column.justify == "right")
            for column, cell, width in zip(table.columns, row, widths, strict=True)
        ]
        line = Text(" " * GAP).join([*cells[:-1], Text()])
        for number, part in enumerate(_wrapped(cells[-1], console, indent)):
            whole = (line if not number else Text(" " * indent)) + part
            whole.rstrip()
            yield whole


def _padded(cell: Text, width: int, right: bool) -> Text:
    blank = Text(" " * (width - cell.cell_len))
    return blank + cell if right else cell + blank


def _blocks(table: Table, console: Console) -> list[list[tuple[Column, int]]]:
    """Columns with their widths for each table to draw; every one begins with the first column."""
    first, *others = [(column, *_measured(column, console)) for column in table.columns]
    blocks = [[first]]
    for item in others:
        if len(blocks[-1]) > 1 and _taken([least for _, least, _ in (*blocks[-1], item)]) > console.width:
            blocks.append([first])
        blocks[-1].append(item)
    return [
        list(zip([column for column, _, _ in block], _spread([item[1:] for item in block], console.width), strict=True))
        for block in blocks
    ]


def _measured(column: Column, console: Console) -> tuple[int, int]:
    """Cells of its longest word, and of its longest line."""
    options = console.options.update(width=ENDLESS)
    found = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
    least, most = max(one.minimum for one in found), max(one.maximum for one in found)
    return (most, most) if column.no_wrap else (least, most)


def _taken(widths: Sequence[int]) -> int:
    """What columns of these widths take: each with a cell on both sides and a divider, and one more at the edge."""
    return sum(widths) + 3 * len(widths) + 1


def _spread(sizes: Sequence[tuple[int, int]], width: int) -> list[int]:
    """The room shared out: the narrowest column that wants more gets the next cell."""
    found = [least for least, _ in sizes]
    spare = width - _taken(found)
    while spare > 0 and (wanting := [i for i, (_, most) in enumerate(sizes) if found[i] < most]):
        found[min(wanting, key=lambda i: found[i])] += 1
        spare -= 1
    return found


def _drawn(table: Table, columns: Sequence[tuple[Column, int]]) -> Table:
    made = Table(box=box.SIMPLE_HEAD)
    for column, width in columns:
        made.add_column(column.header, justify=column.justify, style=column.style, width=width)
    for row, cells in zip(table.rows, zip(*(column.cells for column, _ in columns), strict=True), strict=True):
        made.add_row(*cells, style=row.style)
    return made
