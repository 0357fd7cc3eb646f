"""The folder of a search: whether it may be used, what the search was begun with, and whether one is the same one."""

import json
import shutil
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import cannot_write, write_json, write_text
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text, read_json
from speechpress.runtime.parts import entries

from ..recipe.files import differences, parse_recipe
from .rows import TRIALS, Row, Rows
from .trial import ROOM_BYTES, Facts, SearchStopped, check_room
from .walk import STUDENTS, Search, asked, sources

SCHEMA = 1
FACTS, RECIPE, SPACE, LOG = "search.json", "recipe.yaml", "space.yaml", "workers.log"


def check_folder(order: Search) -> bool:
    """Make the folder, where it is not there; whether it was made.

    Raises SpeechpressError for a folder in use, nothing to resume, or a disk that is nearly full.
    """
    out = order.out
    if order.resume and not (out / FACTS).is_file():
        raise SpeechpressError(f"{out}: there is no search to resume; leave out --resume to start one")
    if not order.resume and out.exists() and not _unbegun(out):
        words = "Use --resume to continue the search there, or" if (out / FACTS).is_file() else "Choose"
        raise SpeechpressError(f"{out}: is not empty. {words} another --out")
    new = not out.exists()
    try:
        (out / STUDENTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        # What the students take is asked for at each trial, by their size.
        check_room(out, ROOM_BYTES)
    except SearchStopped as error:
        # Only a folder that was made here: another one is not ours to delete.
        if new:
            shutil.rmtree(out, ignore_errors=True)
        raise SpeechpressError(f"{error}, or choose another folder with --out") from error
    return new


def _unbegun(out: Path) -> bool:
    """Whether a folder is empty, or holds only what a search that was killed before it began has left."""
    if not out.is_dir() or (out / FACTS).exists():
        return False
    known = (RECIPE, SPACE, LOG)
    return all(
        path.name in known or (path.name == STUDENTS and path.is_dir() and not entries(path)) for path in entries(out)
    )


def begin(order: Search, facts: Facts) -> None:
    """Write down what this search is."""
    write_text(order.out / RECIPE, order.proxy.text())
    write_text(order.out / SPACE, order.space.text())
    hours = {"train_h": facts.train_h, "valid_h": facts.valid_h}
    about = {"schema": SCHEMA, "teacher_card": facts.teacher, "steps": order.proxy.train.steps, **hours}
    # Last: this file is what makes the folder a search, see _unbegun.
    write_json(order.out / FACTS, {**about, **asked(order), **sources(facts)})


def go_on(order: Search) -> list[Row]:
    """The rows so far.

    Raises SpeechpressError when the folder holds a search of something else.
    """
    known = read_facts(order)
    before = parse_recipe((order.out / RECIPE).read_text(encoding="utf-8"), str(order.out / RECIPE))
    changed = differences(before, order.proxy)
    # Through JSON as the known ones went: tuples are lists there.
    for name, value in json.loads(json_text(asked(order))).items():
        if known.get(name) != value:
            changed.append("another space" if name == "space" else f"{name}: {known.get(name)} -> {value}")
    # Before anything is loaded; teacher and speech are compared once they are open (check_sources).
    _refuse(order, changed)
    return Rows(order.out / TRIALS).restart()


def check_sources(order: Search, facts: Facts) -> None:
    """Raises SpeechpressError when the search was begun with another teacher or other speech."""
    known = read_facts(order)
    _refuse(order, [f"another {name}" for name, value in sources(facts).items() if known.get(name) != value])


def read_facts(order: Search) -> dict[str, Any]:
    """What the search was begun with; raises SpeechpressError when it was written by a newer version."""
    known = read_json(order.out / FACTS)
    schema = known.get("schema")
    # Not isinstance, for which true is an int.
    if type(schema) is not int or schema > SCHEMA:
        raise SpeechpressError(f"{order.out / FACTS}: was written by a newer speechpress; pip install -U speechpress")
    return known


def _refuse(order: Search, changed: list[str]) -> None:
    if changed:
        raise SpeechpressError(
            f"{order.out}: holds another search ({'; '.join(changed)}). Resume it with the words that it was begun "
            "with, or start a new one with another --out"
        )
