"""Other people's names in reports: text, never markup or a formula."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.views.pages import markdown_table
from speechpress.runtime.escape import csv_cell, markdown_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ks", "ks"),
        ("a_b*c", "a_b*c"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
        ("R&D", "R&amp;D"),
        ("a|b", "a\\|b"),
        ("a\\|b", "a\\\\\\|b"),
        ("[x](javascript:alert(1))", "\\[x\\](javascript:alert(1))"),
        ("two\nlines\r\n| of a table", "two lines \\| of a table"),
        ("=1+1", "\\=1+1"),
        ("@SUM(A1)", "\\@SUM(A1)"),
        ("+cmd", "\\+cmd"),
        ("- point", "\\- point"),
        ("-3.2", "-3.2"),
        ("+4.1 %", "+4.1 %"),
        ("bell\x07 half\ud800", "bell\ufffd half\ufffd"),
    ],
)
def test_markdown_by_hand(text, shown):
    assert markdown_text(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", " =1", "\r=1", "--help"])
def test_a_formula_is_text_in_csv(text):
    assert csv_cell(text).startswith("'") and csv_cell(text)[1:] == text


@pytest.mark.parametrize("value", [1, -1.5, None, True, "ks", "-3.2", "12 ms", "a, b", "2-1"])
def test_numbers_and_plain_text_are_left_alone_in_csv(value):
    assert csv_cell(value) == value


@given(st.text(st.characters(), max_size=40))
def test_any_text_keeps_to_its_cell(text):
    table = markdown_table(["a", "b"], [[text, "1"]])
    head, marks, row = table.rstrip("\n").split("\n")
    bare = row.replace("\\\\", "").replace("\\|", "")
    assert bare.count("|") == head.count("|") == marks.count("|") == 3 and "<" not in row
    table.encode()
    out = io.StringIO()
    csv.writer(out).writerow([csv_cell(text)])
    out.getvalue().encode()
    assert not csv_cell(text).startswith(("=", "@", "\t", "\r"))
