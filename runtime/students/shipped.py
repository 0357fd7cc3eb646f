"""Where the students of the package lie.

A student NAME is the folder NAME beside this file: its bundle, with its card, and in `checkpoint` what it was exported
from, in 16 bits. `demo` is the demo's own bundle, which has no checkpoint here.
"""

from pathlib import Path

HERE = Path(__file__).parent
DEMO, CHECKPOINT, DOCUMENT = "demo", "checkpoint", "bundle.json"


def shipped_students() -> dict[str, Path]:
    """The bundle of every student that comes with the package, by name."""
    found = {folder.parent.name: folder.parent for folder in sorted(HERE.glob(f"*/{DOCUMENT}"))}
    return {DEMO: HERE.parent / "demo" / "demo-bundle", **found}


def shipped_folder(source: str | Path, checkpoint: bool = False) -> Path | None:
    """The folder that a shipped student's name stands for; None for all else, such as a folder of that name here."""
    if Path(source).exists():
        return None
    bundle = shipped_students().get(str(source))
    if bundle is None or not checkpoint:
        return bundle
    return bundle / CHECKPOINT if (bundle / CHECKPOINT).is_dir() else None
