"""`compress search`: walk through shapes of a student, measure each, train those within the budget, keep one table.

The owner draws shapes and writes the table; workers measure and train (`search_trial`). A search that was killed goes
on from its table: what ended is kept, what was running begins anew.
"""

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from speechpress.runtime.atomic import write_json, write_text
from speechpress.runtime.errors import SpeechpressError

from .recipe_file import differences, parse_recipe
from .search_report import Report
from .search_rows import TRIALS, Row, Rows, finished
from .search_sampler import require_optuna
from .search_space import check_choices
from .search_trial import Facts, SearchStopped, check_room, survey
from .search_walk import LOG, STUDENTS, Listen, Search, Walk, no_shape
from .workers import Workers

SCHEMA = 1
FACTS, RECIPE, SPACE = "search.json", "recipe.yaml", "space.yaml"
MIN_ROOM_BYTES = 500_000_000


@dataclass(frozen=True)
class Outcome:
    """How a search ended: `finished` is False when it was interrupted."""

    finished: bool
    document: dict[str, Any]


def search(order: Search, listen: Listen) -> Outcome:
    """Search, or go on with a search; `listen` hears events: begin, note, stage, trial.

    Returns:
        What `compress search --json` prints, and whether it came to its end.

    Raises:
        CheckFailed: no shape meets the budget; the nearest is named.
        SearchStopped: the device is gone or the disk is full; the search can go on later.
        SpeechpressError: bad input, a folder in use, a search of something else, or trials that all fail.
    """
    require_optuna()
    new = check_folder(order)
    try:
        with Workers(order.jobs, order.out / LOG) as workers:
            said: Callable[[Any], None] = lambda words: listen({"event": "stage", "trial": None, "text": words})  # noqa: E731
            facts = workers.call(said, survey, order.job)
            check_choices(order.space, order.proxy, facts.encoder, facts.width)
            rows = go_on(order, facts) if order.resume else begin(order, facts)
            new = False
            return _walk(Walk(order, facts, rows, listen), workers)
    finally:
        if new:
            shutil.rmtree(order.out, ignore_errors=True)


def _walk(walk: "Walk", workers: Workers) -> Outcome:
    order, ended = walk.order, True
    walk.listen(
        {"event": "begin", "trials": order.trials, "ended": len(finished(walk.table)), "size": order.space.size}
    )
    report = Report(
        *(order.recipe, order.space, order.out, order.budget_ms, order.axis),
        *(order.clock.address, order.proxy.train.steps, order.proxy.teacher),
    )
    try:
        walk.run(workers)
    except KeyboardInterrupt:
        ended = False
    except SpeechpressError:
        with contextlib.suppress(SpeechpressError):  # of a full disk, say, which is what is being said already
            report.write(walk.table)
        raise
    workers.stop()
    written = report.write(walk.table)
    if written["best"] is None and ended:
        raise no_shape(order, walk.table)
    facts = {"out": str(order.out), "device": order.clock.address, "budget_ms": order.budget_ms, "axis": order.axis}
    return Outcome(
        ended, {**facts, "steps": order.proxy.train.steps, **written, "notes": walk.notes, "finished": ended}
    )


def check_folder(order: Search) -> bool:
    """Make the folder, where it is not there; whether it was made.

    Raises SpeechpressError for a folder in use, nothing to resume, or a disk that is nearly full.
    """
    out = order.out
    if order.resume and not (out / FACTS).is_file():
        raise SpeechpressError(f"{out}: there is no search to resume; leave out --resume to start one")
    if not order.resume and out.exists() and (not out.is_dir() or any(out.iterdir())):
        words = "Use --resume to go on with the search there, or" if (out / FACTS).is_file() else "Choose"
        raise SpeechpressError(f"{out}: is not empty. {words} another --out")
    new = not out.exists()
    try:
        (out / STUDENTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpeechpressError(f"{out}: cannot be written ({error}); choose another folder with --out") from error
    try:
        check_room(out, MIN_ROOM_BYTES)
    except SearchStopped as error:
        if new:
            shutil.rmtree(out, ignore_errors=True)
        raise SpeechpressError(f"{error}, or choose another folder with --out") from error
    return new


def identity(order: Search, facts: Facts) -> dict[str, Any]:
    """What makes two searches the same one, beside their recipe."""
    return {
        "budget_ms": order.budget_ms,
        "device": order.clock.address,
        "axis": order.axis,
        "space": order.space.to_dict(),
        "teacher": facts.teacher["sha256"],
        "data": facts.data,
    }


def begin(order: Search, facts: Facts) -> list[Row]:
    """Write down what this search is."""
    write_text(order.out / RECIPE, order.proxy.text())
    write_text(order.out / SPACE, order.space.text())
    hours = {"train_h": facts.train_h, "valid_h": facts.valid_h}
    about = {"schema": SCHEMA, "teacher_card": facts.teacher, "steps": order.proxy.train.steps, **hours}
    write_json(order.out / FACTS, {**about, **identity(order, facts)})
    return []


def go_on(order: Search, facts: Facts) -> list[Row]:
    """The rows so far.

    Raises SpeechpressError when the folder holds a search of something else.
    """
    known = json.loads((order.out / FACTS).read_text(encoding="utf-8"))
    if known.get("schema", SCHEMA + 1) > SCHEMA:
        raise SpeechpressError(f"{order.out / FACTS}: was written by a newer speechpress; pip install -U speechpress")
    before = parse_recipe((order.out / RECIPE).read_text(encoding="utf-8"), str(order.out / RECIPE))
    changed = differences(before, order.proxy)
    for name, value in json.loads(json.dumps(identity(order, facts))).items():
        if known.get(name) != value:
            short = name in ("space", "data", "teacher")
            changed.append(f"another {name}" if short else f"{name}: {known.get(name)} -> {value}")
    if changed:
        raise SpeechpressError(
            f"{order.out}: holds another search ({'; '.join(changed)}). Resume it with the words that it was begun "
            "with, or start a new one with another --out"
        )
    return Rows(order.out / TRIALS).restart()
