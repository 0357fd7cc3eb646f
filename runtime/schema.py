"""What the values of a document must be: kinds with bounds, checked once where the document comes in.

    MODEL = Fields({"width": Whole(1, 65_536)}, {"note": Maybe(Text())})
    check(document, MODEL, "model.json")   # model.json: width is "wide", but must be a whole number from 1 to 65536

Nothing is converted: what passes has the types that it is said to have, every number is finite and within its bounds.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .errors import SpeechpressError

LARGEST = 2**53  # beyond it a JSON number is not exact everywhere
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # text after them runs the other way


class Kind(Protocol):
    """What a value may be: `words` for people, and the path of the first value within it that is something else."""

    @property
    def words(self) -> str: ...

    def wrong(self, value: Any, path: str) -> "Wrong | None": ...


@dataclass(frozen=True)
class Wrong:
    """Where, and in what way."""

    path: str
    text: str


class Unfit(ValueError):
    """A value that is not what it must be; its text begins with the value's path."""


def check(value: Any, kind: Kind, shown: str, advice: str = "") -> None:
    """Raises SpeechpressError, naming the document as `shown` and the key by its path, unless `value` is of `kind`."""
    try:
        require(value, kind)
    except Unfit as error:
        raise SpeechpressError(f"{shown}: {error}{'; ' + advice if advice else ''}") from None


def require(value: Any, kind: Kind) -> None:
    """As `check`, for documents that only the caller can name; raises Unfit."""
    wrong = kind.wrong(value, "")
    if wrong is not None:
        raise Unfit(f"{wrong.path or 'it'} {wrong.text}")


def unfit(path: str, value: Any, wanted: str) -> Unfit:
    """What to say of a value that is not `wanted`, where no kind can tell: values that contradict each other."""
    return Unfit(f"{path} is {shown_value(value)}, but must be {wanted}")


