"""A small labelled folder of real speech, for probes that take seconds."""

import shutil
from pathlib import Path

from speechpress.compressor.starter import SPEECH

LANGUAGES = ("en", "es", "fr")


def make_labelled(folder: Path, per_voice: int = 10) -> Path:
    """Short clips of three voices, by which they are labelled."""
    (folder / "audio").mkdir(parents=True)
    lines = ["path\tspeaker"]
    for language in LANGUAGES:
        files = sorted((SPEECH / "audio" / language).rglob("*.opus"), key=lambda path: (path.stat().st_size, path.name))
        for path in files[20 : 20 + per_voice]:
            name = f"audio/{language}-{path.name}"
            shutil.copy(path, folder / name)
            lines.append(f"{name}\t{language}")
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n")
    return folder
