"""Where the students of the package lie.

A student NAME is the folder NAME beside this file: its bundle, with its card, and in `checkpoint` what it was exported
from, in 16 bits. `demo` is the demo's own bundle, which has no checkpoint here.
"""

from pathlib import Path

HERE = Path(__file__).parent
DEMO, BUNDLE, CHECKPOINT, DOCUMENT = "demo", "bundle", "checkpoint", "bundle.json"


def shipped_students() -> dict[str, Path]:
    """The bundle of every student that comes with the package, by name."""
    found = {folder.parent.name: folder.parent for folder in sorted(HERE.glob(f"*/{DOCUMENT}"))}
    return {DEMO: HERE.parent / "demo" / "demo-bundle", **found}


def shipped_folder(source: str | Path, *kinds: str) -> Path | None:
    """The folder of the first of these kinds ("bundle", "checkpoint") that a shipped student's name stands for.

    None for all else, such as a folder of that name here.
    """
    bundle = None if Path(source).exists() else shipped_students().get(str(source))
    if bundle is None:
        return None
    places = {BUNDLE: bundle, CHECKPOINT: bundle / CHECKPOINT}
    return next((places[kind] for kind in kinds if places[kind].is_dir()), None)


def shipped_name(folder: Path) -> str | None:
    """Whose bundle or checkpoint a folder is; None for a folder that did not come with the package."""
    place = folder.parent if folder.name == CHECKPOINT else folder
    return place.name if place.parent == HERE and place.name in shipped_students() else None
