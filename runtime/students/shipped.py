"""Where the students of the package lie: a student NAME is the folder NAME beside this file, a bundle with its card.

`demo` is the demo's own bundle.
"""

from pathlib import Path

from ..bundle import DOCUMENT
from ..hub.manifest import BUNDLE

HERE = Path(__file__).parent
DEMO, DEMO_BUNDLE = "demo", HERE.parent / "demo" / "demo-bundle"


def shipped_students() -> dict[str, Path]:
    """The bundle of every student that comes with the package, by name."""
    found = {folder.parent.name: folder.parent for folder in sorted(HERE.glob(f"*/{DOCUMENT}"))}
    return {DEMO: DEMO_BUNDLE, **found}


def shipped_folder(source: str | Path, *kinds: str) -> Path | None:
    """The bundle that a shipped student's name stands for, where a bundle is one of the kinds that are asked for.

    None for all else, such as a folder of that name here.
    """
    return None if BUNDLE not in kinds or Path(source).exists() else shipped_students().get(str(source))


def shipped_name(folder: Path) -> str | None:
    """Whose bundle a folder is; None for a folder that did not come with the package."""
    return folder.name if folder.parent == HERE and folder.name in shipped_students() else None
