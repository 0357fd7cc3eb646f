"""The reference of recipe keys, from the schema itself."""

import re
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from speechpress.compressor.recipe.schema import Recipe

LIMITS = (("low", "≥"), ("above", ">"), ("high", "≤"), ("below", "<"))
NAMES = {str: "text", int: "integer", float: "number", bool: "true or false"}
NOT_IN_YAML = ("places", "config")


def text() -> str:
    parts = []
    for name, cls in sections(Recipe, ""):
        summary = re.split(r"(?<=\.)\s", (cls.__doc__ or "").strip())[0]
        title = f"`{name}`" if name else "Top level"
        parts += [
            f"\n## {title}\n",
            " ".join(summary.split()),
            "",
            "| key | type | default | meaning |",
            "|---|---|---|---|",
        ]
        hints = typing.get_type_hints(cls)
        for item in fields(cls):
            if item.name not in NOT_IN_YAML and _section_of(hints[item.name]) is None:
                dotted = f"{name}.{item.name}" if name else item.name
                kind, words = _type(hints[item.name], item), item.metadata.get("doc", "")
                parts.append(f"| `{dotted}` | {kind} | {_default(item)} | {words} |")
    return "\n".join(parts) + "\n"


def sections(cls: Any, name: str) -> Iterator[tuple[str, Any]]:
    """A dataclass of the schema and those inside it, each with its dotted name."""
    yield name, cls
    hints = typing.get_type_hints(cls)
    for item in fields(cls):
        inner = _section_of(hints[item.name])
        if inner is not None:
            yield from sections(inner, f"{name}.{item.name}" if name else item.name)


def _section_of(kind: Any) -> Any:
    return next((one for one in (kind, *typing.get_args(kind)) if is_dataclass(one)), None)


def _type(kind: Any, item: Field[Any]) -> str:
    choices = item.metadata.get("choices") or ()
    listed = typing.get_origin(_without_none(kind)) is tuple
    if choices:
        words = " ".join(f"`{choice}`" for choice in choices)
        return f"list of {words}" if listed else words
    limits = [f"{sign} {item.metadata[key]:g}" for key, sign in LIMITS if item.metadata.get(key) is not None]
    return ", ".join([_name(_without_none(kind)), *limits])


def _without_none(kind: Any) -> Any:
    if isinstance(kind, types.UnionType):
        (kind,) = [one for one in typing.get_args(kind) if one is not types.NoneType]
    return kind


def _name(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        if inner[-1] is Ellipsis:
            return "list of pairs" if typing.get_origin(inner[0]) is tuple else f"list of {_name(inner[0])}s"
        return f"[{', '.join(map(_name, inner))}]"
    return NAMES[kind]


def _default(item: Field[Any]) -> str:
    if item.default is MISSING and item.default_factory is MISSING:
        return "required"
    value = item.default
    if value is None or value in ((), ""):
        return ""
    return f"`{list(value) if isinstance(value, tuple) else value}`"
