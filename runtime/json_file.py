"""The one reader of JSON: bounded in size and depth, from regular files only, with errors that name the file.

What the values mean is checked afterwards, see `schema`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import SpeechpressError
from .regular import open_regular

MAX_BYTES = 16 * 2**20  # Python holds JSON in up to thirty times its bytes
MAX_DEPTH = 40


def read_json(path: str | Path, advice: str = "", shown: str = "", max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: of a regular file.
        advice: what to do about a bad file, after a semicolon.
        shown: how errors call the file, when not by its path.
        max_bytes: most bytes to read.

    Raises:
        SpeechpressError: the file is missing, no regular file, too large, or holds no JSON object.
    """
    shown, end = shown or str(path), f"; {advice}" if advice else ""
    try:
        with open_regular(path) as file:
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise SpeechpressError(f"{shown}: cannot be read ({getattr(error, 'strerror', None) or error}){end}") from error
    if len(data) > max_bytes:
        raise SpeechpressError(f"{shown}: cannot be read, because it has more than {max_bytes:,} bytes{end}")
    return parse_json(data, shown, advice)


def parse_json(data: bytes | str, shown: str, advice: str = "") -> dict[str, Any]:
    """The JSON object in a text; errors call it `shown`.

    Raises SpeechpressError when it is no JSON object, is nested too deeply, or is not UTF-8.
    """
    end = f"; {advice}" if advice else ""
    try:
        value = json.loads(data.decode("utf-8-sig") if isinstance(data, bytes) else data)
    except UnicodeDecodeError as error:
        raise SpeechpressError(f"{shown}: cannot be read as JSON (byte {error.start} is not UTF-8){end}") from None
    except RecursionError:
        raise SpeechpressError(f"{shown}: cannot be read as JSON (it is nested too deeply){end}") from None
    except ValueError as error:
        raise SpeechpressError(f"{shown}: cannot be read as JSON ({error}){end}") from None
    if not isinstance(value, dict):
        raise SpeechpressError(f"{shown}: holds {_kind(value)}, but must hold a JSON object{end}")
    if _deeper_than(value, MAX_DEPTH):
        raise SpeechpressError(f"{shown}: is nested more than {MAX_DEPTH} deep{end}")
    return value


def read_json_lines(path: Path, max_bytes: int = MAX_BYTES) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file of one per line, with their line numbers; a line that a kill cut short is left out.

    Raises SpeechpressError when the file cannot be read, or a line is longer than `max_bytes`.
    """
    try:
        with open_regular(path) as file:
            number = 0
            while line := file.readline(max_bytes + 1):
                number += 1
                if len(line) > max_bytes:
                    raise SpeechpressError(f"{path}:{number}: is longer than {max_bytes:,} bytes")
                try:
                    yield number, parse_json(line, f"{path}:{number}")
                except SpeechpressError:
                    continue
    except OSError as error:
        raise SpeechpressError(f"{path}: cannot be read ({error.strerror or error})") from error


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        inner = [item for holder in level for item in (holder.values() if isinstance(holder, dict) else holder)]
        level = [item for item in inner if isinstance(item, (dict, list))]
        if not level:
            return False
    return True


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
