"""Several runs of `compress distill` next to each other, for benchmarks that compare students."""

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from speechpress.compressor.models.checkpoint import read_json

DISTIL = (sys.executable, "-m", "speechpress.compressor.cli.main", "distill")


@dataclass(frozen=True)
class Job:
    """One student: the name of its folder, its recipe, what is changed of it, and runs that must be there before it.

    `whole_first`: it hears whole recordings for the first half of its steps.
    """

    name: str
    recipe: str
    settings: tuple[str, ...]
    after: str | None = None
    whole_first: bool = False


@dataclass(frozen=True)
class Place:
    """Where students are trained: on what speech, by which teacher, into which folder, on which device."""

    data: tuple[Path, ...]
    teacher: str
    work: Path
    device: str = "auto"
    keep_targets: Path | None = None


def finished(out: Path) -> bool:
    return (out / "card.json").is_file() and bool(read_json(out / "card.json").get("finished"))


def command(place: Place, job: Job) -> list[str]:
    """`compress distill` for a job, going on with what was begun."""
    out = place.work / job.name
    state = "--resume" if (out / "resume.safetensors").is_file() else "--overwrite"
    words: list[object] = [*DISTIL, "--recipe", job.recipe, "--teacher", place.teacher, "--out", out, state]
    words += ["--device", place.device, *(word for folder in place.data for word in ("--data", folder))]
    if place.keep_targets is not None:
        kind = "clusters" if any("clusters" in setting for setting in job.settings) else "layers"
        words += ["--keep-targets", place.keep_targets / kind, "--set", "train.crops=fixed"]
    return [str(word) for word in [*words, *(word for setting in job.settings for word in ("--set", setting))]]


def distil(place: Place, job: Job) -> None:
    """One run, unless it has been finished; what it prints goes to WORK/NAME.log."""
    if finished(place.work / job.name):
        return
    started = time.monotonic()
    with (place.work / f"{job.name}.log").open("w") as log:
        done = subprocess.run(command(place, job), stdout=log, stderr=subprocess.STDOUT, check=False)
    state = "done" if done.returncode == 0 else f"failed ({done.returncode}), see {job.name}.log"
    print(f"{job.name}: {state} after {time.monotonic() - started:.0f} s", flush=True)


def distil_all(place: Place, jobs: Sequence[Job], together: int = 1) -> list[Job]:
    """Train the students of all jobs, so many at a time; those that could not be trained."""
    place.work.mkdir(parents=True, exist_ok=True)
    chains = [[job, *(other for other in jobs if other.after == job.name)] for job in jobs if job.after is None]
    chains.sort(key=len, reverse=True)  # the longest first: nobody waits for it at the end
    with ThreadPoolExecutor(together) as pool:
        list(pool.map(lambda chain: [distil(place, job) for job in chain], chains))
    return [job for job in jobs if not finished(place.work / job.name)]
