"""Where a checkpoint comes from: the checkpoints that it was made of, the nearest first, as cards tell them."""

from pathlib import Path
from typing import Any

from .checkpoint import CARD, WEIGHTS, sha256
from .document_schema import read_card


def ancestry(start: str) -> list[dict[str, Any]]:
    """The parents that a run gets from its `student.init`; none for "teacher" and "random".

    Returns:
        [{"path", "sha256" (of its weights), "recipe", "steps", "prune"}], the nearest first.
    """
    folder = Path(start)
    if start in ("teacher", "random") or not (folder / WEIGHTS).is_file():
        return []
    card = read_card(folder / CARD) if (folder / CARD).is_file() else {}
    recipe = card.get("recipe")
    own = {
        "path": str(folder),
        "sha256": sha256(folder / WEIGHTS),
        "recipe": recipe.get("name") if isinstance(recipe, dict) else None,
        "steps": card.get("steps"),
        "prune": card.get("prune"),
    }
    return [own, *(card.get("parents") or [])]


def inherited_pruning(ancestors: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What was pruned from the checkpoint that a run starts from."""
    return ancestors[0]["prune"] if ancestors else None
