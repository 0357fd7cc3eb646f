"""Options and places that several commands share."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass


Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; words for people on stderr.")]


RUNS, BUNDLES, PROFILES = Path("runs"), Path("bundles"), Path("profiles")


def resume_words(out: Path) -> str:
    """The words of this call with which the run in `out` goes on."""
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    named = [] if any(word == "--out" or word.startswith("--out=") for word in words) else ["--out", str(out)]
    return shlex.join([*words, *named, "--resume"])


BUNDLES = Path("bundles")
