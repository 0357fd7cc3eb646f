"""Tables at 80 columns and in a pipe."""

import io

import pytest
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from speechpress.compressor.views.fit import fitted

LONG = "facebook/hubert-large-ll60k-with-a-name-of-its-own"


def shown(table, width=80, terminal=True):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    for part in fitted(console, table):
        console.print(part, overflow="ignore", crop=False, no_wrap=isinstance(part, Text))
    return console.file.getvalue()


def wide(columns=14):
    table = Table(title="errors of every layer, a title that is much wider than a narrow table")
    table.add_column("model")
    for number in range(columns):
        table.add_column(f"layer {number}", justify="right")
    table.add_row(LONG, *(f"{number}.25" for number in range(columns)))
    table.add_row("student", *(f"{number}.75" for number in range(columns)), style="bold")
    return table


def test_a_wide_table_goes_on_below_with_its_first_column():
    text = shown(wide())
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in text
    assert lines[0] == "errors of every layer, a title that is much wider than a narrow table"
    assert text.count(LONG) == text.count("student") >= 2
    for number in range(14):
        assert f" {number}.25" in text and f" {number}.75" in text


def test_text_gets_the_room_and_is_broken_between_words():
    table = Table()
    for name in ("name", "about", "teacher"):
        table.add_column(name)
    about = "two layers, one prediction head for each of the teacher's layers 4, 8 and 12"
    table.add_row("distilhubert-streaming", about, "facebook/hubert-base-ls960")
    text = shown(table)
    assert max(map(len, text.splitlines())) <= 80
    assert {"distilhubert-streaming", "facebook/hubert-base-ls960", *about.split()} <= set(text.split())


def test_a_list_of_facts_has_a_hanging_indent_and_keeps_a_long_path_whole():
    table = Table(show_header=False)
    path = "/a/" + "very/" * 20 + "long.wav"
    table.add_row("recipe", "one that is described in rather more words than there is room for in a single line of it")
    table.add_row("file", path)
    lines = shown(table).splitlines()
    assert lines[0].startswith("recipe  one that") and lines[1].startswith("        ") and len(lines[0]) <= 80
    assert lines[-1] == f"file    {path}"


def test_a_pipe_gets_one_plain_line_for_each_row():
    table = Table(title="kept")
    table.add_column("task")
    table.add_column("student", justify="right")
    table.add_row("ks", "0.500\n0.480–0.520")
    table.add_row("a" * 100, Text("[bold]1[/]"))
    lines = shown(Group(table, Text("end")), terminal=False).splitlines()
    rows = [f"{'task':100}  {'student':>17}", f"{'ks':100}  0.500 0.480–0.520", f"{'a' * 100}  {'[bold]1[/]':>17}"]
    assert lines == ["kept", *rows, "end"]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_any_width_shows_every_cell(width):
    text = "".join(shown(wide(3), width).split())
    assert all(f"{number}.75" in text for number in range(3)) and LONG in text
