"""All tasks of all upstreams solved, a few at a time: the heads are too small to keep two cores busy with one."""

import math
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import probes
from .downstream import Budget
from .feature_store import FeatureStore
from .features import Upstream
from .models.events import OnText
from .outcome_store import ScoreStore, score_key
from .solve import TaskScore, solve
from .tasks.task import Task


@dataclass(frozen=True)
class Job:
    """One task on one upstream; `label` says which task it is, when there are several of a name."""

    label: str
    task: Task
    upstream: str


class _Stopped(Exception):
    """Raised inside of a job that is no longer wanted."""


def solve_jobs(
    jobs: Sequence[Job],
    upstreams: Mapping[str, Upstream],
    kept: Mapping[str, FeatureStore],
    budget: Budget,
    scores: ScoreStore,
    workers: int,
    listen: OnText,
) -> dict[tuple[str, str], TaskScore]:
    """Scores by (label, upstream); the same numbers whatever `workers` is.

    A score is kept as soon as it is there, so that a run that is interrupted goes on where it was.
    """
    run = _Run(upstreams, kept, budget, scores, listen, len(jobs))
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    with probes.one_thread():
        if workers == 1:
            run.work(waiting)
        else:
            _in_threads(run, waiting, workers)
    return run.found


class _Run:
    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        kept: Mapping[str, FeatureStore],
        budget: Budget,
        scores: ScoreStore,
        listen: OnText,
        count: int,
    ) -> None:
        self.upstreams, self.kept, self.budget, self.scores = upstreams, kept, budget, scores
        self.listen, self.count = listen, count
        self.found: dict[tuple[str, str], TaskScore] = {}
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self._lock, self._started, self._solved = threading.Lock(), time.monotonic(), 0

    def work(self, waiting: "queue.SimpleQueue[Job]") -> None:
        """Solve what waits until nothing does, or somebody says stop."""
        while not self.stop.is_set():
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            self._solve(job)

    def _solve(self, job: Job) -> None:
        upstream = self.upstreams[job.upstream]
        key = score_key(job.task, upstream.key, self.budget) if upstream.key else ""
        score = self.scores.get(key) if key else None
        known = score is not None
        if score is None:
            score = solve(job.task, self.kept[job.upstream], upstream.hop_samples, self.budget, self._breathe)
            if key:
                self.scores.put(key, score)
        with self._lock:
            self.found[job.label, job.upstream] = score
            self._solved += not known
            self.listen(self._line(job, score, known))

    def _line(self, job: Job, score: TaskScore, known: bool) -> str:
        done = len(self.found)
        each_s = (time.monotonic() - self._started) / max(1, self._solved)
        left_s = each_s * (self.count - done)
        left = f", about {math.ceil(left_s / 60)} min left" if done < self.count and not known else ""
        said = f"{job.label} {job.upstream}: {job.task.metric} {score.test:.3f}"
        return f"{said}{' (kept from before)' if known else ''}  [{done} of {self.count}{left}]"

    def _breathe(self) -> None:
        if self.stop.is_set():
            raise _Stopped


def _in_threads(run: _Run, waiting: "queue.SimpleQueue[Job]", workers: int) -> None:
    threads = [threading.Thread(target=_guarded, args=(run, waiting), daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:  # also when the run is interrupted
        run.stop.set()
        for thread in threads:
            thread.join()
    if run.error is not None:
        raise run.error


def _guarded(run: _Run, waiting: "queue.SimpleQueue[Job]") -> None:
    try:
        run.work(waiting)
    except _Stopped:
        return
    except BaseException as error:  # to be raised where the threads were started
        run.error = run.error or error
        run.stop.set()
