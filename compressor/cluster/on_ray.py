"""Jobs on a Ray cluster: Ray places them, and does those of a killed process or node again.

Ray keeps small answers with the owner, so a node that dies takes no answer along that was given already.
"""

import contextlib
import socket
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from speechpress.runtime.errors import SpeechpressError

from .code import code_hash
from .jobs import ATTEMPTS, Desk, Heard, answer

LOOK_S = 0.1


def require_ray() -> Any:
    """The module; raises SpeechpressError with the command that installs it."""
    try:
        import ray
    except ImportError as error:
        raise SpeechpressError(
            f"--executor ray needs Ray ({error}); install it with: pip install 'speechpress[ray]'"
        ) from error
    return ray


class OnRay:
    """An `Executor`, see there: `count` jobs at a time, each of one core and `gpus` GPUs.

    Args:
        address: of a cluster; None is the one of this machine, or RAY_ADDRESS, or a new one.
        count: at a time at most; Ray starts as many of them as it has room for.
        gpus: of each job.
    """

    log = "the logs of Ray"

    def __init__(self, address: str | None, count: int, gpus: int = 0) -> None:
        self.address, self.count, self.gpus = address, count, gpus
        self._running: dict[Any, Any] = {}  # reference -> call
        self._words: Any = None

    def __enter__(self) -> Self:
        self.ray = ray = require_ray()
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # A thread of Ray prints what becomes of nodes to stdout, whatever it is told, where a document may be awaited.
        self._stdout = contextlib.redirect_stdout(sys.stderr)
        self._stdout.__enter__()
        self._own = not ray.is_initialized()
        if self._own:
            try:
                ray.init(self.address, log_to_driver=False, logging_level="ERROR", configure_logging=False)
            except (ConnectionError, ValueError) as error:
                raise SpeechpressError(f"--executor ray:{self.address}: there is no Ray cluster ({error})") from error
        # Beside the owner: with another node it would be lost.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._words = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        self._there = ray.remote(num_cpus=1, num_gpus=self.gpus, max_retries=ATTEMPTS - 1)(_answer_there)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        try:
            self._words.shutdown(force=True)
            if self._own:
                self.ray.shutdown()
        finally:
            self._stdout.__exit__(None, None, None)

    @property
    def idle(self) -> int:
        return self.count - len(self._running)

    @property
    def calls(self) -> list[Any]:
        return list(self._running.values())

    def start(self, call: Any, function: Callable[..., Any], *arguments: Any) -> None:
        reference = self._there.options(name=str(call)).remote(self._words, call, code_hash(), function, arguments)
        self._running[reference] = call

    def wait(self, timeout_s: float | None = None) -> list[Heard]:
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while self._running:
            ready, _ = self.ray.wait(list(self._running), num_returns=1, timeout=LOOK_S)
            # After what has ended was asked for: what it told before has arrived by then.
            heard = [*self._told(), *map(self._ended, ready)]
            if heard or (end is not None and time.monotonic() >= end):
                return heard
        return []

    def stop(self) -> None:
        for reference in self._running:
            self.ray.cancel(reference, force=True)
        self._running.clear()

    def _told(self) -> list[Heard]:
        # The node of the words may die as well; work does not fail for it.
        with contextlib.suppress(self.ray.exceptions.RayError):
            count = self._words.qsize()
            return [Heard("told", *item) for item in self._words.get_nowait_batch(count)] if count else []
        return []

    def _ended(self, reference: Any) -> Heard:
        call = self._running.pop(reference)
        try:
            return Heard(*_kind_first(call, self.ray.get(reference)))
        except self.ray.exceptions.RayTaskError as error:  # such as code that a node does not have
            return Heard("broke", call, str(error).strip())
        except self.ray.exceptions.RayError as error:
            return Heard("lost", call, str(error))


def _kind_first(call: Any, answered: tuple[str, Any]) -> tuple[str, Any, Any]:
    return answered[0], call, answered[1]


def _answer_there(
    words: Any, call: Any, code: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> tuple[str, Any]:
    """On a node: refuse what other code has asked for, else do it."""
    if code != code_hash():
        host = socket.gethostname()
        return "failed", SpeechpressError(
            f"node {host} runs other code (sources {code_hash()}, here {code}); install one version everywhere"
        )

    def tell(told: Any) -> None:
        # What is told is for people; work does not fail for it.
        with contextlib.suppress(Exception):
            words.put_nowait((call, told))

    return answer(Desk(tell), function, arguments)
