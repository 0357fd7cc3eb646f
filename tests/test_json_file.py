import json
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import MAX_DEPTH, parse_json, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_writes_is_read(value):
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested deeper"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested deeper"),
        ("[" * 100_000, "nested deeper"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested deeper"),
        ("1" * 100_000, "limit"),
        ("[1e999]", "too large"),
        ("[-1e999]", "too large"),
        ("[NaN]", "no number of JSON"),
        ("[-Infinity]", "no number of JSON"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('["\\ud800"]', "half a character"),
        ('{"\\uDC00x": 1}', "half a character"),
        ("[1,]", "line 1"),
        ("", "line 1"),
        (b"\xff", "utf-8"),
    ],
)
def test_what_is_no_strict_json(tmp_path, text, said):
    path = tmp_path / "a.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpeechpressError, match=said) as caught:
        read_json(path, "write it again")
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).endswith("write it again")


def test_whole_characters_and_the_deepest_that_is_allowed():
    assert parse_json('["\\ud83d\\ude00"]') == ["\U0001f600"]
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_a_file_too_large_is_not_read_whole(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole: nothing is written
    with pytest.raises(SpeechpressError, match="more than 1,000 bytes"):
        read_json(path, "x", max_bytes=1000)


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(SpeechpressError, match="named pipe"):
        read_json(tmp_path / "a.json", "x")
