import json
import math
import os
import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import MAX_DEPTH, parse_json, read_json, read_json_lines

needs_pipes = pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)
NEVER = [
    ("[" * 100_000 + "]" * 100_000, "nested deeper"),
    ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested deeper"),
    ("[" * 100_000, "nested deeper"),
    ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested deeper"),
    ("1" * 100_000, "limit"),
    ('{"a": ' + "9" * 5000 + "}", "limit"),
    ('{"a": 1, "a": 2}', "'a' stands twice"),
    ('["\\ud800"]', "half a character"),
    ('{"\\uDC00x": 1}', "half a character"),
    ("[1,]", "line 1"),
    ("{", "line 1"),
    ("", "line 1"),
    (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
]
NOT_STRICTLY = [
    ('{"a": [1e999]}', "too large"),
    ('{"a": [-1e999]}', "too large"),
    ('{"a": [NaN]}', "not a number of JSON"),
    ('{"a": [-Infinity]}', "not a number of JSON"),
]


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@given(VALUES)
def test_what_json_writes_is_read(value):
    assert parse_json(json.dumps(value)) == value


def test_an_object_is_read_with_or_without_a_byte_order_mark(tmp_path):
    assert read_json(write(tmp_path / "a.json", b'\xef\xbb\xbf{"a": [1, "\xc3\xa9"]}')) == {"a": [1, "é"]}
    assert read_json(write(tmp_path / "a.json", b'{"a": [1, "\xc3\xa9"]}')) == {"a": [1, "é"]}


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("text", "said"), NEVER, ids=range(len(NEVER)))
def test_what_is_no_json_is_refused_by_its_file(tmp_path, text, said, strict):
    path = write(tmp_path / "a.json", text)
    with pytest.raises(SpeechpressError, match=said) as caught:
        read_json(path, "write it again", strict=strict)
    assert str(caught.value).startswith(f"{path}: cannot be read as JSON (")
    assert str(caught.value).endswith("; write it again")


@pytest.mark.parametrize(("text", "said"), NOT_STRICTLY)
def test_what_only_other_tools_write_is_refused_when_strict(tmp_path, text, said):
    path = write(tmp_path / "a.json", text)
    with pytest.raises(SpeechpressError, match=said):
        read_json(path, strict=True)
    assert not math.isfinite(read_json(path)["a"][0])


@pytest.mark.parametrize(
    ("text", "kind"), [("[1]", "a list"), ("null", "null"), ('"a"', "a text"), ("true", "true or false"), ("1", "a nu")]
)
def test_what_is_no_object_is_refused(tmp_path, text, kind):
    with pytest.raises(SpeechpressError, match=rf"holds {kind}.*, but must hold a JSON object; make it again$"):
        read_json(write(tmp_path / "a.json", text), "make it again")


def test_the_file_is_called_as_the_reader_wishes(tmp_path):
    with pytest.raises(SpeechpressError, match=r"^the card: cannot be read as JSON"):
        read_json(write(tmp_path / "a.json", "{"), shown="the card")


def test_whole_characters_and_the_deepest_that_is_allowed():
    assert parse_json('["\\ud83d\\ude00"]') == ["\U0001f600"]
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_a_file_too_large_is_not_read_whole(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole: nothing is written
    with pytest.raises(SpeechpressError, match="more than 1,000 bytes"):
        read_json(path, max_bytes=1000)
    with pytest.raises(SpeechpressError, match="more than 16,777,216 bytes"):
        read_json(path)


@needs_pipes
def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    with server:
        for path in (tmp_path / "pipe", tmp_path / "link", tmp_path / "socket", tmp_path, "/dev/zero"):
            with pytest.raises(SpeechpressError, match="but must be a file"):
                read_json(path)
    for path in (tmp_path / "no", "a\0b"):
        with pytest.raises(SpeechpressError, match="cannot be read"):
            read_json(path)


@needs_pipes
def test_lines_that_are_cut_or_no_objects_are_left_out(tmp_path):
    path = write(tmp_path / "a.jsonl", b'{"a": 1}\n[2]\n' + b"[" * 100_000 + b'\n\xff\n{"a": 5}\n{"a"')
    assert list(read_json_lines(path)) == [(1, {"a": 1}), (5, {"a": 5})]
    with pytest.raises(SpeechpressError, match=r"a\.jsonl:3: is longer than 50,000 bytes"):
        list(read_json_lines(path, max_bytes=50_000))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpeechpressError, match="is a named pipe, but must be a file"):
        list(read_json_lines(tmp_path / "pipe"))
