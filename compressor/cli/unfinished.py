"""How far a run came that did not come to its end, told without loading it."""

from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import parse_json
from speechpress.runtime.tensor_file import read_metadata

from ..models.document_schema import Card
from ..recipe.files import load_recipe

STATE, RECIPE = "resume.safetensors", "recipe.yaml"  # see `resume` and `run`


def interrupted(folder: Path, card: Card) -> dict[str, Any] | None:
    """Of a run that did not come to its end: {"step", "steps", "saved_step"}; None of a finished one.

    `step` is that of the weights there, None without any; `saved_step` is where --resume goes on, None where it cannot.
    """
    # Cards of before this key are of finished runs; without a card nothing was finished.
    if not (folder / RECIPE).is_file() or card.get("finished", bool(card)):
        return None
    steps = load_recipe(str(folder / RECIPE)).train.steps
    return {"step": card.get("steps"), "steps": steps, "saved_step": saved_step(folder / STATE)}


def saved_step(state: Path) -> int | None:
    """The step at which a run can go on; None where nothing was saved.

    Raises SpeechpressError when the file is damaged.
    """
    if not state.is_file():
        return None
    try:
        # The metadata alone: the state holds the optimiser too, and torch is not imported for it.
        return int(parse_json(read_metadata(state)["speechpress"])["progress"]["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpeechpressError(f"{state}: is damaged ({error!r}); start the run anew with --overwrite") from error


def words(found: dict[str, Any]) -> str:
    """interrupted at 15 of 400 steps; --resume goes on at step 15."""
    at = found["step"] if found["step"] is not None else found["saved_step"] or 0
    on = found["saved_step"]
    advice = "nothing is saved to go on from" if on is None else f"--resume goes on at step {on}"
    return f"interrupted at {at} of {found['steps']} steps; {advice}"
