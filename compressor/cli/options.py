"""What several commands share: options, places, the log, and how a command that fails ends."""

import logging
import os
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import readable_name
from speechpress.runtime.json_file import json_text

from .help.looks import DEVICE, OUTPUT, TRAINING, choices

BATCH = "Batch job"  # a group of options in help, beside those of `looks`
SHOWN_LETTERS = 200  # of a name that the system refuses, which may be endless
RUNS, BUNDLES, PROFILES = Path("runs"), Path("bundles"), Path("profiles")

# One definition for all commands: scripts rely on --json meaning the same everywhere.
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on stdout; messages go to stderr.", rich_help_panel=OUTPUT),
]
KeepTargets = Annotated[
    Path | None,
    typer.Option(
        help="Keep the teacher's outputs in this folder, so that each clip passes through the teacher once.",
        rich_help_panel=TRAINING,
    ),
]
KeepTargetsGb = Annotated[float, typer.Option(help="Size limit of --keep-targets, in GB.", rich_help_panel=TRAINING)]
TrainingDevice = Annotated[
    str,
    typer.Option(help="Where to train.", metavar=choices("auto", "cpu", "cuda", "mps"), rich_help_panel=TRAINING),
]
FeatureDevice = Annotated[
    str,
    typer.Option(help="Where to compute features.", metavar=choices("cpu", "cuda", "mps"), rich_help_panel=DEVICE),
]
Executor = Annotated[
    str,
    typer.Option(
        help="Where jobs run: processes of this machine, ray, or ray:ADDRESS of a cluster.",
        metavar=choices("processes", "ray", "..."),
        rich_help_panel=DEVICE,
    ),
]
Submit = Annotated[
    str | None,
    typer.Option(
        help="Run as a job of slurm:PARTITION or local; with --dry-run, only show its script.",
        show_default="run here",
        rich_help_panel=BATCH,
    ),
]
Nodes = Annotated[int, typer.Option(min=1, help="--submit: number of machines.", rich_help_panel=BATCH)]
Gpus = Annotated[
    int,
    typer.Option(
        min=0, help="--submit: GPUs per machine, one process each; 0 for one process on the CPU.", rich_help_panel=BATCH
    ),
]
Hours = Annotated[
    float,
    typer.Option(min=0.02, help="--submit: time limit; a job that is cut short is resumed.", rich_help_panel=BATCH),
]
GoOn = Annotated[
    bool,
    typer.Option(
        "--go-on",
        help="Start the run in --out, or resume it if it has begun; for torchrun, which restarts.",
        rich_help_panel=OUTPUT,
    ),
]


def resume_words(out: Path) -> str:
    """The words of this call with which the run in `out` continues."""
    # --overwrite would throw away what is to be resumed.
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    # A folder that was chosen for the user is not in the words yet.
    named = [] if any(word == "--out" or word.startswith("--out=") for word in words) else ["--out", str(out)]
    return shlex.join([*words, *named, "--resume"])


def check_go_on(go_on: bool, out: Path | None, resume: bool, overwrite: bool) -> None:
    """Raises SpeechpressError for --go-on without a folder, or beside what says otherwise."""
    if go_on and out is None:
        raise SpeechpressError("--go-on: name the run with --out, so that a restart finds it")
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
        raise SpeechpressError(f"{out}: is not empty. Use --resume to continue the run there, or another --out")
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
    advice = "check the name and the permissions"
    return SpeechpressError(f"{shown}: {error.strerror}; {advice}")


def filled(text: str, stream: TextIO) -> str:
    """Text for a stream: on a terminal, lines are broken between words; elsewhere they stay whole."""
    if not stream.isatty():
        return text
    width = os.get_terminal_size(stream.fileno()).columns or 80
    whole = {"break_long_words": False, "break_on_hyphens": False}
    return "\n".join(textwrap.fill(line, width, **whole) for line in text.split("\n"))  # type: ignore[arg-type]


def complain(text: str) -> None:
    """Say what went wrong, on stderr."""
    sys.stderr.write(filled(f"error: {text}", sys.stderr) + "\n")


def fail(error: SpeechpressError, json: bool) -> NoReturn:
    """Say what went wrong, on stderr, and with --json as the one document on stdout, and exit."""
    if json:
        sys.stdout.write(json_text({"error": str(error)}, ascii=True) + "\n")
    complain(str(error))
    raise SystemExit(error.exit_code)


class LogLines(logging.StreamHandler[TextIO]):
    """The log on stderr. A live bar replaces sys.stderr, and only what goes there lands above it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        own = sys.__stderr__
        # A log that goes into a file stays there.
        return sys.stderr if own is None or own.isatty() else own

    def format(self, record: logging.LogRecord) -> str:
        return filled(super().format(record), sys.__stderr__ or sys.stderr)
