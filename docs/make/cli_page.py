"""The reference of the command line, from the Typer app itself."""

import re
import typing
from enum import EnumMeta
from pathlib import Path
from typing import Any

import typer

from speechpress.compressor.cli.main import app

NAMES = {str: "text", int: "integer", float: "number", bool: "yes or no", Path: "path"}


def text() -> str:
    root = typer.main.get_command(app)
    before = ", ".join(f"`{', '.join(item.opts)}`" for item in root.params)
    parts = [f"Options before the command: {before}.\n"]
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        parts += [_section(f"{name} {sub}", one) for sub, one in inner.items()] if inner else [_section(name, command)]
    return "\n".join(parts)


def _section(name: str, command: Any) -> str:
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    options = [
        item for item in command.params if item.param_type_name == "option" and not getattr(item, "hidden", False)
    ]
    words = [_argument(item) for item in arguments]
    lines = [
        f"## {name}\n",
        f"{_cell(command.help or '')}\n",
        "```text",
        " ".join(["compress", name, *words, "[OPTIONS]"]),
    ]
    lines.append("```\n")
    if arguments:
        lines += [
            "| argument | meaning |",
            "|---|---|",
            *(f"| `{_argument(item)}` | {_help(item)} |" for item in arguments),
            "",
        ]
    if options:
        lines += ["| option | value | default | meaning |", "|---|---|---|---|", *map(_row, options), ""]
    return "\n".join(lines)


def _argument(item: Any) -> str:
    name = item.metavar or (item.name or "").upper()
    name = name.strip("[]")
    shown = f"{name}..." if item.nargs == -1 and not name.endswith("...") else name
    return shown if item.required else f"[{shown}]"


def _row(item: Any) -> str:
    # The long name first; `--a/--no-a` is one option.
    names = ", ".join(
        f"`{name}`" for name in sorted([*item.opts, *item.secondary_opts], key=lambda name: name[:2] != "--")
    )
    return f"| {names} | {_value(item)} | {_default(item)} | {_help(item)} |"


def _value(item: Any) -> str:
    if item.is_flag:
        return ""
    if item.metavar:
        return f"`{_cell(item.metavar)}`"
    kind = _kind(item)
    choices = [one.value for one in kind] if isinstance(kind, EnumMeta) else typing.get_args(kind)
    if choices:
        return " ".join(f"`{choice}`" for choice in choices)
    limits = [f"{word} {limit:g}" for word in ("min", "max") if (limit := getattr(item, word, None)) is not None]
    return ", ".join([NAMES[kind], *limits])


def _kind(item: Any) -> Any:
    """The Python type of one value; of a list that of its elements."""
    kind = item.type_descriptor.annotation
    return typing.get_args(kind)[0] if typing.get_origin(kind) is list else kind


def _default(item: Any) -> str:
    value = item.default
    if item.required:
        return "required"
    if value is None or callable(value) or value is False or value == () or value == []:
        return ""
    return f"`{_cell(str(value))}`"


def _help(item: Any) -> str:
    return _cell(getattr(item, "help", None) or "")


def _cell(text: str) -> str:
    """Plain text in one line; what Markdown would take for a tag or a column is escaped."""
    line = re.sub(r"\s+", " ", text).strip()
    return line.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
