"""What `compress show` tells of a teacher that has to be loaded to be known: any file, folder or cached hub model."""

from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError

from ..models import costs
from ..teachers import hub_folder
from ..teachers.catalogue import KNOWN

PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # torch's zip format, and the older ones
SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
TORCHAUDIO = "torchaudio:"


def is_teacher_file(path: Path) -> bool:
    """Whether a file is a checkpoint rather than text: by its name, or by how it begins."""
    if path.suffix in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            # By its bytes: a recipe that is given without .yaml is text.
            return file.read(4).startswith(PICKLES)
    except OSError:
        return False


def has_weights(folder: Path) -> bool:
    """Whether a folder holds a whole model, so that what its config.json leaves out can be found by loading it."""
    return any(path.suffix in SUFFIXES for path in folder.iterdir())


def cached(source: str) -> Path | None:
    """The folder of a hub model that was fetched before; nothing is fetched."""
    # Without a slash it is more likely a mistyped recipe than a hub model.
    if "/" not in source or not hub_folder.looks_like_hub_id(source):
        return None
    return hub_folder.from_cache(source)


def show_loaded(source: str) -> dict[str, Any]:
    """Load a teacher and tell what it is.

    Raises SpeechpressError when `distill` could not load it either.
    """
    from ..teachers.load import load_teacher

    card = load_teacher(source).card
    # Where the count does not fit, the model has parts that our costs know nothing of.
    exact = card.encoder is not None and card.parameters == costs.parameters(card.encoder)
    return {
        "kind": "teacher",
        "source": source,
        "family": card.family,
        "layers": card.depth,
        "width": card.width,
        "parameters": card.parameters,
        "published_parameters": None,
        "macs_per_s": costs.macs_per_s(card.encoder) if card.encoder and exact else None,
        "waveform_front_end": card.encoder is not None,
        "about": f"read from {card.format}",
        "normalize_input": card.normalize_input,
        # 16 samples a millisecond: every teacher hears 16 kHz.
        "hop_ms": card.hop_samples / 16,
        "supervised": card.supervised,
        "sha256": card.sha256,
        "notes": list(card.notes),
    }


def unknown(source: str) -> SpeechpressError:
    """Why a name that may be a teacher's cannot be shown."""
    if source.startswith(TORCHAUDIO):
        why = "torchaudio would have to download it first; `compress distill` does"
    elif hub_folder.looks_like_hub_id(source):
        why = "there is no such folder, and no teacher of this name is known or in the Hugging Face cache"
    else:
        why = "there is no such folder, and no teacher of this name is known"
    return SpeechpressError(f"{source}: {why}. Known: {', '.join(known.source for known in KNOWN)}")
