"""Which folder a run gets, and which is the newest."""

from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

from ..models.events import OnText

JOINT, CUT = "-joint", "-cut"  # of the folders beside a run in which pruning leaves what the run starts from


def choose_folder(out: Path | None, runs: Path, name: str, resume: bool) -> Path:
    """`out` as given; else a new folder under `runs`, or with `resume` the newest unfinished one.

    Raises SpeechpressError when there is no unfinished run.
    """
    if out is not None:
        return out
    if resume:
        states = sorted(runs.glob("*/resume.safetensors"), key=lambda path: path.stat().st_mtime)
        if not states:
            raise SpeechpressError(f"--resume: there is no unfinished run under {runs}; name its folder with --out")
        folder = states[-1].parent
        return folder.with_name(folder.name.removesuffix(JOINT))
    number = 1
    while _taken(folder := runs / (name if number == 1 else f"{name}-{number}")):
        number += 1
    return folder


def _taken(folder: Path) -> bool:
    """Whether a folder is there, or what a command that was stopped had put beside it first."""
    return any(folder.with_name(folder.name + ending).exists() for ending in ("", JOINT, CUT))


def newest(runs: Path, say: OnText) -> Path:
    """The newest checkpoint under `runs`, said aloud."""
    from ..models.checkpoint import newest_checkpoint

    folder = newest_checkpoint(runs)
    say(f"no checkpoint given; using the newest: {folder}")
    return folder
