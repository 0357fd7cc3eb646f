"""The one place where values become JSON text: what is no number (NaN, infinity) is no JSON and comes out as null."""

import json
import math
from typing import Any

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
    return str(key) if isinstance(key, float) else key


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
