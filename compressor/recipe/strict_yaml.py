"""YAML read strictly: every value keeps the place it came from, so that each error can name `file:line`.

Only plain data is read (PyYAML's safe loader); a file is turned into a tree of `Entry`, changed by `a.b=c` overrides
and then poured into frozen dataclasses, whose fields say in their metadata which values are allowed.
"""

import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

import yaml

from speechpress.runtime.errors import SpeechpressError

# PyYAML parses in Python, slowly, and builds a tree many times as large as its text.
MAX_CHARACTERS = 1_000_000
# YAML 1.1 wants a dot and a signed exponent: PyYAML takes 2e-4 and 2.0e4 for text.
_EXPONENT = re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+")
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
# !!set and !!omap are mappings and lists to the parser too, but nothing a recipe means.
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A value (a scalar, a list, or a dict of further entries) and where it was written."""

    value: Any
    where: str


def key(
    default: Any = MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    doc: str = "",
) -> Any:
    """A dataclass field that `fill` checks: low <= value <= high, above < value < below, or one of `choices`."""
    limits = {"low": low, "high": high, "above": above, "below": below, "choices": choices, "doc": doc}
    return field(default=default, metadata=limits)


def parse(text: str, name: str) -> Entry:
    """Read one YAML document, a mapping, into a tree of entries.

    Raises SpeechpressError with `name:line` for what is not YAML, empty, no mapping, or has a key twice.
    """
    if len(text) > MAX_CHARACTERS:
        raise SpeechpressError(f"{name}: has {len(text)} characters, which is far too long for a recipe")
    node = _compose(text, name)
    if node is None:
        raise SpeechpressError(f"{name}: is empty. Start from a built-in recipe: compress cp distilhubert mine.yaml")
    if not isinstance(node, yaml.MappingNode):
        raise SpeechpressError(f"{_place(name, node)}: expected `key: value` lines, found {_describe(node)}")
    return _entry(node, name)


def override(root: Entry, settings: Iterable[str]) -> Entry:
    """The tree with `a.b=c` settings applied in order; each `c` is read as YAML."""
    for setting in settings:
        where = f"--set {setting}"
        path, equals, text = setting.partition("=")
        parts = path.strip().split(".")
        if not equals or not all(parts):
            raise SpeechpressError(f"{where}: expected KEY=VALUE, such as --set train.steps=1000")
        node = _compose(text, where)
        # `--set a.b=` is an empty value, as `b:` is in a file.
        value = Entry(None, where) if node is None else _at(_entry(node, where), where)
        root = _replace(root, parts, value, [])
    return root


def places(root: Entry, path: str = "") -> dict[str, str]:
    """Where each dotted key was written."""
    found = {path: root.where} if path else {}
    if isinstance(root.value, dict):
        for name, entry in root.value.items():
            found |= places(entry, f"{path}.{name}" if path else name)
    return found


def fill(cls: type[T], root: Entry, path: str = "") -> T:
    """An instance of a dataclass made from a section of the tree; `cls` may hold further dataclasses.

    Raises SpeechpressError for a missing key, a wrong type and a value out of range (unknown keys: see `check_keys`).
    """
    section, kinds, values = as_section(root, path), typing.get_type_hints(cls), {}
    for item in fields(cls):  # type: ignore[arg-type]
        dotted = f"{path}.{item.name}" if path else item.name
        entry = section.get(item.name)
        if entry is None:
            if item.default is MISSING and item.default_factory is MISSING:
                raise SpeechpressError(f"{root.where}: {dotted} is missing ({item.metadata.get('doc', 'a section')})")
        elif is_dataclass(kind := _section(kinds[item.name])):
            # A section that needed more than `fill` was made before, such as the student's.
            made = isinstance(entry.value, kind)  # type: ignore[arg-type]
            values[item.name] = entry.value if made else fill(kind, entry, dotted)  # type: ignore[arg-type]
        else:
            values[item.name] = convert(entry, kinds[item.name], dotted, item.metadata)
    return cls(**values)


def _section(kind: Any) -> Any:
    """`X` of an optional section `X | None`, else `kind` itself."""
    inner = [option for option in typing.get_args(kind) if is_dataclass(option)]
    return inner[0] if inner else kind


def as_section(entry: Entry, path: str) -> dict[str, Entry]:
    if isinstance(entry.value, dict):
        return entry.value
    raise SpeechpressError(f"{entry.where}: {path} is {_show(entry.value)}, but must hold further keys")


def check_keys(section: Mapping[str, Entry], known: Iterable[str], path: str, elsewhere: Mapping[str, str]) -> None:
    """Raise SpeechpressError for the first unknown key; `elsewhere` maps keys to the section they belong in."""
    known = list(known)
    for name, entry in section.items():
        if name in known:
            continue
        dotted = f"{path}.{name}" if path else name
        if elsewhere.get(name, path) != path:
            home = elsewhere[name]
            advice = f"It belongs under {home}, as {home}.{name}." if home else "It belongs at the top level."
        else:
            advice = did_you_mean(name, known)
        words = (f"unknown key {dotted!r}.", advice, f"Known here: {', '.join(known)}.")
        raise SpeechpressError(f"{entry.where}: {' '.join(filter(None, words))}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else ""


def convert(entry: Entry, kind: Any, path: str, limits: Mapping[str, Any]) -> Any:
    """The value as `kind`, checked against its limits (the metadata made by `key`)."""
    value = _convert(entry.value, kind, path, entry.where)
    words = f"{path} {'has' if isinstance(value, tuple) else 'is'}"
    for number in _flat(value):
        _check(number, words, entry.where, limits)
    return value


def _convert(value: Any, kind: Any, path: str, where: str) -> Any:
    options = [option for option in typing.get_args(kind) if option is not type(None)]
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        # Of `tuple | int` the written form decides: a list is the tuple, anything else the number.
        chosen = [o for o in options if (typing.get_origin(o) is tuple) == isinstance(value, list)]
        return _convert(value, (chosen or options)[0], path, where)
    if typing.get_origin(kind) is tuple:
        if value is None:
            return ()
        if not isinstance(value, list):
            raise SpeechpressError(f"{where}: {path} is {_show(value)}, but must be a list, such as {_sample(kind)}")
        if options[-1] is not Ellipsis and len(value) != len(options):
            raise SpeechpressError(f"{where}: {path} has {len(value)} values, but must have {len(options)}")
        return tuple(_convert(item, options[0], path, where) for item in value)
    return _scalar(value, kind, path, where)


def _scalar(value: Any, kind: type, path: str, where: str) -> Any:
    if value is None:
        raise SpeechpressError(f"{where}: {path} has no value, but must be {_NAMES[kind]}")
    if kind in (int, float) and isinstance(value, str) and _EXPONENT.fullmatch(value):
        value = float(value)  # YAML 1.1 takes 2e-4 (no dot) for a text
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is float and type(value) is int:
        return _float(value)
    # Not isinstance: True is an int, and `steps: yes` is no number of steps.
    if type(value) is kind:
        return value
    hint = f'. Quote it: "{value}"' if kind is str and not isinstance(value, dict | list) else ""
    raise SpeechpressError(f"{where}: {path} is {_show(value)}, but must be {_NAMES[kind]}{hint}")


def _float(value: int) -> float:
    # float() raises OverflowError from 2^1024 on; infinity is refused later with a readable message.
    return float(value) if abs(value) < 2**1000 else math.inf


def _check(value: Any, words: str, where: str, limits: Mapping[str, Any]) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise SpeechpressError(f"{where}: {words} {value}, but must be finite")
    choices = limits.get("choices")
    if choices and value not in choices:
        advice = did_you_mean(str(value), choices)
        raise SpeechpressError(
            f"{where}: {words} {value!r}, but must be one of {', '.join(choices)}. {advice}".rstrip()
        )
    for name, holds, relation in (
        ("low", lambda limit: value >= limit, "at least"),
        ("high", lambda limit: value <= limit, "at most"),
        ("above", lambda limit: value > limit, "more than"),
        ("below", lambda limit: value < limit, "less than"),
    ):
        if limits.get(name) is not None and not holds(limits[name]):
            raise SpeechpressError(f"{where}: {words} {value}, but must be {relation} {limits[name]}")
    # Names end up in terminals, tables and paths, where control characters do harm.
    if isinstance(value, str) and not value.isprintable():
        raise SpeechpressError(f"{where}: {words} {value!r:.60}, but must be one line of printable text")


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, tuple):
        for item in value:
            yield from _flat(item)
    elif value is not None:
        yield value


class _Loader(yaml.SafeLoader):
    """Without aliases: a few of them can stand for gigabytes, or for themselves, and a recipe needs none."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not read", self.peek_event().start_mark)
        return super().compose_node(parent, index)


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        # Nodes know their lines; yaml.load would throw that away, and silently keep the last of two equal keys.
        return yaml.compose(text, Loader=_Loader)
    except RecursionError:
        raise SpeechpressError(f"{name}: is nested too deeply for a recipe") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = name if mark is None or name.startswith("--set") else f"{name}:{mark.line + 1}"
        raise SpeechpressError(f"{place}: is not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise SpeechpressError(f"{name}: is not valid YAML: {str(error).splitlines()[0]}") from None


def _entry(node: yaml.Node, name: str, depth: int = 0) -> Entry:
    # Recipes are three deep; the limit keeps our own recursion, and that of `places`, short.
    if depth > 8:
        raise SpeechpressError(f"{_place(name, node)}: is nested too deeply for a recipe")
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
        raise SpeechpressError(f"{_place(name, node)}: only plain values are read, not {node.tag!r:.80}")
    if isinstance(node, yaml.MappingNode):
        return Entry(_mapping(node, name, depth), _place(name, node))
    if isinstance(node, yaml.SequenceNode):
        items = [_plain(_entry(item, name, depth + 1)) for item in node.value]
        return Entry(items, _place(name, node))
    return Entry(_construct(node, name), _place(name, node))


def _mapping(node: yaml.MappingNode, name: str, depth: int) -> dict[str, Entry]:
    section: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        where = _place(name, key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            raise SpeechpressError(f"{where}: a key must be a word, found {_describe(key_node)}")
        if key_node.value in section:
            first = section[key_node.value].where
            raise SpeechpressError(
                f"{where}: the key {key_node.value!r} stands here again (first at {first}). Remove one."
            )
        section[key_node.value] = Entry(_entry(value_node, name, depth + 1).value, where)
    return section


def _plain(entry: Entry) -> Any:
    if isinstance(entry.value, dict):
        return {name: _plain(item) for name, item in entry.value.items()}
    return entry.value


def _construct(node: yaml.Node, name: str) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    # PyYAML does not catch what its own converters raise, such as at the date 2026-02-30.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        problem = getattr(error, "problem", None) or str(error)
        raise SpeechpressError(f"{_place(name, node)}: only plain values are read: {problem}") from None
    finally:
        loader.dispose()


def _at(entry: Entry, where: str) -> Entry:
    value = entry.value
    if isinstance(value, dict):
        value = {name: _at(item, where) for name, item in value.items()}
    return Entry(value, where)


def _replace(root: Entry, parts: list[str], value: Entry, done: list[str]) -> Entry:
    if not parts:
        return value
    if root.value is not None and not isinstance(root.value, dict):
        raise SpeechpressError(f"{value.where}: {'.'.join(done)} is {_show(root.value)}, it has no key {parts[0]!r}")
    section = root.value or {}
    inner = section.get(parts[0], Entry(None, value.where))
    return Entry(section | {parts[0]: _replace(inner, parts[1:], value, [*done, parts[0]])}, root.where)


def _place(name: str, node: yaml.Node) -> str:
    return name if name.startswith("--set") else f"{name}:{node.start_mark.line + 1}"


def _describe(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f"the text {node.value[:40]!r}"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return "a section"
    return "empty" if value is None else f"{value!r:.60}"


def _sample(kind: Any) -> str:
    inner = typing.get_args(kind)[0]
    return "[[1, 4], [2, 8]]" if typing.get_origin(inner) is tuple else "[1, 2]"
