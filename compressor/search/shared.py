"""A study that several searches share, on one host or many: in a journal file, or in a database.

Each search has a folder of its own and all the rows; of the study it takes trials that nobody else has, and writes what
came of them. Which trial is whose follows from the order in which the storage numbered them, so no two do the same, and
no clock is asked.
"""

import contextlib
import hashlib
import json
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text

from .rows import FAILED, Row
from .sampler import DIRECTIONS, Sampler, require_optuna
from .space import Shape, Space

WAIT_S, LOOK_S, ATTEMPTS = 20.0, 0.05, 3
ABOUT, ROW = "search", "row-"  # attributes of a study: what it is of, and what came of a trial


@dataclass(frozen=True)
class Place:
    """Where a study is, how many trials all of its searches want together, and who this one of them is."""

    storage: str
    study: str
    trials: int
    who: str


def open_storage(address: str) -> Any:
    """Optuna's storage of "journal:FILE" or a database's URL.

    Raises SpeechpressError for what is neither, and for what cannot be opened.
    """
    optuna = require_optuna()
    kind, _, rest = address.partition(":")
    shown = re.sub(r"://[^/@]*@", "://...@", address)  # without a password
    try:
        if kind == "journal" and rest:
            backend = optuna.storages.journal.JournalFileBackend(rest)
            return optuna.storages.JournalStorage(backend)
        if rest.startswith("//"):
            # Others may be writing: SQLite gives up after 5 s by default.
            more = {"connect_args": {"timeout": 60}} if kind == "sqlite" else {}
            return _database(lambda: optuna.storages.RDBStorage(address, engine_kwargs=more))
    except Exception as error:  # each database has its own
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SpeechpressError(
            f"--storage {shown}: cannot be opened ({words}); is its folder there, its server up, its driver installed?"
        ) from error
    raise SpeechpressError(
        f"--storage {shown}: must be journal:FILE, on a disk that all hosts share, or the URL of a database, such as "
        "sqlite:///FILE or postgresql://HOST/NAME"
    )


