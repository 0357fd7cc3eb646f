"""What each key of a document must hold, as functions; the first that holds something else is an error with its path.

Every function here but `check` makes a rule: it takes a value and the path that leads to it, and raises `Unfit`.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

Rule = Callable[[Any, str], None]
WORDS = 100_000  # characters of a text


class Unfit(ValueError):
    """A value that is not what it must be; its text begins with the value's path."""


def check(rule: Rule, document: Any) -> None:
    """Raises Unfit when the document does not fit."""
    rule(document, "")


def anything(value: Any, path: str) -> None:
    """For what only people read, or nobody."""


def whole(low: int = 0, high: int = 2**31 - 1) -> Rule:
    """A whole number from `low` to `high`."""

    def rule(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise unfit(path, value, f"a whole number from {low} to {high}")

    return rule


def number(low: float = -1e12, high: float = 1e12) -> Rule:
    """A number from `low` to `high`, whole or not."""

    def rule(value: Any, path: str) -> None:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or not low <= value <= high or not math.isfinite(value):
            raise unfit(path, value, f"a number from {low:g} to {high:g}")

    return rule


def text(pattern: str = "", most: int = WORDS) -> Rule:
    """Characters that can be printed, lines and tabs included; `pattern` must match all of it."""

    def rule(value: Any, path: str) -> None:
        if not isinstance(value, str) or len(value) > most:
            raise unfit(path, value, f"a text of at most {most} characters")
        if pattern and not re.fullmatch(pattern, value):
            raise unfit(path, value, f"a text like {pattern}")
        if any(unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\n\t" for sign in value):
            raise unfit(path, value, "a text without control characters")

    return rule


def one_of(*values: Any) -> Rule:
    def rule(value: Any, path: str) -> None:
        if not any(type(value) is type(one) and value == one for one in values):
            raise unfit(path, value, " or ".join(json.dumps(one) for one in values))

    return rule


def optional(inner: Rule) -> Rule:
    """null, or what `inner` takes."""

    def rule(value: Any, path: str) -> None:
        if value is not None:
            inner(value, path)

    return rule


def list_of(inner: Rule, low: int = 0, high: int = 100_000) -> Rule:
    def rule(value: Any, path: str) -> None:
        if not isinstance(value, list) or not low <= len(value) <= high:
            raise unfit(path, value, f"a list of {low} to {high}")
        for place, item in enumerate(value):
            inner(item, f"{path}[{place}]")

    return rule


def map_of(inner: Rule, key: str = "[^\\x00-\\x1f\\x7f-\\x9f]{1,200}") -> Rule:
    """An object with keys that match `key`."""

    def rule(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise unfit(path, value, "an object")
        for name, item in value.items():
            if not re.fullmatch(key, name):
                raise unfit(path, name, f"an object with keys like {key}")
            inner(item, _under(path, name))

    return rule


def fields(required: Mapping[str, Rule], others: Mapping[str, Rule] | None = None) -> Rule:
    """An object with these keys; `others` may be missing, and keys of neither are let be: newer writers have more."""

    def rule(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise unfit(path, value, "an object")
        for name, inner in required.items():
            if name not in value:
                raise Unfit(f"{_under(path, name)} is missing")
            inner(value[name], _under(path, name))
        for name, inner in (others or {}).items():
            if name in value:
                inner(value[name], _under(path, name))

    return rule


def unfit(path: str, value: Any, wanted: str) -> Unfit:
    """What to say of a value that is not `wanted`."""
    return Unfit(f"{path or 'the document'} is {_shown(value)}, but must be {wanted}")


def _shown(value: Any) -> str:
    """A value in few characters, whatever it is."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return "a number of very many digits"
    shown = json.dumps(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}..."


def _under(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
