"""Where in a recording of one word the word is.

Shapes: S samples.
"""

import numpy as np

from ..errors import SpeechpressError

STEP_S = 0.01
NOISE_DB, LOUD_DB = -70.0, 30.0  # never hear below this; a word's softest sounds are so far below its loudest
ROOM_DB, ROOM_S = 3.0, 0.2  # a room's noise varies by no more; so much of it at least is in a recording
PAUSE_S = 0.25  # a silence within a word, as before a stop consonant, is shorter
MARGIN_S = 0.03


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
    first, last = int(word[0]), int(word[-1])
    return max(0.0, first * STEP_S - MARGIN_S), min(count * STEP_S, (last + 1) * STEP_S + MARGIN_S)
