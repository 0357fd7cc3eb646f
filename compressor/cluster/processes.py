"""Jobs in processes of this machine, by the standard library's pools.

A pool loses all of its work when one of its processes dies; so each process here is a pool of its own, and only the job
of the one that was killed is done again.
"""

import concurrent.futures
import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .jobs import ATTEMPTS, Desk, Heard, answer

LOOK_S, PATIENCE_S = 0.05, 5.0


@dataclass
class Lane:
    """One process and what it works on; `ear` hears its number first, and then what the work tells."""

    pool: ProcessPoolExecutor
    ear: Connection
    mouth: Connection
    pid: int | None = None
    call: Any = None
    work: tuple[Callable[..., Any], tuple[Any, ...]] | None = None
    future: "Future[tuple[str, Any]] | None" = None
    attempts: int = 0


class Processes:
    """An `Executor`, see there. What the processes print goes to the file `log`."""

    def __init__(self, count: int, log: Path) -> None:
        self.count, self.log = count, log
        self._lanes: list[Lane] = []

    def __enter__(self) -> Self:
        self._lanes = [self._lane() for _ in range(self.count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def idle(self) -> int:
        return sum(lane.future is None for lane in self._lanes)

    @property
    def calls(self) -> list[Any]:
        return [lane.call for lane in self._lanes if lane.future is not None]

    @property
    def pids(self) -> list[int]:
        """Of the processes that have begun."""
        for lane in self._lanes:
            self._listen(lane)
        return [lane.pid for lane in self._lanes if lane.pid is not None]

    def start(self, call: Any, function: Callable[..., Any], *arguments: Any) -> None:
        lane = next(lane for lane in self._lanes if lane.future is None)
        lane.call, lane.work, lane.attempts = call, (function, arguments), 0
        self._submit(lane)

    def wait(self, timeout_s: float | None = None) -> list[Heard]:
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            heard = [item for lane in self._lanes for item in self._news(lane)]
            futures = [lane.future for lane in self._lanes if lane.future is not None]
            if heard or not futures or (end is not None and time.monotonic() >= end):
                return heard
            concurrent.futures.wait(futures, LOOK_S, concurrent.futures.FIRST_COMPLETED)

    def stop(self) -> None:
        lanes, self._lanes = self._lanes, []
        busy = [lane for lane in lanes if lane.future is not None]
        for ending in (signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + PATIENCE_S
            for lane in busy:
                self._signal(lane, ending, end)
            running = [lane.future for lane in busy if lane.future is not None]
            concurrent.futures.wait(running, max(0.0, end - time.monotonic()))
        for lane in lanes:
            self._close(lane)

    def _signal(self, lane: Lane, number: int, end: float) -> None:
        """Send a signal to a process that works; one that has only just been started says its number first."""
        assert lane.future is not None
        while lane.pid is None and not lane.future.done() and time.monotonic() < end:
            self._listen(lane)
            time.sleep(LOOK_S / 5)
        if lane.pid is not None and not lane.future.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(lane.pid, number)

    def _lane(self) -> Lane:
        # A forked process would have the locks of threads that it has not.
        context = multiprocessing.get_context("spawn")
        ear, mouth = context.Pipe(duplex=False)
        begin = (mouth, str(self.log), os.getpid())
        return Lane(ProcessPoolExecutor(1, context, _begin, begin), ear, mouth)

    def _close(self, lane: Lane) -> None:
        lane.pool.shutdown(wait=True, cancel_futures=True)
        lane.ear.close()
        lane.mouth.close()

    def _submit(self, lane: Lane) -> None:
        assert lane.work is not None
        lane.attempts += 1
        lane.future = lane.pool.submit(_serve, self.count, *lane.work)
        # The process has it by now; while this end is open here, a word that a kill cut short would be waited for.
        lane.mouth.close()

    def _news(self, lane: Lane) -> list[Heard]:
        if lane.future is None:
            return []
        ended = lane.future.done()  # asked first: what it told before it ended has arrived by then
        heard = [Heard("told", lane.call, words) for words in self._listen(lane)]
        if not ended:
            return heard
        try:
            kind, value = lane.future.result()
        except BrokenProcessPool:
            return [*heard, *self._again(lane)]
        except Exception as error:  # such as an answer that cannot be pickled
            kind, value = "broke", f"{type(error).__name__}: {error}"
        lane.future = None
        return [*heard, Heard(kind, lane.call, value)]

    def _again(self, lane: Lane) -> list[Heard]:
        """The process was killed: a new one does its work again, and no other's."""
        self._close(lane)
        new = self._lane()
        lane.pool, lane.ear, lane.mouth, lane.pid, lane.future = new.pool, new.ear, new.mouth, None, None
        if lane.attempts >= ATTEMPTS:
            return [Heard("lost", lane.call)]
        self._submit(lane)
        return []

    def _listen(self, lane: Lane) -> list[Any]:
        """What it has told since."""
        told = []
        # EOF and OSError: it was killed, maybe in the middle of a word.
        with contextlib.suppress(EOFError, OSError):
            while lane.ear.poll():
                kind, words = lane.ear.recv()
                if kind == "pid":
                    lane.pid = words
                else:
                    told.append(words)
        return told


class _Here:
    """What a worker process knows of its owner."""

    mouth: Connection | None = None


def _begin(mouth: Connection, log: str, owner: int) -> None:
    """The first thing that a worker process does."""
    with contextlib.suppress(OSError):
        os.setsid()  # Ctrl-C is for the owner, which then ends us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exit that gives back what libraries took
    threading.Thread(target=_end_with, args=(owner,), daemon=True).start()
    with open(log, "a", encoding="utf-8") as file:  # noqa: PTH123
        # Below Python: libraries in C print as well.
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    _Here.mouth = mouth
    mouth.send(("pid", os.getpid()))


def _serve(beside: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    mouth = _Here.mouth
    assert mouth is not None
    return answer(Desk(lambda words: mouth.send(("told", words)), beside), function, arguments)


def _end_with(owner: int) -> None:
    """A worker whose owner was killed would wait for ever."""
    while os.getppid() == owner:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
