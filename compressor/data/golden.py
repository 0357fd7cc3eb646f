"""A clip of speech that is the same on every machine: what bundles are checked on, and random encoders are scaled by.

Shapes: S samples.
"""

import numpy as np

from speechpress.runtime.errors import SpeechpressError

from ..models.config import SAMPLE_RATE
from ..starter import SPEECH
from .audio import read_audio


def golden_clip(seconds: float) -> np.ndarray:
    """(S,) speech that comes with the package, exactly so long; always the same.

    Raises SpeechpressError when the installation lacks the starter speech.
    """
    # The order of a folder is up to its file system, and the clip must be the same everywhere.
    files = sorted((SPEECH / "audio" / "en").rglob("*.opus"))
    wanted, parts, found = round(seconds * SAMPLE_RATE), [], 0
    for path in files:
        clip = read_audio(path)
        parts.append(clip)
        found += len(clip)
        if found >= wanted:
            return np.concatenate(parts)[:wanted].astype(np.float32)
    raise SpeechpressError(f"{SPEECH}: holds less than {seconds:g} s of speech; reinstall speechpress")
