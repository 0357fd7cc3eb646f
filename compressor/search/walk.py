"""A search as it goes on: which shape is next, what is skipped, what a worker's answer means, and when to give up."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import CheckFailed, SpeechpressError

from ..cluster.jobs import Executor, Heard, reason
from ..export.clock import DeviceClock
from ..models.events import OnEvent
from ..recipe.schema import Recipe
from .rows import AXES, FAILED, RUNNING, SKIPPED, TRIALS, Row, Rows, finished, front, nearest
from .sampler import Sampler
from .shared import Place, SharedSampler
from .space import Shape, Space, cheapest, described, recipe_shape
from .trial import Facts, Job, SearchStopped, outline, run_trial

STUDENTS = "students"
WEIGHTS = ("model.safetensors", "heads.safetensors", "resume.safetensors")
FAR, ENOUGH = 1.5, 3  # times the budget, by the best of so many measurements: not even measured
STREAK = 3  # failures after which it is no accident


@dataclass(frozen=True)
class Search:
    """What was asked for.

    `recipe` is whose student is changed, `proxy` the same with the steps of a trial; `axis` is "chunk" or "second":
    which latency is weighed against fidelity. The budget is always for a chunk. `executor` is where trials are done,
    see `cluster.executor`; `storage` and `study` are where several searches share theirs, see `shared`.
    """

    recipe: Recipe
    proxy: Recipe
    space: Space
    data: tuple[Path, ...]
    out: Path
    clock: DeviceClock
    budget_ms: float
    trials: int
    jobs: int = 1
    axis: str = "chunk"
    train_device: str = "auto"
    resume: bool = False
    executor: str = "processes"
    storage: str | None = None
    study: str = "speechpress"
    notes: tuple[str, ...] = ()

    @property
    def job(self) -> Job:
        return Job(self.proxy, self.data, self.train_device, self.out / STUDENTS, self.clock, self.budget_ms)


def asked(order: Search) -> dict[str, Any]:
    """What makes two searches the same one, beside their recipe, teacher and speech."""
    words = {"budget_ms": order.budget_ms, "device": order.clock.address, "axis": order.axis}
    return {**words, "space": order.space.to_dict()}


def sources(facts: Facts) -> dict[str, Any]:
    """Which teacher and speech these are, wherever they lie."""
    return {"teacher": facts.teacher["sha256"], "data": facts.data}


@dataclass
class Walk:
    """A search as it goes on: the table, and what is yet to be looked at."""

    order: Search
    facts: Facts
    found: list[Row]
    listen: OnEvent
    rows: dict[int, Row] = field(init=False)
    queue: list[tuple[int | None, Shape]] = field(default_factory=list)  # with a number: was running before
    probes: list[Shape] = field(default_factory=list)  # the cheapest: if none of them meets the budget, none does
    streak: int = 0

    def __post_init__(self) -> None:
        order = self.order
        self.rows = {row["trial"]: row for row in self.found}
        self.sampler = self._sampler()
        self.notes = list(order.notes)
        for row in self.found:
            if row["state"] == RUNNING:
                self._begin_again(row)
        small = cheapest(order.space, order.proxy, self.facts.encoder, self.facts.width)
        self.probes = [{**small, "quantize": scheme} for scheme in order.space.quantize] or [small]
        own = recipe_shape(order.space, order.proxy)
        self.queue += [(None, shape) for shape in [*self.probes, *([own] if own else [])]]

    def _sampler(self) -> Sampler:
        order, rows = self.order, finished(self.found)
        words = (order.space, rows, AXES[order.axis], order.proxy.train.seed)
        if order.storage is None:
            return Sampler(*words)
        # With the chip: the same address is another machine on another host, and its milliseconds are no measure here.
        about = {"recipe": order.proxy.to_dict(), "chipset": self.facts.chipset}
        identity = {**asked(order), **sources(self.facts), **about}
        return SharedSampler(*words, place=Place(order.storage, order.study, order.trials, str(order.out)), of=identity)

    def _begin_again(self, row: Row) -> None:
        """What was running when a search was killed begins anew: under its number, if that is for the owner to say."""
        shape = self.order.space.shape(self.order.space.numbers(row["shape"]))
        if self.order.storage is not None:
            del self.rows[row["trial"]]
            self.queue.append((None, shape))
        elif self.sampler.claim(shape) is not None:
            self.queue.append((row["trial"], shape))

    @property
    def table(self) -> list[Row]:
        return [self.rows[number] for number in sorted(self.rows)]

    def run(self, workers: Executor) -> None:
        """Work until there are enough trials, or no more shapes."""
        while True:
            while workers.idle and (drawn := self.draw()) is not None:
                number, shape = drawn
                row = self.rows[number]
                workers.start(number, run_trial, self.order.job, self.facts, number, shape, row["estimate_ms"])
            if not workers.calls:
                self.take_in()
                return
            for heard in workers.wait():
                self.hear(heard)

    def draw(self) -> tuple[int, Shape] | None:
        """The next trial for a worker, put down as running, or None; shapes that need no worker are settled."""
        self.take_in()
        while self._begun() or self._wanted():
            number, shape = self._pop()
            if shape is None:
                if not self.sampler.full:
                    self._note(f"all {self.order.space.size} shapes of the space were tried")
                return None
            if number is None:
                number = self.sampler.number(shape)
            if number is None:
                number = max(self.rows, default=-1) + 1
            row = outline(self.order.proxy, self.facts, number, shape)
            row["estimate_ms"] = self.estimate_ms(row)
            if self._far(row, shape):
                self._settle(row | self._far_words(row))
                continue
            # Before it starts, so that a killed search knows the number as taken.
            self._write(row)
            return number, shape
        return None

    def _pop(self) -> tuple[int | None, Shape | None]:
        while self.queue:
            number, shape = self.queue.pop(0)
            if number is not None:
                return number, shape
            # Not before it is wanted: of a study that several share, it would stand there as one's own.
            if (claimed := self.sampler.claim(shape)) is not None:
                return None, claimed
        return None, self.sampler.next()

    def _begun(self) -> bool:
        """Whether the queue starts with a trial that has its number already: those come first, wanted or not."""
        return bool(self.queue) and self.queue[0][0] is not None

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
        else:
            self._settle(row | {"state": FAILED, "reason": reason(heard)})
            self._give_up_when_all_fail(row["trial"])

    def estimate_ms(self, row: Row) -> float | None:
        """At the fastest rate that was measured with this quantisation; None before there are enough measurements."""
        scheme = row["shape"].get("quantize")
        # The fastest, so that the estimate is too low rather than too high: no shape that might fit is passed over.
        rates = [
            other["macs"] / other["p50_ms"]
            for other in self.rows.values()
            if other["p50_ms"] is not None and other["shape"].get("quantize") == scheme
        ]
        return row["macs"] / max(rates) if len(rates) >= ENOUGH else None

    def _far(self, row: Row, shape: Shape) -> bool:
        estimate = row["estimate_ms"]
        # The cheapest shapes are measured whatever is expected: they decide whether there is any hope.
        return estimate is not None and estimate > FAR * self.order.budget_ms and shape not in self.probes

    def _far_words(self, row: Row) -> dict[str, Any]:
        words = f"over budget by measurement of others: {row['estimate_ms']:.2f} ms per chunk at their fastest rate"
        return {"state": SKIPPED, "reason": words, "over_ms": row["estimate_ms"] - self.order.budget_ms}

    def take_in(self) -> None:
        """Put down what others have found, where several share one study."""
        for row in self.sampler.others(self.rows):
            self._write(row)
            ended = len(finished(self.table))
            self.listen({"event": "trial", "row": row, "ended": ended, "trials": self.order.trials})

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
            # Table and figures need no weights; those of all trials would fill a disk.
            for name in WEIGHTS if row["trial"] not in kept else ():
                (folder / name).unlink(missing_ok=True)

    def _give_up_when_hopeless(self) -> None:
        numbers = [self.order.space.numbers(shape) for shape in self.probes]
        ended = [row for row in finished(self.table) if self.order.space.numbers(row["shape"]) in numbers]
        # If the cheapest shape is too slow under every scheme, all are.
        if len(ended) == len(numbers) and all(row["state"] == SKIPPED for row in ended):
            raise no_shape(self.order, self.table)

    def _give_up_when_all_fail(self, number: int) -> None:
        if self.streak >= STREAK:
            reason = self.rows[number]["reason"]
            raise SpeechpressError(
                f"{self.order.out}: the last {STREAK} trials failed, trial {number} because: {reason}. Fix that, and "
                f"continue with --resume; the workers' log is {self.order.out}/workers.log"
            )

    def _note(self, text: str) -> None:
        """Said once, however many workers ask for more."""
        if text not in self.notes:
            self.notes.append(text)
            self.listen({"event": "note", "text": text})


def no_shape(order: Search, rows: list[Row]) -> SpeechpressError:
    """What to say when nothing met the budget."""
    closest = nearest(rows)
    if closest is None or closest["over_ms"] <= 0:
        reasons = Counter(row["reason"] for row in rows if row["state"] == FAILED)
        words = f": {reasons.most_common(1)[0][0]}" if reasons else ""
        return SpeechpressError(f"{order.out}: no trial ended with a student{words}. See {order.out}/workers.log")
    return CheckFailed(
        f"no shape meets {order.budget_ms:g} ms on {order.clock.address}: the nearest of {len(finished(rows))} tried "
        f"is trial {closest['trial']} ({described(closest['shape'])}) with {closest['p50_ms']:.2f} ms per chunk of "
        f"{closest['chunk_ms']:g} ms. Raise --budget-ms, or give --space smaller shapes"
    )