def fits(value: Any, kind: Kind) -> bool:
    return kind.wrong(value, "") is None


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds, both included."""

    low: int = 0
    high: int = LARGEST

    @property
    def words(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def wrong(self, value: Any, path: str) -> Wrong | None:
        # Not isinstance: True is an int to Python.
        good = type(value) is int and self.low <= value <= self.high
        return None if good else _is_not(value, self, path)


@dataclass(frozen=True)
class Real:
    """A finite number within bounds, both included; `above` must be exceeded. With `measured` any number, even NaN."""

    low: float = -1e30
    high: float = 1e30
    above: float = -math.inf
    measured: bool = False

    @property
    def words(self) -> str:
        if (self.low, self.high) == (-1e30, 1e30):
            return "a number" if self.above == -math.inf else f"a number above {self.above:g}"
        low = f"from {self.low:g}" if self.above == -math.inf else f"above {self.above:g}"
        return f"a number {low} to {self.high:g}"

    def wrong(self, value: Any, path: str) -> Wrong | None:
        good = type(value) in (int, float) and self.low <= value <= self.high and value > self.above
        good = good or (self.measured and type(value) is float)
        return None if good else _is_not(value, self, path)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    words: str = "true or false"

    def wrong(self, value: Any, path: str) -> Wrong | None:
        return None if type(value) is bool else _is_not(value, self, path)


@dataclass(frozen=True)
class Text:
    """Printable text, of one line unless `lines`; with `choices` one of them; `pattern` must match all of it."""

    longest: int = 2000
    choices: tuple[str, ...] = ()
    lines: bool = False
    pattern: str = ""

    @property
    def words(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return f"a text like {self.pattern}" if self.pattern else f"a text of at most {self.longest} characters"

    def wrong(self, value: Any, path: str) -> Wrong | None:
        if not isinstance(value, str) or len(value) > self.longest:
            return _is_not(value, self, path)
        if self.choices and value not in self.choices:
            return _is_not(value, self, path)
        if self.pattern and not re.fullmatch(self.pattern, value):
            return _is_not(value, self, path)
        # Tab and ends of lines, which `isprintable` refuses.
        shown = value.translate({9: None, 10: None, 13: None}) if self.lines else value
        if not _is_printable(shown):
            return Wrong(path, f"is {value!a:.60}, but must be printable text{'' if self.lines else ' of one line'}")
        return None


@dataclass(frozen=True)
class Items:
    """A list of so many values of one kind."""

    kind: Kind
    least: int = 0
    most: int = 10_000

    @property
    def words(self) -> str:
        count = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
        return f"a list of {count}, each {self.kind.words}"

    def wrong(self, value: Any, path: str) -> Wrong | None:
        if not isinstance(value, (list, tuple)):
            return _is_not(value, self, path)
        if not self.least <= len(value) <= self.most:
            return Wrong(path, f"has {len(value)} values, but must be {self.words}")
        found = (self.kind.wrong(item, f"{path}[{index}]") for index, item in enumerate(value))
        return next((wrong for wrong in found if wrong), None)


@dataclass(frozen=True)
class Table:
    """An object whose keys are any words, or match the pattern `key`, and whose values are of one kind."""

    kind: Kind
    most: int = 100_000
    key: str = ""
    words: str = "an object"

    def wrong(self, value: Any, path: str) -> Wrong | None:
        if not isinstance(value, dict):
            return _is_not(value, self, path)
        if len(value) > self.most:
            return Wrong(path, f"has {len(value)} keys, but must have at most {self.most}")
        for name, item in value.items():
            wrong = _wrong_name(name, self.key, path) or self.kind.wrong(item, _join(path, name))
            if wrong:
                return wrong
        return None


@dataclass(frozen=True)
class Fields:
    """An object with these keys; others are an error when `closed`, else whatever they are."""

    required: Mapping[str, Kind]
    optional: Mapping[str, Kind] = field(default_factory=dict)
    closed: bool = False
    words: str = "an object"

    def wrong(self, value: Any, path: str) -> Wrong | None:
        if not isinstance(value, dict):
            return _is_not(value, self, path)
        for name, kind in {**self.required, **self.optional}.items():
            if name in value:
                wrong = kind.wrong(value[name], _join(path, name))
            else:
                wrong = Wrong(_join(path, name), f"is missing ({kind.words})") if name in self.required else None
            if wrong:
                return wrong
        unknown = [name for name in value if name not in self.required and name not in self.optional]
        return self._unknown(unknown[0], path) if self.closed and unknown else None

    def _unknown(self, name: Any, path: str) -> Wrong:
        import difflib  # only who mistypes a key pays for its import

        near = difflib.get_close_matches(str(name), [*self.required, *self.optional], n=1)
        return Wrong(_join(path, f"{name!r:.60}"), f"is not known{f'; did you mean {near[0]!r}?' if near else ''}")


@dataclass(frozen=True)
class Maybe:
    """Of this kind, or null."""

    kind: Kind

    @property
    def words(self) -> str:
        return f"{self.kind.words}, or null"

    def wrong(self, value: Any, path: str) -> Wrong | None:
        return None if value is None else self.kind.wrong(value, path)


@dataclass(frozen=True)
class Either:
    """Of one of these kinds; an error within the value is that of the kind that came farthest."""

    kinds: tuple[Kind, ...]

    @property
    def words(self) -> str:
        return ", or ".join(kind.words for kind in self.kinds)

    def wrong(self, value: Any, path: str) -> Wrong | None:
        found = [kind.wrong(value, path) for kind in self.kinds]
        wrongs = [wrong for wrong in found if wrong]
        if len(wrongs) < len(found):
            return None
        # The longest path is the kind that was meant: it fitted until there.
        inner = max(wrongs, key=lambda wrong: len(wrong.path))
        return inner if inner.path != path else _is_not(value, self, path)


@dataclass(frozen=True)
class Anything:
    """Plain data; numbers are finite, texts have no lone surrogates."""

    words: str = "plain data"

    def wrong(self, value: Any, path: str) -> Wrong | None:
        if isinstance(value, dict):
            return Table(self).wrong(value, path)
        if isinstance(value, (list, tuple)):
            return Items(self, most=10**7).wrong(value, path)
        if isinstance(value, str):
            return Text(10**7, lines=True).wrong(value, path)
        if value is None or type(value) in (bool, int):
            return None
        good = type(value) is float and math.isfinite(value)
        return None if good else _is_not(value, self, path)


def _is_not(value: Any, kind: Kind, path: str) -> Wrong:
    return Wrong(path, f"is {shown_value(value)}, but must be {kind.words}")


def shown_value(value: Any) -> str:
    """A value of a document for people, in a few words."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    # Python refuses to write integers of more than 4300 digits as text.
    if type(value) is int and abs(value) > 10**30:
        return "a number of more than 30 digits"
    plain = {None: "null", True: "true", False: "false"} if value is None or isinstance(value, bool) else {}
    return plain.get(value) or f"{value!a:.60}"


def _wrong_name(name: Any, pattern: str, path: str) -> Wrong | None:
    if not (isinstance(name, str) and len(name) <= 500 and _is_printable(name)):
        return Wrong(path, f"has the key {name!a:.60}, but keys must be printable words")
    if pattern and not re.fullmatch(pattern, name):
        return Wrong(path, f"has the key {name!a:.60}, but must have keys like {pattern}")
    return None


def _is_printable(text: str) -> bool:
    """Without what moves a cursor, ends a line, turns the direction, or is half a character; any space may be in it."""
    # The usual case, in C; the loop below costs a call for each character.
    if text.isprintable():
        return True
    return not any(sign in _TURNING or unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
