"""Whether a bundle does what the checkpoint did: its files, its facts and its golden clip.

Shapes: S samples, T frames, D width.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .bundle import Bundle, check_hashes, read_bundle
from .choice import runs_here
from .errors import SpeechpressError
from .hub.fetch import local_folder
from .hub.manifest import BUNDLE
from .program_checks import Check, run_apart


def verify(folder: str | Path, threads: int | None = None) -> dict[str, Any]:
    """Check a bundle (folder, or USER/NAME on the Hub): {"ok": bool, "checks": [{"name", "ok", "detail"}]}.

    `ok` of a check is None if it was not made.

    Checking stops at the first file that differs from the exported one: a damaged program is never run. An unchanged
    program runs in a separate process, because it could still crash.

    Raises SpeechpressError if the folder is not a bundle.
    """
    folder = local_folder(folder, BUNDLE)
    if not (folder / "bundle.json").exists():
        # Raises: what is no bundle at all is an error, not a check that failed.
        read_bundle(folder)
    checks: list[Check] = []
    bundle = _tried(checks, "document", lambda: read_bundle(folder))
    if bundle is not None and _hashes_fit(checks, bundle):
        if runs_here(bundle):
            # Only after the hashes fit: a damaged program is native code that may do anything.
            checks += run_apart(bundle, threads)
        else:
            detail = f"{bundle.document['target']['backend']} does not run here; check the golden clip on the device"
            checks.append({"name": "golden clip", "ok": None, "detail": detail, "skipped": True})
    # None is no failure: a check for another device's backend cannot be made here.
    return {"ok": all(check["ok"] is not False for check in checks), "checks": checks}


def _hashes_fit(checks: list[Check], bundle: Bundle) -> bool:
    _tried(checks, "hashes", lambda: check_hashes(bundle))
    return bool(checks[-1]["ok"])


def _tried(checks: list[Check], name: str, action: Callable[[], Any]) -> Any:
    """What `action` gives, or None; either way a check."""
    try:
        value = action()
    except SpeechpressError as error:
        checks.append({"name": name, "ok": False, "detail": str(error)})
        return None
    checks.append({"name": name, "ok": True, "detail": "as exported"})
    return value
