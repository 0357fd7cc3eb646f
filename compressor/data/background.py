"""The speech that taught words are told from: some of the starter's, heard once by each bundle and kept.

Shapes: S samples, T frames, D width.
"""

import logging
from pathlib import Path

import numpy as np

from speechpress.runtime.bundle import Bundle
from speechpress.runtime.demo.dtw import EmbeddingSpace
from speechpress.runtime.demo.enrol import stream_frames
from speechpress.runtime.demo.head_engine import HeadEngine
from speechpress.runtime.demo.spotting import Background
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.stream import Engine

from ..models.checkpoint import read_tensors, write_tensors
from ..models.config import SAMPLE_RATE
from ..models.events import OnText
from ..starter import SPEECH
from .audio import read_audio
from .remote.cache import cache_folder as cache_folder

logger = logging.getLogger(__name__)

DURATION_S, PAUSE_S = 240.0, 0.5


def background_clips(duration_s: float = DURATION_S) -> list[np.ndarray]:
    """Recordings (S,) of the starter speech at 16 kHz, all its languages in turn, at least so long together.

    Raises SpeechpressError when the installation lacks the starter speech.
    """
    folders = [sorted(folder.rglob("*.opus")) for folder in sorted((SPEECH / "audio").iterdir())]
    if not any(folders):
        raise SpeechpressError(f"{SPEECH}: holds no speech; reinstall speechpress")
    clips, found_s, place = [], 0.0, 0
    while found_s < duration_s and any(place < len(files) for files in folders):
        # In turn, so that no language fills the minutes alone.
        for files in folders:
            if place < len(files) and found_s < duration_s:
                clips.append(read_audio(files[place]))
                found_s += len(clips[-1]) / SAMPLE_RATE
        place += 1
    return clips


def with_pauses(clips: list[np.ndarray]) -> list[np.ndarray]:
    """The same recordings with silence between them, which is the most of what a microphone hears."""
    return [piece for clip in clips for piece in (np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32), clip)]


def background_of(bundle: Bundle, engine: Engine, say: OnText) -> Background:
    """What this bundle makes of `background_clips`; computed once, then read from the user's cache.

    Raises SpeechpressError as `background_clips` does.
    """
    spec = engine.spec
    head = engine.head.name if isinstance(engine, HeadEngine) else ""
    # Frames depend on the program and on its chunks; another of either must not find these.
    name = "-".join(["background", bundle.document["digest"][:16], str(spec.chunk_frames), *([head] if head else [])])
    path = cache_folder() / f"{name}.safetensors"
    if path.is_file():
        frames = read_tensors(path)[0]["frames"].float().numpy()
    else:
        say(f"processing once {DURATION_S / 60:g} minutes of other speech, to tell taught words apart from it")
        frames = stream_frames(engine, with_pauses(background_clips()))
        _keep(path, frames)
    way = EmbeddingSpace.of(frames) if head else None
    return Background(frames, spec.hop_samples / spec.sample_rate, way, head)


def _keep(path: Path, frames: np.ndarray) -> None:
    """A folder that cannot be written only means that it is computed again."""
    import torch

    try:
        write_tensors(path, {"frames": torch.from_numpy(frames).half()})
    except SpeechpressError as error:
        logger.warning("%s; the other speech will be processed again next time", error)
