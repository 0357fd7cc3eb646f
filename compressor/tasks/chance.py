"""What a guess that never listens gets: the chance level that a score has to be held against.

Every guess is the best of a few constant ones, chosen on the training answers and scored on the test answers.

Shapes: T frames of 100 ms.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .metrics import diarization_counts, error_rate, slot_counts, slot_f1, slot_type_f1, spelled_slots

Answers = Sequence[Any]
Activity = Callable[[int], np.ndarray]  # from a number of bins to a guess (T, 2)
PLACES = 100


def majority(train: Answers, test: Answers) -> float:
    """Accuracy of always naming the most frequent training class."""
    return majority_by_group([("", answer) for answer in train], [("", answer) for answer in test])


def majority_by_group(train: Answers, test: Answers) -> float:
    """Accuracy of always naming the most frequent training class of a clip's group, from pairs of group and class."""
    known: dict[Any, Counter[Any]] = {}
    for group, answer in train:
        known.setdefault(group, Counter())[answer] += 1
    # Sorted, so that a tie does not depend on the order of the clips.
    best = {group: max(sorted(found), key=found.__getitem__) for group, found in known.items()}
    return sum(group in best and best[group] == answer for group, answer in test) / len(test)


def constant_slots(train: Answers, test: Answers) -> float:
    """F1 of naming for every slot its most frequent value, in all those slots that clips have often enough."""
    values: dict[str, Counter[str]] = {}
    for slots in train:
        for slot, value in slots:
            values.setdefault(slot, Counter())[value] += 1
    best = {slot: found.most_common(1)[0] for slot, found in values.items()}
    ranked = sorted(best, key=lambda slot: -best[slot][1])
    # Each further slot finds more and is wrong more often, so how many to name is part of the choice.
    guesses = [{slot: best[slot][0] for slot in ranked[:count]} for count in range(len(ranked) + 1)]
    chosen = max(guesses, key=lambda guess: slot_f1(_slot_counts(train, guess)))
    return slot_f1(_slot_counts(test, chosen))


def _slot_counts(answers: Answers, guess: dict[str, str]) -> np.ndarray:
    return np.array([slot_counts(dict(slots), guess) for slots in answers])


def constant_kinds(train: Answers, test: Answers) -> float:
    """F1 of always naming the most frequent set of slots, whatever is in them."""
    kinds = [[frozenset(slot for slot, _ in spelled_slots(tokens)) for tokens in part] for part in (train, test)]
    best = Counter(kinds[0]).most_common(1)[0][0]
    return float(np.mean([slot_type_f1(one, best) for one in kinds[1]]))


def constant_activity(train: Answers, test: Answers) -> float:
    """DER of the best of: nobody, one speaker or both all the time, and who mostly speaks at that time of a clip.

    The time is counted from the clip's beginning, or as a share of its length; the first to speak is speaker one.
    """
    always: list[Activity] = [partial(_always, who=who) for who in ((False, False), (True, False), (True, True))]
    known: list[Activity] = [
        partial(_by_time, shares=_shares(train, place), place=place) for place in (_since_start, _share_of_length)
    ]
    guesses: list[Activity] = always + known
    chosen = min(guesses, key=lambda guess: error_rate(_activity_counts(train, guess)))
    return error_rate(_activity_counts(test, chosen))


def _activity_counts(answers: Answers, guess: Activity) -> np.ndarray:
    return np.array([diarization_counts(one, guess(len(one))) for one in answers])


def _always(count: int, who: tuple[bool, bool]) -> np.ndarray:
    return np.tile(who, (count, 1))


def _by_time(count: int, shares: np.ndarray, place: Callable[[int], np.ndarray]) -> np.ndarray:
    return shares[place(count)] > 0.5


def _shares(train: Answers, place: Callable[[int], np.ndarray]) -> np.ndarray:
    """(PLACES, 2): how often each speaker speaks at a time."""
    active, heard = np.zeros((PLACES, 2)), np.zeros((PLACES, 1))
    for one in train:
        # The metric takes the better order of the speakers, so the guess may fix one.
        starts = [np.argmax(column) if column.any() else len(one) for column in one.T]
        ordered = one[:, ::-1] if starts[1] < starts[0] else one
        np.add.at(active, place(len(one)), ordered)
        np.add.at(heard, place(len(one)), 1)
    return active / np.maximum(heard, 1)


def _since_start(count: int) -> np.ndarray:
    # 10 s of 100 ms each; all that comes later counts as one place.
    return np.minimum(np.arange(count), PLACES - 1)


def _share_of_length(count: int) -> np.ndarray:
    return np.arange(count) * PLACES // count
