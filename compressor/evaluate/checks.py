"""What can be seen to be wrong before any features are made, and what is wrong with results."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from speechpress.runtime.errors import SpeechpressError

from ..data.sounds import Sound, check_sounds, durations_s
from ..models.config import SAMPLE_RATE
from ..tasks.kinds import KINDS, is_error, quality
from ..tasks.task import FLOORS, Task
from .features import Upstream
from .retention import wide_interval
from .solve import TaskScore

BELOW_CHANCE = 0.05  # how far an interval may end below a guess


def check_tasks(tasks: Sequence[Task], upstreams: Iterable[Upstream], limit_s: float | None = None) -> float:
    """Seconds of audio in all, after a look at every file.

    Raises SpeechpressError for files that are missing, shorter than a frame, or longer than an upstream can hear, and
    for tasks that an upstream has too few frames for. `limit_s` bounds clips beside the upstreams' own limits.
    """
    # Walked through several times, which an iterator does not stand.
    listeners = list(upstreams)
    receptive_s = max(upstream.receptive_samples for upstream in listeners) / SAMPLE_RATE
    for task in tasks:
        check_sounds((item.sound for item in task.items), receptive_s, f"task {task.name!r}")
    # A set: a recording that serves several tasks is heard once.
    lengths = durations_s({item.sound for task in tasks for item in task.items})
    limits = [limit for limit in (limit_s, *(upstream.limit_s for upstream in listeners)) if limit is not None]
    if limits and max(lengths.values()) > min(limits):
        raise SpeechpressError(
            f"this bundle does not stream and runs at most {min(limits):g} s at once, but the longest clip has "
            f"{max(lengths.values()):.1f} s; export it with --offline-seconds {max(lengths.values()) + 1:.0f}"
        )
    for task in tasks:
        for upstream in listeners:
            _check_frame_rate(task, upstream, lengths)
    return sum(lengths.values())


def _check_frame_rate(task: Task, upstream: Upstream, lengths_s: Mapping[Sound, float]) -> None:
    kind, hop_ms = KINDS[task.kind], 1000 * upstream.hop_samples / SAMPLE_RATE
    if kind.grid_samples is not None and upstream.hop_samples > kind.grid_samples:
        raise SpeechpressError(
            f"task {task.name!r}: decides every {1000 * kind.grid_samples / SAMPLE_RATE:g} ms, but an upstream has "
            f"a frame every {hop_ms:g} ms only; leave the task out with --tasks"
        )
    if not kind.tokens:
        return
    train, shrink = task.part("train"), kind.stacked(upstream.hop_samples)
    tight = [item for item in train if upstream.frames(lengths_s[item.sound]) // shrink < len(item.target)]
    # A few clips that are too tight count as 0 in the loss; when most are, nothing is learned.
    if len(tight) > len(train) // 2:
        raise SpeechpressError(
            f"task {task.name!r}: an upstream with a frame every {hop_ms:g} ms has fewer frames than tokens in "
            f"{len(tight)} of {len(train)} clips, so nothing can be transcribed; leave the task out with --tasks"
        )


def remarks(tasks: Sequence[Task], scores: Mapping[str, Mapping[str, TaskScore]]) -> list[str]:
    """What is unusual in the results: a student above its teacher, a floor above the student."""
    found = []
    for task in tasks:
        sign = -1 if is_error(task.metric) else 1
        signed = {name: sign * score.test for name, score in scores[task.name].items()}
        if signed["student"] > signed.get("teacher", float("inf")):
            found.append(f"{task.name}: the student is above its teacher")
        # -9 stands for a floor that is not there: error rates exceed 1, but not by so much.
        above = [name for name in FLOORS if signed.get(name, -9.0) > signed["student"]]
        if above:
            found.append(
                f"{task.name}: {' and '.join(above)} above the student: the student kept nothing of the teacher here"
            )
    return found


def complaints(tasks: Mapping[str, dict[str, Any]], kinds: Mapping[str, str]) -> list[str]:
    """What must not be, in the entries of `suite.entry`, beyond what 95 % intervals over clips and seeds allow.

    A floor or a student above the teacher; anything below a blind guess; shuffled labels above one.
    """
    found = []
    for name, task in tasks.items():
        better = {who: wide_interval(task, who) for who in task["ci95"] if task["ci95"][who] is not None}
        teacher = better.get("teacher")
        for who, (low, high) in better.items():
            if teacher and who != "teacher" and low > teacher[1]:
                found.append(f"{name}: {who} ({_shown(task, who)}) is above the teacher ({_shown(task, 'teacher')})")
            if task["chance"] is not None and high < quality(task["metric"], task["chance"]) - BELOW_CHANCE:
                found.append(f"{name}: {who} ({_shown(task, who)}) is below chance ({task['chance']:.3f})")
        if (said := _too_good(name, task, kinds[name])) is not None:
            found.append(said)
    return found


def _shown(task: dict[str, Any], who: str) -> str:
    low, high = task["ci95"][who]
    return f"{task['metric']} {task[who]:.3f}, {low:.3f} to {high:.3f}"


def _too_good(name: str, task: dict[str, Any], kind: str) -> str | None:
    shuffled = task.get("shuffled")
    if shuffled is None or task["chance"] is None:
        return None
    # The better end must not reach chance: by luck alone some heads are above it.
    low = min(quality(task["metric"], end) for end in shuffled["ci95"])
    if low <= quality(task["metric"], task["chance"]) + KINDS[kind].slack:
        return None
    return (
        f"{name}: with shuffled labels {shuffled['of']} still gets {task['metric']} {shuffled['test']:.3f}, but "
        f"chance is {task['chance']:.3f}: the clips or the splits leak the answers"
    )