def _database(opened: Callable[[], Any]) -> Any:
    """Of two searches that find no tables both make them, and one of them fails; the second time they are there."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(Exception):
            return opened()
        time.sleep(10 * LOOK_S)
    return opened()


class SharedSampler(Sampler):
    """A `Sampler` of a study in a storage.

    Args:
        space, rows, axis, seed: as for a `Sampler`; rows are those that this search knows of.
        place: where the study is.
        of: what it is a study of; all who share it must say the same.

    Raises SpeechpressError when the study is one of something else.
    """

    def __init__(
        self, space: Space, rows: Iterable[Row], axis: str, seed: int = 0, *, place: Place, of: Mapping[str, Any]
    ) -> None:
        self.place, self.of = place, of
        known = list(rows)
        # Each search its own seed: with the same one they would all want the same.
        digest = hashlib.sha256(f"{seed}/{len(known)}/{place.who}".encode()).digest()
        super().__init__(space, [], axis, int.from_bytes(digest[:4], "big") >> 1)
        self.plain = self.study.sampler
        self._settle_what_was_left(known)

    def _study(self, sampler: Any) -> Any:
        storage, name = open_storage(self.place.storage), self.place.study
        # Through JSON, as what is kept goes: tuples are lists there.
        about = _plain(self.of)
        try:
            # Only one can make it; all others read what it is of, and wait if that does not stand there yet.
            study = self.optuna.create_study(
                study_name=name, storage=storage, directions=list(DIRECTIONS), sampler=sampler
            )
            study.set_user_attr(ABOUT, about)
            return study
        except self.optuna.exceptions.DuplicatedStudyError:
            study = self.optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        end = time.monotonic() + WAIT_S
        while ABOUT not in study.user_attrs and time.monotonic() < end:
            time.sleep(LOOK_S)
        self._require_same(study.user_attrs.get(ABOUT), about)
        return study

    def _require_same(self, found: Any, wanted: dict[str, Any]) -> None:
        if not isinstance(found, dict):
            raise SpeechpressError(f"--study {self.place.study}: is none of speechpress; choose another --study")
        other = [key for key in sorted(found.keys() | wanted.keys()) if found.get(key) != wanted.get(key)]
        if other:
            words = "; ".join(_difference(key, found.get(key), wanted.get(key)) for key in other)
            raise SpeechpressError(
                f"--study {self.place.study}: is that of another search ({words}). Share it with the words that it was "
                "begun with, or choose another --study"
            )

    def _settle_what_was_left(self, known: Iterable[Row]) -> None:
        """What a killed search had done and not told is told; what it had begun is let go, for anyone to do."""
        mine = {row["trial"]: row for row in known}
        running = self.optuna.trial.TrialState.RUNNING
        for trial in self.study.get_trials(deepcopy=False, states=(running,)):
            if trial.number in mine:
                self._tell(trial.number, mine[trial.number])
            elif trial.user_attrs.get("by") == self.place.who:
                self._drop(trial.number)

    def next(self) -> Shape | None:
        self._look()
        return None if self.full else super().next()

    def number(self, shape: Shape) -> int | None:
        return self.asked[self._key(self.space.numbers(shape))].number

    def others(self, known: Iterable[int]) -> list[Row]:
        have, mine = set(known), {trial.number for trial in self.asked.values()}
        return [row for row in self._rows().values() if row["trial"] not in have | mine]

    def give_back(self) -> None:
        for trial in self.asked.values():
            self._drop(trial.number)
        self.asked.clear()

    def learn(self, row: Row) -> None:
        trial = self.asked.pop(self._key(self.space.numbers(row["shape"])))
        if row["state"] != FAILED:
            trial.set_constraint("over_budget_ms", row["over_ms"])
        self._tell(trial.number, row)

    def _tell(self, number: int, row: Row) -> None:
        # First the row: a trial that failed counts by it, and one that is done is never without it.
        self.study.set_user_attr(f"{ROW}{number}", _plain(row))
        if row["state"] == FAILED:
            self._drop(number)
        else:
            self.study.tell(number, self._values(row), skip_if_finished=True)

    def _drop(self, number: int) -> None:
        self.study.tell(number, state=self.optuna.trial.TrialState.FAIL, skip_if_finished=True)

    def _ask_for(self, numbers: dict[str, int]) -> Shape | None:
        # Not by Optuna's queue, from which another search might take it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.study.sampler = self.optuna.samplers.PartialFixedSampler(numbers, self.plain)
        try:
            return self._ask()
        finally:
            self.study.sampler = self.plain

    def _ask(self) -> Shape | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self.study.ask(self.distributions)
        trial.set_user_attr("by", self.place.who)
        earlier = self._counted(self._earlier(trial.number))
        self.full = len(earlier) >= self.place.trials
        key = self._key(trial.params)
        if self.full or key in {self._key(other.params) for other in earlier if self._whole(other)}:
            self._drop(trial.number)
            self.seen.add(key)
            return None
        self.seen.add(key)
        self.asked[key] = trial
        return self.space.shape(trial.params)

    def _earlier(self, number: int) -> list[Any]:
        """All trials of lower numbers, once each says its shape: who has the lowest number of a shape has the shape."""
        end = time.monotonic() + WAIT_S
        while True:
            trials = [trial for trial in self.study.get_trials(deepcopy=False) if trial.number < number]
            running = self.optuna.trial.TrialState.RUNNING
            # One whose search was killed just then never will.
            silent = [trial for trial in trials if trial.state == running and not self._whole(trial)]
            if not silent or time.monotonic() >= end:
                return trials
            time.sleep(LOOK_S)

    def _whole(self, trial: Any) -> bool:
        return trial.params.keys() == self.distributions.keys()

    def _counted(self, trials: Iterable[Any]) -> list[Any]:
        """Without those that were let go."""
        rows, failed = self._rows(), self.optuna.trial.TrialState.FAIL
        return [trial for trial in trials if trial.state != failed or trial.number in rows]

    def _look(self) -> None:
        """See what others have taken since."""
        counted = self._counted(self.study.get_trials(deepcopy=False))
        self.seen = {self._key(trial.params) for trial in counted if self._whole(trial)}
        self.full = len(counted) >= self.place.trials

    def _rows(self) -> dict[int, Row]:
        attributes = self.study.user_attrs.items()
        return {int(name.removeprefix(ROW)): row for name, row in attributes if name.startswith(ROW)}


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json_text(dict(document)))


def _difference(key: str, found: Any, wanted: Any) -> str:
    """Long things by their name alone."""
    short = all(isinstance(value, str | int | float) and len(str(value)) < 30 for value in (found, wanted))
    return f"{key}: {found} -> {wanted}" if short else f"another {key}"
