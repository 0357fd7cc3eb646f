"""What several commands share: options, places, and how one that fails ends."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import readable_name
from speechpress.runtime.json_file import json_text

# One definition for all commands: scripts rely on --json meaning the same everywhere.
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; words for people on stderr.")]
KeepTargets = Annotated[
    Path | None,
    typer.Option(help="Folder for what the teacher says of each clip, so that it is heard once (train.crops=fixed)."),
]
OutOfRun = Annotated[Path | None, typer.Option(help="Folder of the run; by default a new one under ./runs.")]
Track = Annotated[str, typer.Option(help="Curves as well in: tensorboard, wandb or trackio; offline.")]
Teacher = Annotated[str | None, typer.Option(help="Hub id, folder, file or torchaudio:NAME; else the recipe's.")]
Data = Annotated[
    list[Path] | None, typer.Option(help="Folder, manifest, Shar or another toolkit's corpus; may be repeated.")
]
Starter = Annotated[
    bool, typer.Option("--starter", help="Teacher, speech and number of steps that come with the package.")
]
Submit = Annotated[str | None, typer.Option(help="As a job: of slurm:PARTITION, or local. --dry-run shows its script.")]
Nodes = Annotated[int, typer.Option(min=1, help="--submit: how many machines.")]
Gpus = Annotated[int, typer.Option(min=0, help="--submit: GPUs of each, a process each; 0: one process on its CPU.")]
Hours = Annotated[float, typer.Option(min=0.02, help="--submit: for how long; a job that is cut short goes on.")]
Executor = Annotated[
    str, typer.Option(help="Where jobs are done: processes of this machine, ray, or ray:ADDRESS of a cluster.")
]
GoOn = Annotated[
    bool,
    typer.Option(
        "--go-on", help="Begin the run in --out, or resume it where it was begun: for torchrun, which starts again."
    ),
]
KeepTargetsGb = Annotated[float, typer.Option(help="Most that --keep-targets may fill, in GB.")]

SHOWN_LETTERS = 200  # of a name that the system refuses, which may be endless
RUNS, BUNDLES, PROFILES = Path("runs"), Path("bundles"), Path("profiles")


def resume_words(out: Path) -> str:
    """The words of this call with which the run in `out` goes on."""
    # --overwrite would throw away what is to be resumed.
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    # A folder that was chosen for the user is not in the words yet.
    named = [] if any(word == "--out" or word.startswith("--out=") for word in words) else ["--out", str(out)]
    return shlex.join([*words, *named, "--resume"])


def check_go_on(go_on: bool, out: Path | None, resume: bool, overwrite: bool) -> None:
    """Raises SpeechpressError for --go-on without a folder, or beside what says otherwise."""
    if go_on and out is None:
        raise SpeechpressError("--go-on: name the run with --out, so that it is found again when this starts anew")
    if go_on and (resume or overwrite):
        raise SpeechpressError("--go-on begins or resumes as it must; leave out --resume and --overwrite")


def submitted(
    asked: tuple[str, int, int, float], out: Path, resume: bool, overwrite: bool, dry_run: bool
) -> tuple[dict[str, Any], str]:
    """Hand this very call to a batch system, and what to say; raises SpeechpressError for a folder in use."""
    from speechpress.runtime.parts import entries

    from ..cluster.submit import Order, submit

    order = Order(*asked)
    if overwrite:
        raise SpeechpressError("--overwrite: a job that starts again would throw away its own run; use another --out")
    # Now, and not when the job has waited for hours.
    if not resume and out.exists() and (not out.is_dir() or entries(out)):
        raise SpeechpressError(f"{out}: is not empty. Use --resume to go on with the run there, or another --out")
    document = submit(order, sys.argv[1:], out, dry_run=dry_run)
    if document["job"] is not None:
        return document, f"job {document['job']} on {document['submit']}   log: {document['log']}"
    return document, f"{document['script'] or ''}\n# on each node\n{shlex.join(document['command'])}"


def distill_settings(sets: Sequence[str], teacher: str | None, starter: bool, keep_targets: Path | None) -> list[str]:
    """The changes to a recipe that the options of `compress distill` stand for; the user's own --set wins."""
    from .. import starter as at_hand

    # What cannot be kept is refused later, so that a --set against it is not overruled in silence.
    kept = ["train.crops=fixed"] if keep_targets else []
    named = [f"teacher={teacher}"] if teacher else []
    return [*(at_hand.settings(teacher) if starter else []), *kept, *sets, *named]


def refused(error: OSError) -> SpeechpressError:
    """What the system says against a file or folder."""
    name = (
        readable_name(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else str(error.filename)
    )
    shown = name if len(name) <= SHOWN_LETTERS else f"{name[:SHOWN_LETTERS]}..."
    advice = "check the name, and whether it may be read or written there"
    return SpeechpressError(f"{shown}: {error.strerror}; {advice}")


def fail(error: SpeechpressError, json: bool) -> NoReturn:
    """Say what went wrong, on stderr, and with --json as the one document on stdout, and exit."""
    if json:
        sys.stdout.write(json_text({"error": str(error)}, ascii=True) + "\n")
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(error.exit_code)
