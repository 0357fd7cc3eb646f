"""How a command that fails ends: one clean line, and with --json one document."""

import os
import sys
from typing import NoReturn

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import readable_name
from speechpress.runtime.json_file import json_text

SHOWN_LETTERS = 200  # of a name that the system refuses, which may be endless


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
