import os
import socket

import pytest

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import parse_json, read_json, read_json_lines


def test_an_object_is_read_with_or_without_a_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": [1, "\xc3\xa9"]}')
    assert read_json(tmp_path / "a.json") == {"a": [1, "é"]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"[1]", "holds a list, but must hold a JSON object"),
        (b"null", "holds null"),
        (b'{"a": "\xff"}', r"byte 7 is not UTF-8"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 41 + b"1" + b"}" * 41, "nested more than 40 deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be read as JSON"),
        (b'{"a": "' + b"x" * 2000 + b'"}', "more than 1,000 bytes"),
    ],
    ids=["empty", "cut", "list", "null", "latin-1", "100000 deep", "100000 open", "41 deep", "digits", "large"],
)
def test_what_is_no_bounded_json_object_is_refused_by_its_file(tmp_path, data, said):
    path = tmp_path / "a.json"
    path.write_bytes(data)
    limit = 1000 if "1,000" in said else 16 * 2**20
    with pytest.raises(SpeechpressError, match=rf"a\.json: .*{said}.*; make it anew$"):
        read_json(path, "make it anew", max_bytes=limit)


def test_forty_deep_is_read():
    assert parse_json('{"a":' * 40 + "1" + "}" * 40, "x")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    with server:
        for path in (tmp_path / "pipe", tmp_path / "link", tmp_path / "socket", tmp_path, "/dev/zero", tmp_path / "no"):
            with pytest.raises(SpeechpressError, match="cannot be read"):
                read_json(path)
    with pytest.raises(SpeechpressError, match="cannot be read"):
        read_json("a\0b")


def test_lines_that_are_cut_or_no_objects_are_left_out(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n[2]\n' + b"[" * 100_000 + b'\n\xff\n{"a": 5}\n{"a"')
    assert list(read_json_lines(path)) == [(1, {"a": 1}), (5, {"a": 5})]
    with pytest.raises(SpeechpressError, match=r"a\.jsonl:3: is longer than 50,000 bytes"):
        list(read_json_lines(path, max_bytes=50_000))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpeechpressError, match="is no regular file"):
        list(read_json_lines(tmp_path / "pipe"))
