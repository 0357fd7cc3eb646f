"""`compress search`: walk through shapes of a student, measure each, train those within the budget, keep one table.

The owner draws shapes and writes the table; workers measure and train (`search_trial`). A search that was killed goes
on from its table: what ended is kept, what was running begins anew.
"""

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import write_json, write_text
from speechpress.runtime.errors import CheckFailed, SpeechpressError

from .recipe import Recipe
from .recipe_file import differences, parse_recipe
from .search_report import Report
from .search_rows import AXES, FAILED, RUNNING, SKIPPED, TRIALS, Row, Rows, blank, finished, front, nearest
from .search_sampler import Sampler, require_optuna
from .search_space import Shape, Space, cheapest, check_choices, described, recipe_shape
from .search_trial import Clock, Facts, Job, SearchStopped, check_room, outline, run_trial, survey
from .workers import Heard, Workers

SCHEMA = 1
FACTS, RECIPE, SPACE, LOG, STUDENTS = "search.json", "recipe.yaml", "space.yaml", "workers.log", "students"
WEIGHTS = ("model.safetensors", "heads.safetensors", "resume.safetensors")
FAR, ENOUGH = 1.5, 3  # times the budget, by the best of so many measurements: not even measured
ATTEMPTS, STREAK = 2, 3  # of a trial whose process is killed; of failures after which it is no accident
MIN_ROOM_BYTES = 500_000_000
Listen = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Search:
    """What was asked for.

    `recipe` is whose student is changed, `proxy` the same with the steps of a trial; `axis` is "chunk" or "second":
    which latency is weighed against fidelity. The budget is always for a chunk.
    """

    recipe: Recipe
    proxy: Recipe
    space: Space
    data: tuple[Path, ...]
    out: Path
    clock: Clock
    budget_ms: float
    trials: int
    jobs: int = 1
    axis: str = "chunk"
    train_device: str = "auto"
    resume: bool = False
    notes: tuple[str, ...] = ()

    @property
    def job(self) -> Job:
        return Job(self.proxy, self.data, self.train_device, self.out / STUDENTS, self.clock, self.budget_ms)


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


def no_shape(order: Search, rows: list[Row]) -> SpeechpressError:
    """What to say when nothing met the budget."""
    closest = nearest(rows)
    if closest is None or closest["over_ms"] <= 0:
        reasons = Counter(row["reason"] for row in rows if row["state"] == FAILED)
        words = f": {reasons.most_common(1)[0][0]}" if reasons else ""
        return SpeechpressError(f"{order.out}: no trial ended with a student{words}. See {order.out / LOG}")
    return CheckFailed(
        f"no shape meets {order.budget_ms:g} ms on {order.clock.address}: of {len(finished(rows))} the nearest is "
        f"trial {closest['trial']} ({described(closest['shape'])}) with {closest['p50_ms']:.2f} ms per chunk of "
        f"{closest['chunk_ms']:g} ms. Raise --budget-ms, or give --space smaller shapes"
    )


