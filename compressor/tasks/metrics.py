"""SUPERB's metrics (arXiv:2105.01051), and confidence intervals by resampling clips.

Every metric is made from counts per clip, which add up; so an interval is that of the sum over clips drawn anew.

Shapes: N clips or trials, Q queries, K counts, T frames.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

# As in MediaEval's query-by-example searches: a target has a prior of 0.0008, a false alarm costs 1, a miss 100.
TARGET_PRIOR, FALSE_ALARM_COST, MISS_COST = 0.0008, 1.0, 100.0
FALSE_ALARM_WEIGHT = FALSE_ALARM_COST / MISS_COST * (1 / TARGET_PRIOR - 1)
RESAMPLES = 500
INTERVAL = (2.5, 97.5)  # percentiles between which 95 % of the draws lie


def edit_distance(reference: Sequence[str], guess: Sequence[str]) -> int:
    """Fewest substitutions, insertions and deletions from one to the other (Levenshtein)."""
    # One row of the table at a time: a cell needs its neighbours only, and sentences of letters are long.
    row = list(range(len(guess) + 1))
    for i, wanted in enumerate(reference, 1):
        corner, row[0] = row[0], i
        for j, given in enumerate(guess, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (wanted != given))
    return row[-1]


def edit_counts(reference: Sequence[str], guess: Sequence[str]) -> tuple[int, int]:
    """(edits, length of the reference) of one clip; see `error_rate`."""
    return edit_distance(reference, guess), len(reference)


def error_rate(counts: np.ndarray) -> float:
    """Errors over how many there could be, from (N, 2): PER, WER and CER by edits, DER by frames."""
    errors, whole = counts.sum(0)
    # Where nothing was to be found, only silence is right.
    return float(errors / whole) if whole else float(errors > 0)


def accuracy(counts: np.ndarray) -> float:
    """Share of clips that are right, from (N, 1)."""
    return float(counts[:, 0].mean())


def slot_counts(reference: Mapping[str, str], guess: Mapping[str, str]) -> tuple[int, int, int, int, int]:
    """Slots of one clip: (hits, guessed, wanted, edits, letters); see `slot_f1` and `slot_cer`.

    A hit is a slot with its right value. Edits are between the letters of a slot's two values, where either has it.
    """
    hits = sum(guess.get(slot) == value for slot, value in reference.items())
    pairs = [(reference.get(slot, ""), guess.get(slot, "")) for slot in {**reference, **guess}]
    edits = sum(edit_distance(wanted, given) for wanted, given in pairs)
    return hits, len(guess), len(reference), edits, sum(len(wanted) for wanted, _ in pairs)


def slot_f1(counts: np.ndarray) -> float:
    """F1 over slots with their values, from (N, 5)."""
    hits, guessed, wanted = counts[:, :3].sum(0)
    return float(2 * hits / (guessed + wanted)) if guessed + wanted else 1.0


def slot_type_f1(wanted: Iterable[str], given: Iterable[str]) -> float:
    """F1 of one clip's kinds of slot, whatever their values; SUPERB's F1 is the mean of it over clips."""
    reference, guess = set(wanted), set(given)
    return 2 * len(reference & guess) / (len(reference) + len(guess)) if reference or guess else 1.0


def spelled_slots(tokens: Iterable[str]) -> list[tuple[str, str]]:
    """(slot, value) of letters between the marks "B-slot" and "E-slot"; what is opened and never closed is none."""
    found: list[tuple[str, str]] = []
    slot, letters = None, ""
    for token in tokens:
        if token.startswith("B-"):
            slot, letters = token[2:], ""
        elif token.startswith("E-"):
            if slot == token[2:] and letters.strip():
                found.append((slot, letters.strip()))
            slot = None
        else:
            letters += token
    return found


def spelled_counts(
    reference: Sequence[tuple[str, str]], guess: Sequence[tuple[str, str]]
) -> tuple[float, float, float]:
    """Spelled slots of one clip, in order: (F1 of their kinds, edits, letters); see `mean_f1` and `spelled_cer`.

    A value is compared with the nearest one that was given for its slot, and with nothing where none was.
    """
    edits = letters = 0
    for slot, value in reference:
        said = [other for name, other in guess if name == slot] or [""]
        edits += min(edit_distance(value, other) for other in said)
        letters += len(value)
    kinds = slot_type_f1((slot for slot, _ in reference), (slot for slot, _ in guess))
    return kinds, edits, letters


def mean_f1(counts: np.ndarray) -> float:
    """Mean of the clips' own F1, from (N, 3)."""
    return float(counts[:, 0].mean())


def spelled_cer(counts: np.ndarray) -> float:
    """Character error rate of spelled values, from (N, 3)."""
    return error_rate(counts[:, 1:])


