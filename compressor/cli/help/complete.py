"""What the shell completes: names of ours first, then paths. Nothing heavy is loaded while somebody types."""

import glob
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

RUNS, BUNDLES = Path("runs"), Path("bundles")


def _paths(incomplete: str, *endings: str) -> list[str]:
    """Folders, and files with these endings, whose path begins so: a completion of ours replaces the shell's own."""
    folder, _, begun = incomplete.rpartition("/")
    place = Path(folder or ("/" if incomplete.startswith("/") else "."))
    found = sorted(
        path for path in place.glob(f"{glob.escape(begun)}*") if begun.startswith(".") or path.name[0] != "."
    )
    return [f"{path}/" if path.is_dir() else str(path) for path in found if path.is_dir() or path.suffix in endings]


def _completion(names: Callable[[], Sequence[str]], *endings: str, paths: bool = True) -> Callable[[str], list[str]]:
    """What the shell asks for: names that begin with what is typed, and paths."""

    def complete(incomplete: str) -> list[str]:
        try:
            found = [name for name in names() if name.startswith(incomplete)]
        # A broken file under ./runs must not print into the line that is being typed.
        except (SpeechpressError, OSError):
            found = []
        return [*found, *(_paths(incomplete, *endings) if paths else [])]

    return complete


def _recipes() -> Sequence[str]:
    from ...recipe.files import recipe_names

    return recipe_names()


def _teachers() -> Sequence[str]:
    from ...teachers.catalogue import KNOWN, built_in_teachers

    return [teacher.source for teacher in (*built_in_teachers(), *KNOWN)]


def _targets() -> Sequence[str]:
    from ...targets import TARGETS

    return [target.name for target in TARGETS]


def _schemes() -> Sequence[str]:
    from ...targets import SCHEMES

    return list(SCHEMES)


def _devices() -> Sequence[str]:
    from speechpress.devices.adb import connected

    phones = [phone["address"] for phone in connected()] if shutil.which("adb") else []
    return ["host", *phones, "ssh:"]


def _folders(root: Path, mark: str) -> list[str]:
    """Newest first."""
    found = sorted(root.glob(f"*/{mark}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [str(path.parent) for path in found]


def _runs() -> Sequence[str]:
    return _folders(RUNS, "config.json")


def _bundles() -> Sequence[str]:
    return _folders(BUNDLES, "bundle.json")


complete_recipe = _completion(_recipes, ".yaml", ".yml")
complete_teacher = _completion(_teachers, ".pt", ".safetensors")
complete_kind = _completion(lambda: ("recipes", "teachers", "students", "targets", "devices"), paths=False)
complete_target = _completion(_targets, paths=False)
complete_scheme = _completion(_schemes, paths=False)
complete_device = _completion(_devices, paths=False)
complete_run = _completion(_runs)
complete_bundle = _completion(_bundles)
complete_share = _completion(lambda: [*_runs(), *_bundles()])
complete_model = _completion(lambda: [*_runs(), *_bundles(), *_teachers()])
complete_thing = _completion(lambda: [*_recipes(), *_runs(), *_bundles(), *_targets(), *_teachers()], ".yaml", ".yml")