@dataclass
class Walk:
    """A search as it goes on: the table, and what is yet to be looked at."""

    order: Search
    facts: Facts
    found: list[Row]
    listen: Listen
    rows: dict[int, Row] = field(init=False)
    queue: list[tuple[int | None, Shape]] = field(default_factory=list)  # with a number: was running before
    probes: list[Shape] = field(
        default_factory=list
    )  # the cheapest shapes: if none of them meets the budget, none does
    attempts: Counter[int] = field(default_factory=Counter)
    streak: int = 0

    def __post_init__(self) -> None:
        order = self.order
        self.rows = {row["trial"]: row for row in self.found}
        self.sampler = Sampler(order.space, finished(self.found), AXES[order.axis], order.proxy.train.seed)
        self.notes = list(order.notes)
        for row in self.found:
            if row["state"] == RUNNING:
                self._claim(order.space.shape(order.space.numbers(row["shape"])), row["trial"])
        small = cheapest(order.space, order.proxy, self.facts.encoder, self.facts.width)
        self.probes = [{**small, "quantize": scheme} for scheme in order.space.quantize] or [small]
        own = recipe_shape(order.space, order.proxy)
        for shape in [*self.probes, *([own] if own else [])]:
            self._claim(shape)

    @property
    def table(self) -> list[Row]:
        return [self.rows[number] for number in sorted(self.rows)]

    def run(self, workers: Workers) -> None:
        """Work until there are enough trials, or no more shapes."""
        if not self._wanted() and not self.queue_of_killed():
            self._note(f"{len(self.rows)} trials are there already; ask for more with a larger --trials")
            return
        while True:
            while workers.idle and (drawn := self.draw()) is not None:
                number, shape = drawn
                row = self.rows[number]
                workers.start(number, run_trial, self.order.job, self.facts, number, shape, row["estimate_ms"])
            if not workers.calls:
                return
            for heard in workers.wait():
                self.hear(heard)

    def queue_of_killed(self) -> list[int]:
        return [number for number, _ in self.queue if number is not None]

    def draw(self) -> tuple[int, Shape] | None:
        """The next trial for a worker, put down as running, or None; shapes that need no worker are settled."""
        while self.queue or self._wanted():
            number, shape = self._pop()
            if shape is None:
                self._note(f"all {self.order.space.size} shapes of the space were looked at")
                return None
            if number is None:
                number = max(self.rows, default=-1) + 1
            try:
                row = outline(self.order.proxy, self.facts, number, shape)
            except SpeechpressError as error:
                self._settle(blank(number, shape) | {"state": FAILED, "reason": str(error)})
                continue
            row["estimate_ms"] = self.estimate_ms(row)
            if self._far(row, shape):
                self._settle(row | self._far_words(row))
                continue
            self._write(row)
            return number, shape
        return None

    def _pop(self) -> tuple[int | None, Shape | None]:
        killed = self.queue_of_killed()
        if self.queue and (killed or self._wanted()):
            return self.queue.pop(0)
        return None, self.sampler.next()

    def _wanted(self) -> bool:
        return len(self.rows) < self.order.trials

    def hear(self, heard: Heard) -> None:
        """Take down what a worker says; raises what ends the search."""
        number = heard.call
        if heard.kind == "told":
            self.listen({"event": "stage", "trial": number, "text": heard.value})
            return
        if heard.kind == "failed" and isinstance(heard.value, SearchStopped):
            raise heard.value
        row = self.rows[number]
        if heard.kind == "done":
            self._settle(heard.value)
            self._give_up_when_hopeless()
        elif heard.kind == "lost" and self.attempts[number] + 1 < ATTEMPTS:
            self.attempts[number] += 1
            self.queue.insert(0, (number, self.order.space.shape(self.order.space.numbers(row["shape"]))))
        else:
            self._settle(row | {"state": FAILED, "reason": _reason(heard)})
            self._give_up_when_all_fail(row["trial"])

    def estimate_ms(self, row: Row) -> float | None:
        """At the fastest rate that was measured with this quantisation; None before there are enough measurements."""
        scheme = row["shape"].get("quantize")
        rates = [
            other["macs"] / other["p50_ms"]
            for other in self.rows.values()
            if other["p50_ms"] is not None and other["shape"].get("quantize") == scheme
        ]
        return row["macs"] / max(rates) if len(rates) >= ENOUGH else None

    def _far(self, row: Row, shape: Shape) -> bool:
        estimate = row["estimate_ms"]
        return estimate is not None and estimate > FAR * self.order.budget_ms and shape not in self.probes

    def _far_words(self, row: Row) -> dict[str, Any]:
        words = f"over budget by measurement of others: {row['estimate_ms']:.2f} ms per chunk at their fastest rate"
        return {"state": SKIPPED, "reason": words, "over_ms": row["estimate_ms"] - self.order.budget_ms}

    def _claim(self, shape: Shape, number: int | None = None) -> None:
        if self.sampler.claim(shape) is not None:
            self.queue.append((number, shape))

    def _write(self, row: Row) -> None:
        self.rows[row["trial"]] = row
        Rows(self.order.out / TRIALS).add(row)

    def _settle(self, row: Row) -> None:
        self._write(row)
        self.sampler.learn(row)
        self._tidy()
        self.streak = self.streak + 1 if row["state"] == FAILED else 0
        ended = len(finished(self.table))
        self.listen({"event": "trial", "row": row, "ended": ended, "trials": self.order.trials})

    def _tidy(self) -> None:
        """Only students of the front keep their weights."""
        kept = {row["trial"] for row in front(self.table, AXES[self.order.axis])}
        for row in finished(self.table):
            folder = self.order.out / STUDENTS / f"{row['trial']:04d}"
            for name in WEIGHTS if row["trial"] not in kept else ():
                (folder / name).unlink(missing_ok=True)

    def _give_up_when_hopeless(self) -> None:
        numbers = [self.order.space.numbers(shape) for shape in self.probes]
        ended = [row for row in finished(self.table) if self.order.space.numbers(row["shape"]) in numbers]
        if len(ended) == len(numbers) and all(row["state"] == SKIPPED for row in ended):
            raise no_shape(self.order, self.table)

    def _give_up_when_all_fail(self, number: int) -> None:
        if self.streak >= STREAK:
            reason = self.rows[number]["reason"]
            raise SpeechpressError(
                f"{self.order.out}: the last {STREAK} trials failed, trial {number} because: {reason}. Mend that, and "
                f"go on with --resume; what the workers said is in {self.order.out / LOG}"
            )

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.listen({"event": "note", "text": text})


def _reason(heard: Heard) -> str:
    if heard.kind == "lost":
        return "its process was killed twice: is memory short?"
    return str(heard.value) if heard.kind == "failed" else heard.value.splitlines()[-1]
