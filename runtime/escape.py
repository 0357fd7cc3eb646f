"""Texts for people: counts in words; and other people's names in a report, never as markup or as a formula."""

import html
import os
import re
import unicodedata
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a cell of a spreadsheet a formula
_NUMBER = re.compile(r"[+-]?\d[\d.,]*(\s\S{1,4})?")  # 12.5, -3, +4.1 %, -0.3 dB


def counted(count: int, noun: str, plural: str = "") -> str:
    """ "1 step", "2 steps", "3,000 steps"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def markdown_text(text: str) -> str:
    """Text for one line or one cell of Markdown: no tags, links, code or columns, and no formula when it is copied."""
    # Most Markdown readers let HTML through; quotes are harmless outside a tag.
    line = html.escape(" ".join(_shown(text).split()), quote=False)
    line = re.sub(r"([\\|`\[\]])", r"\\\1", line)
    # Numbers keep their sign as it is: the backslash is only for what a spreadsheet would run.
    return f"\\{line}" if line.startswith(FORMULA) and not _NUMBER.fullmatch(line) else line


def csv_cell(value: Any) -> Any:
    """A value for a cell of CSV: numbers as they are; text that a spreadsheet would compute gets an apostrophe."""
    if not isinstance(value, str):
        return value
    text = "".join(_shown(line) for line in value.splitlines(keepends=True))
    # Spaces are skipped because some spreadsheets skip them before they look for a formula.
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) and not _NUMBER.fullmatch(text) else text


def _shown(text: str) -> str:
    """Half characters and controls, but for spaces and ends of lines, as the replacement character."""
    return "".join("\ufffd" if _hidden(character) else character for character in text)


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\r\t"


def readable_name(path: str | os.PathLike[str]) -> str:
    r"""A path that can be printed, hashed and written as UTF-8: control characters, and bytes that are not, as \xNN."""
    text = os.fspath(path)
    if not text.isascii():
        try:
            text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # half of a pair, which no file name holds
            text = text.encode("utf-8", "backslashreplace").decode()
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(letter: str) -> str:
    return f"\\x{ord(letter):02x}" if ord(letter) < 32 or ord(letter) == 127 else letter
