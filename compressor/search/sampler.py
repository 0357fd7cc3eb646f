"""Which shape is looked at next: Optuna's multi-objective TPE, which learns from the rows of the table.

TPE (Bergstra et al. 2011; several objectives: Ozaki et al. 2022, doi:10.1613/jair.1.13188) with the budget as a
constraint. The study is in memory and made anew from the rows when a search goes on: there is one record, not two.
Several searches can share one, see `shared`.
"""

import itertools
import random
import warnings
from collections.abc import Iterable
from typing import Any

from speechpress.runtime.errors import SpeechpressError

from .rows import DONE, FAILED, Row, latency
from .space import Shape, Space

STARTUP, ATTEMPTS = 8, 20  # shapes drawn at random first; draws until one is new
DIRECTIONS = ("maximize", "minimize")
LEAST = -1.0  # the fidelity of a shape that was not trained: it must not look good


def require_optuna() -> Any:
    """The module; raises SpeechpressError with the command that installs it."""
    # An extra of the package: only this command needs it.
    try:
        import optuna
    except ImportError as error:
        raise SpeechpressError(
            f"compress search needs Optuna ({error}); install it with: pip install 'speechpress[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Sampler:
    """Suggests shapes of a space, none twice; hears what became of them.

    Args:
        space: where to look.
        rows: finished ones of the same search.
        axis: the column of latency that is an objective, beside fidelity.
        seed: of the draws.
    """

    full = False  # of a study that several share: whether it has as many trials as are wanted

    def __init__(self, space: Space, rows: Iterable[Row], axis: str, seed: int = 0) -> None:
        self.optuna, self.space, self.axis = require_optuna(), space, axis
        rows = list(rows)
        # With the count of rows: a search that goes on must not draw again what it drew at first.
        self.draw = random.Random(f"{seed}/{len(rows)}")
        optuna = self.optuna
        self.distributions = {
            # Choices lie in order, the cheap ones first, so neighbours are alike; schemes of quantisation are no scale.
            name: (
                optuna.distributions.CategoricalDistribution(range(len(choices)))
                if name == "quantize"
                else optuna.distributions.IntDistribution(0, len(choices) - 1)
            )
            for name, choices in space.choices.items()
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "multivariate" may change; it draws keys together, which fit each other
            # constant_liar: workers ask before others have answered, and shall not all go to the same place.
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=STARTUP, seed=seed + len(rows), multivariate=True, constant_liar=True
            )
            self.study = self._study(sampler)
        self.asked: dict[tuple[int, ...], Any] = {}
        self.seen: set[tuple[int, ...]] = set()
        for row in rows:
            self._remember(row)

    def _study(self, sampler: Any) -> Any:
        return self.optuna.create_study(directions=DIRECTIONS, sampler=sampler)

    def claim(self, shape: Shape) -> Shape | None:
        """A shape that is looked at whatever the sampler thinks; None when it was already."""
        return self._ask_for(self.space.numbers(shape))

    def number(self, shape: Shape) -> int | None:
        """That of a shape that was suggested or claimed; None where the owner counts by itself."""
        return None

    def others(self, known: Iterable[int]) -> list[Row]:
        """Rows that others have written since, of a study that several share."""
        return []

    def give_back(self) -> None:
        """Let go of what was suggested and is not done."""

    def next(self) -> Shape | None:
        """A shape that was not looked at yet; None when there is none left."""
        if len(self.seen) >= self.space.size:
            return None
        # In a small space TPE comes back to what it knows.
        for _ in range(ATTEMPTS):
            shape = self._ask()
            if shape is not None:
                return shape
        return self._ask_for(self._unseen())

    def learn(self, row: Row) -> None:
        """What became of a shape that was suggested or claimed."""
        trial = self.asked.pop(self._key(self.space.numbers(row["shape"])))
        if row["state"] == FAILED:
            self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
            return
        # Above 0 is over the constraint, for Optuna too.
        trial.set_constraint("over_budget_ms", row["over_ms"])
        self.study.tell(trial, self._values(row))

    def _ask_for(self, numbers: dict[str, int]) -> Shape | None:
        # Through its queue, so that Optuna knows the shape as a trial of its own.
        self.study.enqueue_trial(numbers)
        return self._ask()

    def _ask(self) -> Shape | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self.study.ask(self.distributions)
        key = self._key(trial.params)
        if key in self.seen:
            # A trial that is asked for and never told would count as running for ever.
            self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
            return None
        self.seen.add(key)
        self.asked[key] = trial
        return self.space.shape(trial.params)

    def _remember(self, row: Row) -> None:
        numbers = self.space.numbers(row["shape"])
        self.seen.add(self._key(numbers))
        if row["state"] != FAILED:
            trial = self.optuna.trial.create_trial(
                params=numbers,
                distributions=self.distributions,
                values=self._values(row),
                constraints={"over_budget_ms": row["over_ms"]},
            )
            self.study.add_trial(trial)

    def _values(self, row: Row) -> list[float]:
        return [row["fidelity"] if row["state"] == DONE else LEAST, latency(row, self.axis)]

    def _key(self, numbers: dict[str, int]) -> tuple[int, ...]:
        return tuple(numbers[name] for name in self.space.choices)

    def _unseen(self) -> dict[str, int]:
        """A shape at random; by counting through the space when draws keep hitting what was seen."""
        sizes = {name: len(choices) for name, choices in self.space.choices.items()}
        for _ in range(1000):
            numbers = {name: self.draw.randrange(size) for name, size in sizes.items()}
            if self._key(numbers) not in self.seen:
                return numbers
        # Random draws are cheap until nearly all is seen.
        return next(numbers for numbers in _all(sizes) if self._key(numbers) not in self.seen)


def _all(sizes: dict[str, int]) -> Iterable[dict[str, int]]:
    for numbers in itertools.product(*map(range, sizes.values())):
        yield dict(zip(sizes, numbers, strict=True))
