"""`compress search`: walk through shapes of a student, measure each, train those within the budget, keep one table.

The owner draws shapes and writes the table; workers measure and train (`trial`). A search that was killed goes
on from its table: what ended is kept, what was running begins anew.
"""

import contextlib
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from speechpress.runtime.errors import SpeechpressError

from ..cluster.executor import call, open_executor
from ..cluster.jobs import Executor
from ..models.events import OnEvent
from .folder import LOG, begin, check_folder, check_sources, go_on
from .report import Report
from .rows import RUNNING, Row, finished
from .sampler import require_optuna
from .shared import open_storage
from .space import check_choices
from .trial import survey
from .walk import Search, Walk, no_shape


@dataclass(frozen=True)
class Outcome:
    """How a search ended: `finished` is False when it was interrupted."""

    finished: bool
    document: dict[str, Any]


def search(order: Search, listen: OnEvent) -> Outcome:
    """Search, or go on with a search; `listen` hears events: begin, note, stage, trial.

    Returns:
        What `compress search --json` prints, and whether it came to its end.

    Raises:
        CheckFailed: no shape meets the budget; the nearest is named.
        SearchStopped: the device is gone or the disk is full; the search can go on later.
        SpeechpressError: bad input, a folder in use, a search of something else, or trials that all fail.
    """
    # Before the folder is made.
    require_optuna()
    if order.storage is not None:
        open_storage(order.storage)
    new = check_folder(order)
    rows = go_on(order) if order.resume else []
    if len(rows) >= order.trials and all(row["state"] != RUNNING for row in rows):
        note = f"{len(rows)} trials already done; request more with a larger --trials"
        listen({"event": "note", "text": note})
        return conclude(order, rows, [*order.notes, note])
    try:
        gpus = 1 if order.train_device == "cuda" else 0
        with open_executor(order.executor, order.jobs, order.out / LOG, gpus) as workers:
            # In a worker: it needs torch, which the owner does without.
            facts = call(workers, partial(_stage, listen), survey, order.job)
            check_choices(order.space, order.proxy, facts.encoder, facts.width)
            if order.resume:
                check_sources(order, facts)
            else:
                begin(order, facts)
            # From here on the folder holds a search, which stays whatever comes.
            new = False
            return walk_on(Walk(order, facts, rows, listen), workers)
    finally:
        if new:
            shutil.rmtree(order.out, ignore_errors=True)


def walk_on(walk: Walk, workers: Executor) -> Outcome:
    """Go through the trials; whatever ends them, what there is is reported in the folder."""
    ended, size = True, walk.order.space.size
    walk.listen({"event": "begin", "trials": walk.order.trials, "ended": len(finished(walk.table)), "size": size})
    try:
        with interruptible():
            walk.run(workers)
    except KeyboardInterrupt:
        ended = False
        walk.sampler.give_back()
    except SpeechpressError:
        with contextlib.suppress(SpeechpressError):  # of a full disk, say, which is what is being said already
            report(walk.order, walk.table)
            walk.sampler.give_back()
        raise
    workers.stop()
    return conclude(walk.order, walk.table, walk.notes, ended)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM, which batch systems send, ends a search as Ctrl-C does; so does Ctrl-C where it was ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def conclude(order: Search, rows: list[Row], notes: list[str], ended: bool = True) -> Outcome:
    # Also when interrupted: the table, the front and the best so far are there.
    """The report of a search; raises CheckFailed when it has ended and no shape met the budget."""
    written = report(order, rows)
    if written["best"] is None and ended:
        raise no_shape(order, rows)
    facts = {"out": str(order.out), "device": order.clock.address, "budget_ms": order.budget_ms, "axis": order.axis}
    steps = order.proxy.train.steps
    return Outcome(ended, {**facts, "steps": steps, **written, "notes": notes, "finished": ended})


def report(order: Search, rows: list[Row]) -> dict[str, Any]:
    """Table, plot and best recipe in the folder; what --json says of them."""
    places = (order.recipe, order.space, order.out, order.budget_ms, order.axis, order.clock.address)
    return Report(*places, order.proxy.train.steps, order.proxy.teacher).write(rows)


def _stage(listen: OnEvent, words: str) -> None:
    listen({"event": "stage", "trial": None, "text": words})
