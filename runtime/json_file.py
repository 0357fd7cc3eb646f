"""The one reader of JSON: bounded in size and depth, from regular files only, each key once; errors name the file.

What the values mean is checked afterwards, see `schema`.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import SpeechpressError
from .regular import open_regular

MAX_BYTES = 16 * 2**20  # Python holds JSON in up to thirty times its bytes


# Far from where Python's recursion ends, in reading here and in whoever walks the values.
MAX_DEPTH = 64


def read_json(
    path: str | Path, advice: str = "", *, shown: str = "", max_bytes: int = MAX_BYTES, strict: bool = False
) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: of a regular file in UTF-8.
        advice: what to do about a bad file, after a semicolon.
        shown: how errors call the file, when not by its path.
        max_bytes: most bytes to read.
        strict: no NaN and no infinite numbers, which are no JSON but stand in what other tools write.

    Raises:
        SpeechpressError: the file is missing, no regular file, too large, or holds no JSON object.
    """
    shown, end = shown or str(path), f"; {advice}" if advice else ""
    try:
        with open_regular(path) as file:
            # One more than allowed, instead of asking for the size: a file may grow after the question.
            data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise SpeechpressError(f"{shown}: cannot be read ({getattr(error, 'strerror', None) or error}){end}") from error
    if len(data) > max_bytes:
        raise SpeechpressError(f"{shown}: cannot be read, because it has more than {max_bytes:,} bytes{end}")
    return parse_object(data, shown, advice, strict=strict)


def parse_object(data: bytes | str, shown: str, advice: str = "", *, strict: bool = False) -> dict[str, Any]:
    """The JSON object of a text that `shown` names; raises SpeechpressError when it is none."""
    end = f"; {advice}" if advice else ""
    try:
        value = parse_json(data, strict=strict)
    except ValueError as error:
        raise SpeechpressError(f"{shown}: cannot be read as JSON ({error}){end}") from None
    if not isinstance(value, dict):
        raise SpeechpressError(f"{shown}: holds {_kind(value)}, but must hold a JSON object{end}")
    return value


def parse_json(data: bytes | str, *, strict: bool = True) -> Any:
    """The value of a text; raises ValueError with what is wrong."""
    try:
        # -sig: editors on Windows write a byte order mark, which json refuses.
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        numbers: dict[str, Any] = {"parse_constant": _no_number, "parse_float": _finite} if strict else {}
        # Of a key that stands twice Python takes the last, other readers the first: a way to hide things.
        value = json.loads(text, object_pairs_hook=_members, **numbers)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH}") from None
    _check_depth(value)
    if "\\ud" in text or "\\uD" in text:  # the only way in for half a character, which cannot be printed nor hashed
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half a character (a lone surrogate)") from None
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
                    value = parse_json(line, strict=False)
                except ValueError:
                    continue
                if isinstance(value, dict):
                    yield number, value
    except OSError as error:
        raise SpeechpressError(f"{path}: cannot be read ({error.strerror or error})") from error


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} stands twice")
    return found


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not a number of JSON")


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


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


COUNT = "not_finite"  # beside a document's own keys: how many of its numbers are null because they were none


def json_text(value: Any, *, indent: int | None = None, ascii: bool = False, compact: bool = False) -> str:
    """JSON that every reader takes.

    NaN and infinite numbers become null, and an object says in `COUNT` how many these were. Text that UTF-8 cannot hold
    (half a character, as of a file name in another encoding) is escaped.

    Args:
        value: dicts, lists, tuples, text, numbers, None.
        indent: spaces of a level; None is one line.
        ascii: escape everything else than ASCII.
        compact: no spaces, and keys in order: one text for one value, to be hashed.
    """
    options: dict[str, Any] = {"indent": indent, "sort_keys": compact, "allow_nan": False}
    if compact:
        options["separators"] = (",", ":")
    try:
        text = json.dumps(value, ensure_ascii=ascii, **options)
    except ValueError:
        value = _counted(value)
        text = json.dumps(value, ensure_ascii=ascii, **options)
    return text if ascii or _is_utf8(text) else json.dumps(value, ensure_ascii=True, **options)


def _counted(value: Any) -> Any:
    """The value without what is no number, and their count."""
    found: list[float] = []
    cleaned = _cleaned(value, found)
    if isinstance(cleaned, dict):
        before = cleaned.get(COUNT)
        cleaned[COUNT] = len(found) + (before if isinstance(before, int) else 0)
    return cleaned


def _cleaned(value: Any, found: list[float]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        found.append(value)
        return None
    if isinstance(value, dict):
        return {_key(key): _cleaned(item, found) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item, found) for item in value]
    return value


def _key(key: Any) -> Any:
    # A key may be NaN as well, and json refuses it just as it refuses the value.
    return str(key) if isinstance(key, float) else key


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
