"""The clips that `taught_words.py` teaches and looks for, and the speech that holds none of them."""

import csv
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechpress.compressor.data.audio import read_audio

RATE = 16_000


@dataclass(frozen=True)
class Clip:
    path: Path
    word: str
    speaker: str


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def words_of(corpora: Path, tune: bool) -> dict[str, list[Clip]]:
    """The clips of each test, at most eight per word and speaker."""
    arabic, split = corpora / "arabic_speech_commands", "val" if tune else "test"
    names = sorted({row["keyword"] for row in rows(arabic)})[int(tune) :: 2]
    clips = {
        "commands": [
            Clip(arabic / row["path"], row["keyword"], row["speaker"])
            for row in rows(arabic)
            if row["split"] == split and row["keyword"] in names
        ]
    }
    if not tune:
        digits, wake = corpora / "fsdd", corpora / "picovoice_wakewords"
        clips["digits"] = [Clip(digits / row["path"], row["digit"], row["speaker"]) for row in rows(digits)]
        # No speakers are named: each word counts as one "speaker", and hits are of unknown speakers.
        clips["wake words"] = [Clip(wake / row["path"], row["keyword"], "?") for row in rows(wake)]
    return {name: few(found, 60 if name == "wake words" else 6) for name, found in clips.items()}


def few(clips: list[Clip], most: int) -> list[Clip]:
    groups: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[clip.word, clip.speaker].append(clip)
    draw = random.Random(0)
    return [clip for key in sorted(groups) for clip in draw.sample(groups[key], min(most, len(groups[key])))]


def other_speech(corpora: Path, hours: float, tune: bool) -> Iterator[np.ndarray]:
    """Recordings of speechocean762's test part; its first speakers are for tuning, the others are reported."""
    found = [row for row in rows(corpora / "speechocean762") if row["split"] == "test"]
    speakers = sorted({row["speaker"] for row in found})
    chosen = set(speakers[: len(speakers) // 3] if tune else speakers[len(speakers) // 3 :])
    left = hours * 3600 * RATE
    for row in random.Random(1).sample(found, len(found)):
        if row["speaker"] in chosen and left > 0:
            wave = read_audio(corpora / "speechocean762" / row["path"])
            left -= len(wave)
            yield wave


def queries(clips: list[Clip], per_word: int) -> list[tuple[str, str, list[int]]]:
    """Word, speaker and three clips of theirs; `per_word` speakers (of unknown ones: draws) for each word."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        groups[clip.word, clip.speaker].append(index)
    draw, found = random.Random(2), []
    for word in sorted({clip.word for clip in clips}):
        keys = [key for key in sorted(groups) if key[0] == word]
        picked = draw.sample(keys, per_word) if len(keys) >= per_word else keys * per_word
        found += [(word, speaker, draw.sample(groups[word, speaker], 3)) for _, speaker in picked]
    return found
