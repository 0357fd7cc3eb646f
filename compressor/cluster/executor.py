"""Independent jobs, done side by side: by processes of this machine, or on a Ray cluster.

Each job is done once: one whose process or node was killed is done again, one whose answer is there never is. A job
that fails says its own name. Whatever ends the owner ends what it has started.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError

from .jobs import Executor, Heard, reason
from .on_ray import OnRay, require_ray
from .processes import Processes

PROCESSES, RAY = "processes", "ray"


def check_executor(address: str) -> None:
    """Raises SpeechpressError for what is no executor, and for Ray where it is not installed."""
    kind = address.partition(":")[0]
    if kind not in (PROCESSES, RAY) or address == f"{RAY}:" or address.startswith(f"{PROCESSES}:"):
        raise SpeechpressError(f"--executor {address}: must be processes, ray, or ray:ADDRESS of a cluster")
    if kind == RAY:
        require_ray()


def open_executor(address: str, count: int, log: Path, gpus: int = 0) -> Executor:
    """Where jobs are done: `address` is "processes", "ray" or "ray:ADDRESS"; `gpus` is what each takes, on Ray.

    Raises SpeechpressError as `check_executor` does.
    """
    check_executor(address)
    kind, _, place = address.partition(":")
    if kind == RAY:
        return OnRay(place or None, count, gpus)
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
    return SpeechpressError(f"{who}a worker process ended: {words} (its log: {log})")
