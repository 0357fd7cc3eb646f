"""Options and places that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; words for people on stderr.")]
RUNS, BUNDLES, PROFILES = Path("runs"), Path("bundles"), Path("profiles")
