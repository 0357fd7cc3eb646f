"""Processes that work side by side, one call at a time each, and stand still while one of them is timing.

A worker holds one permit while it works. Who wants silence takes the turnstile, so that nobody gets a new permit, and
then all permits; who works for long steps aside now and then. A worker that dies may take permits along, so then all
are ended and start afresh; the owner is told which calls were lost.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError

PATIENCE_S = 5.0


class Quiet:
    """Permits to work, and silence."""

    def __init__(self, workers: int) -> None:
        # A forked process would have the locks of threads that it has not.
        context = multiprocessing.get_context("spawn")
        self.workers, self.permits = workers, context.Semaphore(workers)
        self.turnstile, self.turn = context.Lock(), context.Lock()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Hold a permit."""
        with self.turnstile:
            self.permits.acquire()
        try:
            yield
        finally:
            self.permits.release()

    def step_aside(self) -> None:
        """Let those who want silence have it, and go on after them; the caller holds a permit."""
        self.permits.release()
        with self.turnstile:
            self.permits.acquire()

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Nobody else works; the caller holds a permit."""
        self.permits.release()
        with self.turnstile:
            for _ in range(self.workers):
                self.permits.acquire()
            try:
                yield
            finally:
                for _ in range(self.workers - 1):  # one stays: the caller goes on working
                    self.permits.release()

    @contextlib.contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Nobody else is in here, but they may work: what is timed is elsewhere."""
        with self.turn:
            yield


@dataclass
class Desk:
    """What a call has of its worker: `tell` sends words to the owner."""

    quiet: Quiet
    tell: Callable[[Any], None]


@dataclass
class Worker:
    """One process, and the call that it works on."""

    process: BaseProcess
    pipe: Connection
    call: Any = None


@dataclass(frozen=True)
class Heard:
    """What came of a call: kind is told, done, failed (value: the SpeechpressError), broke (value: a trace) or lost."""

    kind: str
    call: Any
    value: Any = None


@dataclass
class Workers:
    """`count` processes; what they print goes to the file `log`."""

    count: int
    log: Path
    workers: list[Worker] = field(default_factory=list)
    quiet: Quiet = field(init=False)

    def __enter__(self) -> "Workers":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.quiet = Quiet(self.count)  # kept: semaphores that nobody holds here are gone before a worker opens them
        for _ in range(self.count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, self.quiet, str(self.log), os.getpid()), daemon=False
            )
            process.start()
            # While this end is open here, no EOF tells that the worker has died.
            theirs.close()
            self.workers.append(Worker(process, ours))

    @property
    def idle(self) -> int:
        return sum(worker.call is None for worker in self.workers)

    @property
    def calls(self) -> list[Any]:
        """Those that are worked on."""
        return [worker.call for worker in self.workers if worker.call is not None]

    def start(self, call: Any, function: Callable[..., Any], *arguments: Any) -> None:
        """Give an idle worker `function(desk, *arguments)` to do, under the name `call`; all of it is pickled."""
        worker = next(worker for worker in self.workers if worker.call is None)
        worker.call = call
        worker.pipe.send((function, arguments))

    def wait(self, timeout_s: float | None = None) -> list[Heard]:
        """What was heard since, at the latest after that time."""
        heard: list[Heard] = []
        pipes = {worker.pipe: worker for worker in self.workers}
        for pipe in wait(list(pipes), timeout_s):
            worker = pipes[pipe]  # type: ignore[index]
            try:
                kind, value = worker.pipe.recv()
            except (EOFError, OSError):
                return [*heard, *self._start_afresh()]
            heard.append(Heard(kind, worker.call, value))
            if kind != "told":
                worker.call = None
        return heard

    def call(self, hear: Callable[[Any], None], function: Callable[..., Any], *arguments: Any) -> Any:
        """Do one thing and wait for it; `hear` is called with what it tells.

        Raises:
            SpeechpressError: what it raised, or that its process was killed.
        """
        self.start("call", function, *arguments)
        while True:
            for item in self.wait():
                if item.kind == "told":
                    hear(item.value)
                if item.kind == "done":
                    return item.value
                if item.kind == "failed":
                    raise item.value
                if item.kind in ("broke", "lost"):
                    words = (
                        item.value.splitlines()[-1] if item.kind == "broke" else "it was killed: was it out of memory?"
                    )
                    raise SpeechpressError(f"a worker process ended: {words} (its log: {self.log})")

    def stop(self) -> None:
        """End all of them, now; those that work are interrupted."""
        for worker in self.workers:
            worker.pipe.close()
            # Those that are idle end by themselves when their pipe does.
            if worker.call is not None:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join(PATIENCE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self.workers.clear()

    def _start_afresh(self) -> list[Heard]:
        lost = [Heard("lost", call) for call in self.calls]
        self.stop()
        self._start()
        return lost


def _serve(pipe: Connection, quiet: Quiet, log: str, owner: int) -> None:
    """A worker's life: calls come in, what becomes of them goes out."""
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
    desk = Desk(quiet, lambda words: pipe.send(("told", words)))
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        with quiet.working():
            answer = _answer(desk, function, arguments)
        pipe.send(answer)


def _answer(desk: Desk, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "done", function(desk, *arguments)
    except SpeechpressError as error:
        # Made anew from its words: a cause may hold what cannot be pickled.
        return "failed", type(error)(str(error))
    except Exception:
        trace = traceback.format_exc()
        sys.stderr.write(trace)
        return "broke", trace.strip()


def _end_with(owner: int) -> None:
    """A worker whose owner was killed would wait for ever."""
    while os.getppid() == owner:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
