"""The looks of help: groups of commands and options, choices, and types that say no more than is needed."""

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

# Groups of options in help, the same for every command.
INPUT, METHOD, TRAINING, DEVICE, OUTPUT = "Input", "Method", "Training", "Device", "Output"
# In the order of the work; commands are listed in it too.
GROUPS = {
    "Look": ("doctor", "ls", "show", "cp"),
    "Prepare": ("data", "study", "search"),
    "Make": ("distill", "head", "prune", "quantize"),
    "Use and judge": ("eval", "extract"),
    "Deploy": ("export", "verify", "profile", "report", "demo"),
    "Share": ("convert", "push"),
}
CHOICES_WIDE = 24  # letters of an option's choices beside its help; those of a longer list stand in the help itself


def choices(*names: str) -> str:
    """[cpu|cuda|mps]; of a long list the first ones and "..."."""
    shown = names
    while len("|".join(shown)) > CHOICES_WIDE - 2:
        shown = (*shown[: -1 if shown is names else -2], "...")
    return f"[{'|'.join(shown)}]"


def _plain_types(parameters: Sequence[Any]) -> list[Any]:
    """A flag takes no value, so no type is shown; others have the type of one value: <path>, not <list[Path]>."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        elif hasattr(parameter, "bare_type"):
            name = parameter.bare_type().removeprefix("list[").removesuffix("]").lower()
            parameter.display_type = lambda ctx, name=name: f"<{name}>"
    return list(parameters)


class Command(TyperCommand):
    """A command whose help is short and plain."""

    def get_params(self, ctx: Any) -> list[Any]:
        found = _plain_types(super().get_params(ctx))
        for parameter in found:
            # Else it is the only one in a group of its own, above all others.
            if "--help" in parameter.opts:
                parameter.rich_help_panel = OUTPUT
        return found


class Group(TyperGroup):
    """All commands, in the order of the work."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain_types(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        order = [name for names in GROUPS.values() for name in names]
        return sorted(super().list_commands(ctx), key=lambda name: order.index(name) if name in order else len(order))


def group_of(name: str) -> str:
    return next(group for group, names in GROUPS.items() if name in names)
