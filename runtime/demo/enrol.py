"""From a recording of a word to the features of the word alone.

Shapes: S samples, T frames, n frames of the word, D width.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import SpeechpressError
from ..samples import mono
from ..stream import Engine, StreamingExtractor

STEP_S = 0.01
NOISE_DB, LOUD_DB = -70.0, 30.0  # never hear below this; a word's softest sounds are so far below its loudest
ROOM_DB, ROOM_S = 3.0, 0.2  # a room's noise varies by no more; so much of it at least is in a recording
PAUSE_S = 0.25  # a silence within a word, as before a stop consonant, is shorter
MARGIN_S = 0.03
LEAD_S = 0.3  # silence before a recording that begins with the word


def word_span_s(samples: np.ndarray, sample_rate: int) -> tuple[float, float]:
    """Where in (S,) the longest and loudest stretch without a pause begins and ends, in seconds.

    Raises SpeechpressError when nothing stands out from the silence.
    """
    step = round(STEP_S * sample_rate)
    count = len(samples) // step
    if not count:
        raise SpeechpressError("the recording of a word is empty; hold the key while you say it")
    power = np.square(samples[: count * step].reshape(count, step).astype(np.float64)).mean(1)
    level_db = 10 * np.log10(power + 1e-12)
    # The tenth percentile and not the minimum: digital silence at the edges says nothing of the room.
    floor_db, top_db = np.percentile(level_db, 10), level_db.max()
    if top_db < NOISE_DB + 10:
        raise SpeechpressError(
            f"the recording of a word is silent (its loudest 10 ms are at {top_db:.0f} dBFS); "
            "is the right microphone chosen, and not muted? See compress demo --list-mics"
        )
    # A room is as loud all the time; the quietest tenth of a recording that was cut at the word is the word itself.
    room = np.count_nonzero(np.abs(level_db - floor_db) < ROOM_DB) * STEP_S >= ROOM_S
    # Half way up to the loudest sound where the room is noisy, so that noise before the word is no part of it.
    noisy = room and floor_db > top_db - LOUD_DB
    limit_db = max(top_db - LOUD_DB, (floor_db + top_db) / 2 if noisy else NOISE_DB)
    loud = np.flatnonzero(level_db >= limit_db)
    islands = np.split(loud, np.flatnonzero(np.diff(loud) > PAUSE_S / STEP_S) + 1)
    word = max(islands, key=lambda island: (level_db[island] - limit_db).sum())  # a click is loud, but short
    return max(0.0, word[0] * STEP_S - MARGIN_S), min(count * STEP_S, (word[-1] + 1) * STEP_S + MARGIN_S)


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
        raise SpeechpressError(f"{path}: is no audio file that can be read ({error.skipped.reason})") from error
    try:
        return example_of(engine, samples, rate)
    except SpeechpressError as error:
        raise SpeechpressError(f"{path}: {error}") from error


def stream_frames(engine: Engine, pieces: Iterable[np.ndarray]) -> np.ndarray:
    """Features (T, D) of pieces (S,) at the model's rate, one after the other in one stream; the background's, say."""
    stream = StreamingExtractor(engine)
    parts = [stream.push(piece).frames for piece in pieces]
    return np.concatenate([*parts, stream.flush().frames])
