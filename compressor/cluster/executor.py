"""Independent jobs, done side by side: by processes of this machine, or on a Ray cluster.

Each job is done once: one whose process or node was killed is done again, one whose answer is there never is. A job
that fails says its own name. Whatever ends the owner ends what it has started.
"""

import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from speechpress.runtime.errors import SpeechpressError

ATTEMPTS = 3  # of a job whose process is killed, until it is said to be at fault
PROCESSES, RAY = "processes", "ray"


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
    """`count` calls at a time at most; see `open_executor`. What they print goes to `log`."""

    log: Path | str

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


def check_executor(address: str) -> None:
    """Raises SpeechpressError for what is no executor, and for Ray where it is not installed."""
    kind = address.partition(":")[0]
    if kind not in (PROCESSES, RAY) or address == f"{RAY}:" or address.startswith(f"{PROCESSES}:"):
        raise SpeechpressError(f"--executor {address}: must be processes, ray, or ray:ADDRESS of a cluster")
    if kind == RAY:
        from .on_ray import require_ray

        require_ray()


def open_executor(address: str, count: int, log: Path, gpus: int = 0) -> Executor:
    """Where jobs are done: `address` is "processes", "ray" or "ray:ADDRESS"; `gpus` is what each takes, on Ray.

    Raises SpeechpressError as `check_executor` does.
    """
    check_executor(address)
    kind, _, place = address.partition(":")
    if kind == RAY:
        from .on_ray import OnRay

        return OnRay(place or None, count, gpus)
    from .processes import Processes

    return Processes(count, log)


@dataclass(frozen=True)
class Job:
    """`function(desk, *arguments)`, under a name that people know it by."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


def run_jobs(
    executor: Executor,
    jobs: Iterable[Job],
    hear: Callable[[str, Any], None] = lambda name, words: None,
    done: Callable[[str, Any], None] = lambda name, value: None,
) -> dict[str, Any]:
    """What each job came to, by its name; `hear` is called with what it tells, `done` as soon as it has ended.

    Raises SpeechpressError, with its name, for the first job that fails; the others are ended.
    """
    waiting, found = list(jobs), dict[str, Any]()
    names = [job.name for job in waiting]
    assert len(set(names)) == len(names), "jobs are told apart by their names"
    while waiting or executor.calls:
        while waiting and executor.idle:
            job = waiting.pop(0)
            executor.start(job.name, job.function, *job.arguments)
        for heard in executor.wait():
            if heard.kind == "told":
                hear(heard.call, heard.value)
            elif heard.kind == "done":
                found[heard.call] = heard.value
                done(heard.call, heard.value)
            else:
                raise failure(heard, executor.log)
    return found


def call(executor: Executor, hear: Callable[[Any], None], function: Callable[..., Any], *arguments: Any) -> Any:
    """Do one thing and wait for it; raises SpeechpressError when it fails, without a name."""
    executor.start("call", function, *arguments)
    while True:
        for heard in executor.wait():
            if heard.kind == "told":
                hear(heard.value)
            elif heard.kind == "done":
                return heard.value
            else:
                raise failure(heard, executor.log, name=False)


def failure(heard: Heard, log: Path | str, *, name: bool = True) -> SpeechpressError:
    """What to raise for a job that failed."""
    who = f"{heard.call}: " if name else ""
    if heard.kind == "failed":
        return type(heard.value)(f"{who}{heard.value}")
    words = reason(heard)
    return SpeechpressError(f"{who}a worker process ended: {words} (its words are in {log})")


def reason(heard: Heard) -> str:
    """Why a job has no result, in one line."""
    if heard.kind == "lost":
        return f"it was killed {ATTEMPTS} times: is memory short?"
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
