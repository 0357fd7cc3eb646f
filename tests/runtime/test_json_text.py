"""JSON that every reader takes, and that nothing of ours is written any other way."""

import ast
import json
import math
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from speechpress.runtime.atomic import write_json
from speechpress.runtime.json_file import COUNT, json_text

ROOT = Path(__file__).parents[2]
OWN = [path for room in ("compressor", "runtime", "devices", "benchmarks") for path in (ROOT / room).rglob("*.py")]


def strict(text):
    """Parsed as a browser does, which knows no NaN."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_what_is_no_number_is_null_and_counted():
    document = {"a": math.nan, "b": [1.5, math.inf, {"c": -math.inf}], "d": "NaN", "e": (1, None)}
    assert strict(json_text(document)) == {
        "a": None,
        "b": [1.5, None, {"c": None}],
        "d": "NaN",
        "e": [1, None],
        COUNT: 3,
    }
    assert strict(json_text([math.nan, 1])) == [None, 1]
    assert strict(json_text({math.inf: 1.0})) == {"inf": 1.0, COUNT: 0}
    assert json_text({"a": 1.0}) == '{"a": 1.0}' and strict(json_text({"a": float(np.float64("nan"))}))[COUNT] == 1


def test_the_value_itself_is_left_alone_and_a_document_that_went_through_is_as_it_was():
    document = {"a": [math.nan]}
    once = strict(json_text(document))
    assert math.isnan(document["a"][0]) and COUNT not in document
    assert strict(json_text(once)) == once and strict(json_text({**once, "b": math.inf}))[COUNT] == 2


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()))
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


@given(values, st.booleans(), st.booleans())
def test_any_value_is_strict_json_in_utf8(value, ascii, compact):
    text = json_text(value, ascii=ascii, compact=compact)
    text.encode()
    read = strict(text)
    if json.dumps(value).isascii() and "NaN" not in json.dumps(value) and "Infinity" not in json.dumps(value):
        assert read == value
    assert not ascii or text.isascii()


def test_half_a_character_is_escaped(tmp_path):
    """As in the name of a file that is not in UTF-8."""
    write_json(tmp_path / "a.json", {"path": "caf\udce9 ü"})
    assert strict((tmp_path / "a.json").read_text(encoding="utf-8")) == {"path": "caf\udce9 ü"}
    assert json_text({"a": "ü"}) == '{"a": "ü"}'  # else it stays readable


def test_a_hashed_text_does_not_depend_on_the_order_of_keys():
    assert json_text({"b": 1, "a": [1, 2]}, compact=True) == json_text({"a": [1, 2], "b": 1}, compact=True)
    assert json_text({"b": 1, "a": [1, 2]}, compact=True) == '{"a":[1,2],"b":1}'


def written_otherwise(path):
    """The names of the `json` module by which a file writes, and whether it hides the module under another name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "json":
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == "json":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {"renamed" for alias in node.names if alias.name == "json" and alias.asname}
    return found & {"dump", "dumps", "JSONEncoder", "renamed"}


def test_no_other_file_of_ours_writes_json():
    # The build backend runs before there is a package to import, and writes what was YAML.
    assert [path.name for path in OWN if written_otherwise(path)] == ["json_file.py", "backend.py"]
