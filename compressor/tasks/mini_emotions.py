"""Emotions for the mini suite: a folder of one's own, or EmoDB. For measuring only: nothing that ships learns it."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

from ..data.labels import read_labels
from ..data.sounds import clip
from .folder import make_task
from .folds import in_folds
from .kinds import Item
from .task import Task, refuse_shared_speakers

EMOTION, EMODB = "emotion", "emodb"
# Burkhardt et al. 2005: five men (03, 10, 11, 12, 15) and five women; each fold tests one of each.
FOLDS = (("03", "08"), ("10", "09"), ("11", "13"), ("12", "14"), ("15", "16"))
NOTES = (
    "EmoDB, ten actors: five folds, each tests a man and a woman that it has not heard, val has two others; their mean",
    "acted, German, ten sentences that are in training and test alike; for measuring: nothing that ships learns it",
)


def has_emotions(root: Path) -> bool:
    return any((root / name / "labels.tsv").is_file() for name in (EMOTION, EMODB))


def emotions(root: Path, most: int | None) -> Task:
    """The user's own corpus where there is one, else EmoDB, by unseen speakers.

    Raises SpeechpressError when neither is there, or its labels lack something.
    """
    if not has_emotions(root):
        raise SpeechpressError(
            f"task 'er': no freely usable corpus of emotions is part of the mini suite. Put EmoDB under {root / EMODB} "
            f"or your own under {root / EMOTION}, with a labels.tsv (path, emotion, speaker), use --suite superb with "
            "IEMOCAP, or leave it out with --tasks"
        )
    if (root / EMOTION / "labels.tsv").is_file():
        _rows(root / EMOTION)
        return refuse_shared_speakers(make_task("er", root / EMOTION, None, most), EMOTION)
    voices: dict[str, list[Item]] = defaultdict(list)
    for path, row in _rows(root / EMODB).items():
        voices[row["speaker"]].append(Item(clip(path), "", row["emotion"], row["speaker"]))
    known = {name for pair in FOLDS for name in pair}
    if set(voices) != known:
        raise SpeechpressError(
            f"{root / EMODB / 'labels.tsv'}: has the speakers {', '.join(sorted(voices))}, but EmoDB has "
            f"{', '.join(sorted(known))}; a corpus of another kind belongs under {root / EMOTION}"
        )
    return in_folds("er", [[*voices[man], *voices[woman]] for man, woman in FOLDS], NOTES)


def _rows(folder: Path) -> Mapping[str, Mapping[str, str]]:
    path = folder / "labels.tsv"
    rows = read_labels(path)
    for column in ("emotion", "speaker"):
        lacking = [place for place, row in rows.items() if not row.get(column)]
        if lacking:
            raise SpeechpressError(
                f"{path}: task 'er' needs a {column} for every clip, but {len(lacking)} of {len(rows)} have none, the "
                f"first is {lacking[0]}"
            )
    return rows
