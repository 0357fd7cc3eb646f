"""Reads JSON that somebody else may have written: bounded in size and depth, only what JSON knows, each key once."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import SpeechpressError
from .regular import open_regular

MAX_BYTES, MAX_DEPTH = 64 * 2**20, 64


def read_json(path: Path, remedy: str, max_bytes: int = MAX_BYTES) -> Any:
    """What a file of JSON holds.

    Args:
        path: of a file in UTF-8.
        remedy: what to do when it cannot be read, the end of the sentence.
        max_bytes: that it may have.

    Raises:
        SpeechpressError: it cannot be read, is larger, nested too deep, or no strict JSON.
    """
    try:
        with open_regular(path) as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise SpeechpressError(f"{path}: cannot be read ({error}); {remedy}") from error
    if len(data) > max_bytes:
        raise SpeechpressError(f"{path}: has more than {max_bytes:,} bytes, too many to be what it should; {remedy}")
    try:
        return parse_json(data)
    except ValueError as error:
        raise SpeechpressError(f"{path}: cannot be read as JSON ({error}); {remedy}") from error


def parse_json(data: bytes | str) -> Any:
    """Strict JSON; raises ValueError with what is wrong."""
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH}") from None
    _check_depth(value)
    if "\\ud" in text or "\\uD" in text:  # the only way in for half a character, which cannot be printed nor hashed
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half a character (a lone surrogate)") from None
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} stands twice")
    return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


def _check_depth(value: Any) -> None:
    layer = list(_inside([[value]]))
    for _ in range(MAX_DEPTH + 1):
        if not layer:
            return
        layer = list(_inside(layer))
    raise ValueError(f"it is nested deeper than {MAX_DEPTH}")


def _inside(values: list[Any]) -> Iterator[Any]:
    """What lies one level further in, of the values that hold others."""
    for value in values:
        inner = value.values() if isinstance(value, dict) else value
        yield from (item for item in inner if isinstance(item, dict | list))
