"""When each label of a transcript is said, by a head that recognises them: the best path through CTC's frames.

Shapes: T frames, V labels with the blank (0), N labels of the transcript.
"""

from collections.abc import Sequence

import numpy as np

SILENCE, REACH = -1, 8  # frames from which on a blank belongs to no label


def aligned(log_probabilities: np.ndarray, labels: Sequence[int]) -> np.ndarray | None:
    """(T,), the number in `labels` of the label that each frame belongs to, SILENCE for none; None if T is too small.

    The path is the most likely one (Viterbi) through blank, label, blank, ..., blank. A blank frame is given to the
    nearest label, because CTC marks a label by a peak and not by its length.
    """
    states = np.zeros(2 * len(labels) + 1, int)
    states[1::2] = labels
    # A label may follow another without a blank between them, unless they are equal.
    skips = np.zeros(len(states), bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full(len(states), -np.inf)
    scores[:2] = log_probabilities[0, states[:2]]
    back = np.zeros((len(log_probabilities), len(states)), np.int8)
    for frame in range(1, len(log_probabilities)):
        ways = np.full((3, len(states)), -np.inf)
        ways[0], ways[1, 1:] = scores, scores[:-1]
        ways[2, 2:] = np.where(skips[2:], scores[:-2], -np.inf)
        back[frame] = ways.argmax(0)
        scores = ways.max(0) + log_probabilities[frame, states]
    state = len(states) - 1 if scores[-1] >= scores[-2:][0] else len(states) - 2
    if not np.isfinite(scores[state]):
        return None
    path = np.empty(len(log_probabilities), int)
    for frame in range(len(path) - 1, -1, -1):
        path[frame] = state
        state -= back[frame, state]
    return _filled(np.where(path % 2 == 1, path // 2, SILENCE))


def _filled(marks: np.ndarray) -> np.ndarray:
    """Blank frames belong to the nearest label, within REACH."""
    places = np.flatnonzero(marks != SILENCE)
    distance = np.abs(np.arange(len(marks))[:, None] - places)
    nearest = distance.argmin(1)
    return np.where(distance[np.arange(len(marks)), nearest] < REACH, marks[places[nearest]], SILENCE)
