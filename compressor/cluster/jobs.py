"""What a job has of its worker, what is heard of it, and what does jobs; see `executor` for those that there are."""

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from speechpress.runtime.errors import SpeechpressError

ATTEMPTS = 3  # of a job whose process is killed, until it is said to be at fault


@dataclass(frozen=True)
class Desk:
    """What a job has of its worker: `tell` sends words to the owner; `beside` is how many work on this host at once."""

    tell: Callable[[Any], None]
    beside: int = 1


@dataclass(frozen=True)
class Heard:
    """What came of a call: kind is told, done, failed (value: the SpeechpressError), broke (value: a trace) or lost."""

    kind: str
    call: Any
    value: Any = None


class Executor(Protocol):
    """`count` calls at a time at most; see `executor.open_executor`. What they print goes to `log`."""

    @property
    def log(self) -> Path | str: ...

    @property
    def idle(self) -> int:
        """How many calls it would take now."""

    @property
    def calls(self) -> list[Any]:
        """Those that are worked on."""

    def start(self, call: Any, function: Callable[..., Any], *arguments: Any) -> None:
        """Have `function(desk, *arguments)` done, under the name `call`; all of it is pickled."""

    def wait(self, timeout_s: float | None = None) -> list[Heard]:
        """What was heard since, at the latest after that time; nothing when nothing is worked on."""

    def stop(self) -> None:
        """End all that is worked on, now."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def reason(heard: Heard) -> str:
    """Why a job has no result, in one line."""
    if heard.kind == "lost":
        return f"it was killed {ATTEMPTS} times: was it out of memory?"
    return str(heard.value) if heard.kind == "failed" else str(heard.value).splitlines()[-1]


def answer(desk: Desk, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """In a worker: what became of a call, as it is sent to the owner."""
    try:
        return "done", function(desk, *arguments)
    except SpeechpressError as error:
        # Made anew from its words: a cause may hold what cannot be pickled.
        return "failed", type(error)(str(error))
    except Exception:
        trace = traceback.format_exc()
        sys.stderr.write(trace)
        return "broke", trace.strip()
