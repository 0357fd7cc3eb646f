"""Where the students of the package lie: a student NAME is the folder NAME beside this file, a bundle with its card.

Some have the checkpoint in it that the bundle was made from. `demo` is the demo's own bundle.
"""

from pathlib import Path

from ..bundle import DOCUMENT
from ..hub.manifest import BUNDLE, CHECKPOINT

HERE = Path(__file__).parent
DEMO, DEMO_BUNDLE = "demo", HERE.parent / "demo" / "demo-bundle"


def shipped_students() -> dict[str, Path]:
    """The bundle of every student that comes with the package, by name."""
    found = {folder.parent.name: folder.parent for folder in sorted(HERE.glob(f"*/{DOCUMENT}"))}
    return {DEMO: DEMO_BUNDLE, **found}


def shipped_folder(source: str | Path, *kinds: str) -> Path | None:
    """What a shipped student's name stands for: its bundle, or its checkpoint where only that will do.

    None for all else, such as a folder of that name here.
    """
    folder = None if Path(source).exists() else shipped_students().get(str(source))
    if folder is None or BUNDLE in kinds:
        return folder
    checkpoint = folder / CHECKPOINT
    return checkpoint if CHECKPOINT in kinds and checkpoint.is_dir() else None


def shipped_name(folder: Path) -> str | None:
    """Whose bundle or checkpoint a folder is; None for a folder that did not come with the package."""
    whole = folder.parent if folder.name == CHECKPOINT else folder
    return whole.name if whole.parent == HERE and whole.name in shipped_students() else None
