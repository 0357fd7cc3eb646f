"""What a page may ask of the demo, checked against a schema before anything is done with it."""

import json
from dataclasses import dataclass
from typing import Any

from ..errors import SpeechpressError
from .names import word_name

RATES = (8_000, 192_000)
FIELDS: dict[str, tuple[str, ...]] = {  # what each order may hold beside "do"
    "begin": (),
    "begin_not": (),
    "end": (),
    "forget": (),
    "name": ("word",),
    "microphone": ("rate",),
}


@dataclass(frozen=True)
class Order:
    """`do`: one of FIELDS. `word`: a good name, or empty. `rate`: of the browser's microphone in Hz; None is off."""

    do: str
    word: str = ""
    rate: int | None = None


def read_order(message: str) -> Order:
    """A message of a page.

    Raises:
        SpeechpressError: it is no JSON object, or a field is unknown or not what it must be.
    """
    try:
        fields = json.loads(message, parse_constant=_no_number)
    # RecursionError: a few kilobytes of "[" are enough.
    except (ValueError, RecursionError) as error:
        raise SpeechpressError("a message of the page is no JSON; reload the page") from error
    do = fields.get("do") if isinstance(fields, dict) else None
    if not isinstance(do, str) or do not in FIELDS:
        raise SpeechpressError(f"a message of the page must be an object whose do is one of {', '.join(FIELDS)}")
    if unknown := set(fields) - {"do", *FIELDS[do]}:
        raise SpeechpressError(f"an order {do!r} of the page holds {len(unknown)} fields that it must not hold")
    word = _word(fields.get("word", "")) if do == "name" else ""
    return Order(do, word, _rate(fields.get("rate")) if do == "microphone" else None)


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise SpeechpressError(f"the name of a word is text, but the page sent {type(value).__name__}")
    return word_name(value)


def _rate(value: Any) -> int | None:
    """Exactly an int: True is none, though Python takes it for one."""
    if value is None or (type(value) is int and RATES[0] <= value <= RATES[1]):
        return value
    raise SpeechpressError(f"the rate of the browser's microphone must be {RATES[0]} to {RATES[1]} Hz, or null")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
