"""Which tasks a suite has, and opening those that were asked for."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

from . import mini as mini_suite
from . import superb as superb_layouts
from .folder import COLUMNS
from .mini import mini_task
from .mini_emotions import EMODB, EMOTION, has_emotions
from .superb import superb_task
from .task import Task

SUITES = {"mini": tuple(mini_suite.MAKERS), "superb": tuple(superb_layouts.MAKERS)}
TASKS = tuple(dict.fromkeys(name for names in SUITES.values() for name in names))
ALL = "all"


def open_suite(suite: str, tasks: Sequence[str], root: Path, most: int | None = None) -> tuple[list[Task], list[str]]:
    """The tasks of a suite, and notes about what "all" leaves out.

    Args:
        suite: "mini" or "superb".
        tasks: names of the suite's tasks, or "all".
        root: the folder that holds the corpora.
        most: clips per split at most, for superb.

    Raises:
        SpeechpressError: an unknown suite or task, a corpus that is not there or lacks something.
    """
    if suite not in SUITES:
        raise SpeechpressError(f"--suite {suite}: {_choose(suite, tuple(SUITES))}")
    if not root.is_dir():
        raise SpeechpressError(f"--data-root {root}: is not a folder; give the one that holds the corpora")
    if suite == "mini" and most is not None:
        raise SpeechpressError("--clips: is for --suite superb; the mini suite has sizes of its own")
    names, notes = list(SUITES[suite]) if list(tasks) == [ALL] else checked_names(tasks, SUITES[suite]), []
    if suite == "mini" and list(tasks) == [ALL] and not has_emotions(root):
        # Out of "all" only: who names it hears what is missing.
        names.remove("er")
        notes.append(
            f"er is left out: no corpus of emotions is there. Put EmoDB under {root / EMODB} or your own under "
            f"{root / EMOTION} (labels.tsv with path, emotion, speaker), or use --suite superb with IEMOCAP"
        )
    if suite == "mini":
        return [mini_task(name, root) for name in names], notes
    return [superb_task(name, root, most) for name in names], notes


def quick_names(names: Iterable[str], others: Sequence[str] = ()) -> list[str]:
    """Tasks of the quick probes and `others`; raises SpeechpressError for one that is not known, or needs a suite."""
    found = [name.strip() for name in names]
    only = [name for name in found if name in TASKS and name not in COLUMNS]
    if only:
        raise SpeechpressError(f"eval: task {only[0]!r} is one of the suites': add --suite mini and --data-root")
    return checked_names(found, (*COLUMNS, *others))


def checked_names(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Each name once; raises SpeechpressError with a suggestion for one that is not known."""
    found = [name.strip() for name in names if name.strip()]
    for name in found:
        if name not in known:
            raise SpeechpressError(f"eval: there is no task {name!r}; {_choose(name, known)}")
    if not found:
        raise SpeechpressError(f"eval: --tasks names none; choose from {', '.join(known)}")
    return list(dict.fromkeys(found))


def _choose(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    return f"{f'did you mean {near[0]}? ' if near else ''}choose from {', '.join(known)}"
