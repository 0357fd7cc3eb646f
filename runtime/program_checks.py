"""The checks of a bundle that run its program, in a process of their own: native code may end the process it is in.

    python -m speechpress.runtime.program_checks FOLDER [THREADS]

prints a check as JSON on each line, as soon as it is known.

Shapes: S samples, T frames, D width.
"""

import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .bundle import Bundle, read_bundle
from .errors import SpeechpressError
from .parity import Parity, describe, within

Check = dict[str, Any]
PATIENCE_S = 900.0  # for the checks of one bundle, the import of torch on a slow board included


def run_apart(bundle: Bundle, threads: int | None, patience_s: float = PATIENCE_S) -> list[Check]:
    """The checks of `checks`, made in another process; when it dies or hangs, that is a check that failed."""
    # -P: a folder `speechpress` where the user stands would be imported instead of this package.
    words = [sys.executable, "-P", "-m", __name__, str(bundle.path)] + ([str(threads)] if threads else [])
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=patience_s, check=False)
    except subprocess.TimeoutExpired as error:
        # What was printed until then; it is bytes here, even with text=True.
        out = error.stdout or b""
        found = _read(out.decode(errors="replace") if isinstance(out, bytes) else out)
        return [*found, _died(f"the program had not ended after {patience_s:g} s and was stopped")]
    found = _read(done.stdout)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        # A negative code is a signal: native code that crashed.
        reason = f"by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"with {last[:300]}"
        found.append(_died(f"the program ended its process {reason}; do not use this bundle, export it again"))
    return found


def checks(bundle: Bundle, threads: int | None) -> Iterator[Check]:
    """What the program says of itself, and its golden clip."""
    # Here, because verify imports this module.
    from .verify import check_constants, run_golden

    try:
        yield _check("constants", True, check_constants(bundle))
    except SpeechpressError as error:
        yield _check("constants", False, str(error))
    try:
        parity = run_golden(bundle, threads)
    except SpeechpressError as error:
        yield _check("program", False, str(error))
        return
    yield _check("program", True, "runs")
    yield from (_golden(method, figures, bundle) for method, figures in parity.items())


def _golden(method: str, figures: Parity, bundle: Bundle) -> Check:
    tolerance = bundle.document["tolerance"]
    ok = within(figures, tolerance)
    detail = describe(figures) + ("" if ok else f", but must be {describe(tolerance)}")
    finite = {name: value if math.isfinite(value) else None for name, value in figures.items()}  # infinity is no JSON
    return {**_check(f"golden clip, {method}", ok, detail), **finite}


def _check(name: str, ok: bool, detail: str) -> Check:
    return {"name": name, "ok": ok, "detail": detail}


def _died(detail: str) -> Check:
    return _check("program", False, detail)


def _read(lines: str) -> list[Check]:
    """Whole lines only: the last one is cut off when the process dies while it writes."""
    return [json.loads(line) for line in lines.splitlines(keepends=True) if line.endswith("\n")]


def main(words: list[str]) -> int:
    folder, *threads = words
    for check in checks(read_bundle(Path(folder)), int(threads[0]) if threads else None):
        sys.stdout.write(json.dumps(check) + "\n")
        # The next check may end the process, and with it what is buffered.
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