def slot_cer(counts: np.ndarray) -> float:
    """Character error rate of the slots' values, from (N, 5)."""
    return error_rate(counts[:, 3:])


def equal_error_rate(trials: np.ndarray) -> float:
    """EER of (N, 2), score and whether it is a target: where misses and false alarms are equally frequent.

    Between two thresholds the rates are interpolated linearly. Raises ValueError when one kind of trial is missing.
    """
    targets = trials[:, 1] > 0.5
    if targets.all() or not targets.any():
        raise ValueError("an equal error rate needs trials of both kinds")
    order = np.argsort(-trials[:, 0], kind="stable")
    scores, hits = trials[order, 0], np.cumsum(targets[order])
    last = np.append(scores[1:] != scores[:-1], True)  # equal scores are accepted together
    found, passed = hits[last], np.arange(1, len(trials) + 1)[last]
    # Both begin with a threshold above all scores, which accepts nothing.
    miss = np.concatenate([[1.0], 1 - found / targets.sum()])
    alarm = np.concatenate([[0.0], (passed - found) / (~targets).sum()])
    cross = int(np.argmax(alarm >= miss))
    before, after = miss[cross - 1] - alarm[cross - 1], alarm[cross] - miss[cross]
    share = before / (before + after)
    return float(miss[cross - 1] + share * (miss[cross] - miss[cross - 1]))


def detection_counts(wanted: np.ndarray, given: np.ndarray) -> tuple[int, int, int, int]:
    """Speech (T,), true and guessed -> frames (missed, of speech, falsely alarmed, of silence)."""
    return int((wanted & ~given).sum()), int(wanted.sum()), int((given & ~wanted).sum()), int((~wanted).sum())


def half_total_error(counts: np.ndarray) -> float:
    """Mean of the shares of missed speech and of false alarms, from (N, 4); 0.5 is what a constant answer gets.

    Raises ValueError when there is no speech, or no silence.
    """
    missed, speech, alarms, silence = counts.sum(0)
    if not speech or not silence:
        raise ValueError("a half total error rate needs speech and silence")
    return float((missed / speech + alarms / silence) / 2)


def diarization_counts(wanted: np.ndarray, given: np.ndarray) -> tuple[int, int]:
    """Two speakers' activity (T, 2), true and guessed -> (wrong speaker-frames, speaker-frames).

    The better order of the speakers counts. Missed, falsely alarmed and confused speech count alike, overlaps
    included, without a collar (NIST's DER).
    """
    return min(_wrong_frames(wanted, given), _wrong_frames(wanted, given[:, ::-1])), int(wanted.sum())


def _wrong_frames(wanted: np.ndarray, given: np.ndarray) -> int:
    right = (wanted & given).sum(1)
    return int((np.maximum(wanted.sum(1), given.sum(1)) - right).sum())


def max_twv(scores: np.ndarray, targets: np.ndarray) -> float:
    """Maximum term-weighted value of scores (Q, N) and whether recording n holds query q (Q, N).

    TWV(threshold) = 1 - mean over queries of (P_miss + w P_false_alarm), w = 12.49; the threshold is shared by all
    queries. 1 is perfect, 0 is what silence gets. Queries without a target do not count.
    """
    held = targets.any(1)
    scores, targets = scores[held], targets[held]
    if not len(scores):
        raise ValueError("a term-weighted value needs a query that occurs somewhere")
    misses = np.where(targets, 1 / targets.sum(1, keepdims=True), 0.0)
    alarms = np.where(targets, 0.0, 1 / np.maximum(1, (~targets).sum(1, keepdims=True)))
    order = np.argsort(-scores, axis=None, kind="stable")
    gain = (misses - FALSE_ALARM_WEIGHT * alarms).ravel()[order].cumsum() / len(scores)
    flat = scores.ravel()[order]
    # No threshold lies between equal scores.
    last = np.append(flat[1:] != flat[:-1], True)
    # A threshold above all scores is allowed too, and is worth 0.
    return float(max(0.0, gain[last].max()))


def bootstrap(
    counts: np.ndarray, statistic: Callable[[np.ndarray], float], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the mean over seeds of a statistic, from counts (seeds, N, K).

    Percentiles over clips drawn anew. Clips are taken as independent: with few speakers the true interval
    is wider. A draw without a value is left out.
    """
    draw, values = np.random.default_rng(seed), []
    for _ in range(resamples):
        # The same clips for all seeds, because the interval is that of their mean over clips.
        rows = draw.integers(counts.shape[1], size=counts.shape[1])
        try:
            values.append(np.mean([statistic(one[rows]) for one in counts]))
        except ValueError:
            continue
    low, high = np.percentile(values, INTERVAL) if values else (0.0, 1.0)
    return float(low), float(high)
