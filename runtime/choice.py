"""Which bundle is meant when none was named."""

from collections.abc import Callable
from pathlib import Path

from .bundle import DOCUMENT, Bundle, read_bundle
from .errors import SpeechpressError
from .parts import is_part
from .students.shipped import DEMO_BUNDLE, shipped_students

SHIPPED = DEMO_BUNDLE  # where nothing else is installed, as in the light runtime
BUILT_IN = "pocket-s"  # of the students of the package, the one that finds taught words best (docs/demo.md)


def built_in() -> Path:
    """The bundle to take when nothing else runs here."""
    return shipped_students().get(BUILT_IN, SHIPPED)


def choose_bundle(bundles: Path, say: Callable[[str], None], live: bool = False) -> Path:
    """The newest bundle under `bundles` that runs here, and streams when `live`; else the one that is in the package.

    Says which one it is, and of each newer one why it is not.
    """
    # A bundle that is being exported has a bundle.json as well, but not yet all its files.
    found = [path for path in bundles.glob(f"**/{DOCUMENT}") if not is_part(path.relative_to(bundles))]
    for path in sorted(found, key=_written_s, reverse=True):
        reason = _against(path.parent, live)
        if reason is None:
            say(f"no bundle given; using the newest that runs here: {path.parent}")
            return path.parent
        say(f"{path.parent}: skipped, {reason}")
    there = "none of them runs here" if found else "there is none"
    say(f"no bundle given and {there} under {bundles}; using the built-in one")
    return built_in()


def runs_here(bundle: Bundle) -> bool:
    """Whether this installation of ExecuTorch has the bundle's backend; every one has XNNPACK."""
    # Asking ExecuTorch means importing torch, which is slow; the usual bundle needs no answer.
    if bundle.document["target"]["backend"] == "xnnpack":
        return True
    from .engine import has_backend

    return has_backend(bundle)


def _against(folder: Path, live: bool) -> str | None:
    """Why a bundle cannot be taken; None when it can."""
    try:
        bundle = read_bundle(folder)
        here = runs_here(bundle)
    except SpeechpressError as error:
        return f"it cannot be used ({error})"
    target = bundle.document["target"]
    if not here:
        return f"it is for {target['name']} and its backend {target['backend']} does not run here"
    return "it does not stream" if live and not bundle.document["streams"] else None


def _written_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it is being replaced
        return 0.0
