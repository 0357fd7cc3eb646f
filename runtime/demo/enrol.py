"""From a recording of a word to the features of the word alone.

Shapes: S samples, T frames, n frames of the word, D width.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import SpeechpressError
from ..samples import mono
from ..sound.word_span import word_span_s
from ..stream import Engine, StreamingExtractor

LEAD_S = 0.3  # silence before a recording that begins with the word


def example_of(engine: Engine, samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Features (n, D) of the word in a recording (S,) or (S, channels), heard as in a stream of its own.

    Raises SpeechpressError when there is no word in it.
    """
    wave = mono(samples)
    start_s, stop_s = word_span_s(wave, sample_rate)
    stream = StreamingExtractor(engine, sample_rate)
    # A word in a live stream comes after silence, not as the very first that the model hears.
    lead = stream.push(np.zeros(round(LEAD_S * sample_rate), np.float32))
    heard, rest = stream.push(wave), stream.flush()
    frames = np.concatenate([lead.frames, heard.frames, rest.frames])
    # A frame belongs to the word when the middle of its audio does.
    middle_s = np.concatenate([lead.end_s, heard.end_s, rest.end_s])
    middle_s = middle_s - engine.spec.receptive_samples / engine.spec.sample_rate / 2 - LEAD_S
    return frames[(middle_s >= start_s) & (middle_s <= stop_s)]


def read_example(engine: Engine, path: str | Path) -> np.ndarray:
    """Features (n, D) of the word in an audio file of any format; raises SpeechpressError when there is none."""
    from ..sound.sound_file import UnreadableAudio, open_sound, read_mono  # soundfile, which a board need not have

    try:
        with open_sound(str(path), str(path)) as file:
            samples, rate = read_mono(file, str(path)), file.samplerate
    except UnreadableAudio as error:
        raise SpeechpressError(f"{path}: is not an audio file that can be read ({error.skipped.reason})") from error
    try:
        return example_of(engine, samples, rate)
    except SpeechpressError as error:
        raise SpeechpressError(f"{path}: {error}") from error


def stream_frames(engine: Engine, pieces: Iterable[np.ndarray]) -> np.ndarray:
    """Features (T, D) of pieces (S,) at the model's rate, one after the other in one stream; the background's, say."""
    stream = StreamingExtractor(engine)
    parts = [stream.push(piece).frames for piece in pieces]
    return np.concatenate([*parts, stream.flush().frames])
