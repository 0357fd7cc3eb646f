"""LibriSpeech, Libri2Mix and QUESST14 for SUPERB's tasks about what is said, who speaks when, and where a word is.

Shapes: T bins of 100 ms.
"""

import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from speechpress.runtime.errors import SpeechpressError

from ..data.sounds import clip
from ..models.config import SAMPLE_RATE
from .kinds import GRID_SAMPLES, Item
from .superb_files import find, length_s, lines_of, thinned
from .task import Task, checked

LIBRISPEECH = {"train": "train-clean-100", "val": "dev-clean", "test": "test-clean"}
LEXICONS = "librispeech-lexicon*.txt"
MOST_UNSPELLED = 0.05
DIARIZATION = ("Libri2Mix/diarization", "diarization/data", "diarization", "Libri2Mix")
MIX_FOLDERS = {"train": "train", "val": "dev", "test": "test"}
QUESST = {"val": "dev", "test": "eval"}
LANGUAGE = "nnenglish"
BIN_S = GRID_SAMPLES / SAMPLE_RATE


def letters(root: Path, most: int | None) -> Task:
    """Letters of LibriSpeech, counted as words, without a language model."""
    items = [Item(clip(path), split, tuple(text), speaker) for path, split, text, speaker in _sentences(root, "asr")]
    notes = ("letters by CTC with a small LSTM, greedily read, without a language model",)
    return checked(Task("asr", "words", thinned(items, most), notes))


def phones(root: Path, most: int | None) -> Task:
    """Phones of LibriSpeech, from the first pronunciation of every word."""
    said = _lexicon(root)
    items, missing = [], set()
    sentences = _sentences(root, "pr")
    for path, split, text, speaker in sentences:
        words = text.split()
        unknown = [word for word in words if word not in said]
        missing.update(unknown)
        if not unknown:
            items.append(Item(clip(path), split, tuple(phone for word in words for phone in said[word]), speaker))
    left_out = len(sentences) - len(items)
    if left_out > MOST_UNSPELLED * len(sentences):
        raise SpeechpressError(
            f"task 'pr': {left_out} of {len(sentences)} sentences have words that no lexicon spells, such as "
            f"{', '.join(sorted(missing)[:3])}; add librispeech-lexicon-200k-g2p.txt and "
            "librispeech-lexicon-allothers-g2p.txt, which come with s3prl"
        )
    notes = ["phones with stress, from the lexicon: the first pronunciation of every word"]
    if left_out:
        notes.append(f"{left_out} sentences with words that the lexicon lacks are left out")
    return checked(Task("pr", "ctc", thinned(items, most), tuple(notes)))


def _sentences(root: Path, task: str) -> list[tuple[Path, str, str, str]]:
    """(audio, split, text, speaker) of the three parts, from their .trans.txt."""
    folder = find(root, task, ("LibriSpeech",))
    found = []
    for split, part in LIBRISPEECH.items():
        place = find(folder, task, (part,))
        texts = sorted(place.glob("*/*/*.trans.txt"))
        if not texts:
            raise SpeechpressError(f"{place}: holds no */*/*.trans.txt, and task {task!r} needs it; unpack it again")
        for path in texts:
            for _, (name, *words) in lines_of(path, task):
                found.append((path.with_name(f"{name}.flac"), split, " ".join(words), name.split("-")[0]))
    return found


def _lexicon(root: Path) -> dict[str, list[str]]:
    folder = find(root, "pr", ("LibriSpeech",))
    files = sorted(folder.glob(LEXICONS)) or sorted(root.glob(LEXICONS))
    if not files:
        raise SpeechpressError(
            f"{folder / LEXICONS}: is not there, and task 'pr' needs it; it comes with s3prl (downstream/ctc/lexicon) "
            "and with LibriSpeech, or leave the task out with --tasks"
        )
    said: dict[str, list[str]] = {}
    for path in files:
        for _, (word, *sounds) in lines_of(path, "pr"):
            # Not overwritten: the first pronunciation counts.
            said.setdefault(word.upper(), sounds)
    return said


def mixtures(root: Path, most: int | None) -> Task:
    """Libri2Mix as s3prl's LibriMix prepares it for diarisation: a Kaldi folder for each split."""
    folder = find(root, "sd", DIARIZATION)
    items = [item for split, part in MIX_FOLDERS.items() for item in _kaldi(find(folder, "sd", (part,)), split)]
    notes = ("decided every 100 ms, without a collar or a median filter; a small LSTM in one direction and the other",)
    return checked(Task("sd", "diarize", thinned(items, most), notes))


def _kaldi(folder: Path, split: str) -> list[Item]:
    """Recordings of wav.scp with the activity of their two speakers, from segments and utt2spk."""
    speaker_of = {words[0]: words[1] for _, words in lines_of(folder / "utt2spk", "sd", 2)}
    segments = defaultdict(list)
    for number, (name, recording, *span) in lines_of(folder / "segments", "sd", 4):
        if name not in speaker_of:
            raise SpeechpressError(f"{folder / 'segments'}:{number}: {name} has no speaker in utt2spk")
        segments[recording].append((speaker_of[name], float(span[0]), float(span[1])))
    items = []
    for number, (name, *place) in lines_of(folder / "wav.scp", "sd"):
        # Kaldi would run such a line in a shell; nothing that a corpus says is run here.
        if place and place[-1] == "|":
            raise SpeechpressError(f"{folder / 'wav.scp'}:{number}: is a command, but must name a file")
        # Names of folders may hold spaces, at which the line was split.
        path = Path(" ".join(place))
        path = path if path.is_absolute() else folder / path
        speakers = sorted({speaker for speaker, *_ in segments[name]})
        if len(speakers) != 2:
            raise SpeechpressError(f"{folder / 'segments'}: {name} has {len(speakers)} speakers, but must have two")
        items.append(Item(clip(path), split, _activity(path, speakers, segments[name]), "+".join(speakers)))
    return items


def _activity(path: Path, speakers: list[str], spans: list[tuple[str, float, float]]) -> np.ndarray:
    """(T, 2): whether a speaker is heard in the middle of a bin."""
    whole_s = length_s(path, "make the mixtures again")
    middle_s = (np.arange(math.ceil(whole_s / BIN_S)) + 0.5) * BIN_S
    active = np.zeros((len(middle_s), 2), bool)
    for speaker, start_s, stop_s in spans:
        active[(middle_s >= start_s) & (middle_s < stop_s), speakers.index(speaker)] = True
    return active


def queries(root: Path, most: int | None) -> Task:
    """QUESST14, its English part: the same recordings for both splits, queries of their own for each."""
    folder = find(root, "qbe", ("quesst14Database", "quesst14"))
    recordings = _english(folder, "utterances")
    items: list[Item] = []
    for split, part in QUESST.items():
        held = _truth(folder / "scoring" / f"groundtruth_quesst14_{part}" / f"quesst14_{part}.rttm")
        asked = [Item(clip(path), split, path.stem, query=True) for path in _english(folder, part)]
        heard = [Item(clip(path), split, frozenset(held[path.stem])) for path in recordings]
        items += [*thinned(asked, most), *thinned(heard, most)]
    notes = (
        "training-free: slope-limited subsequence DTW on one layer, chosen on val; the search of the live demo",
        "a query counts where any of its three types of match occurs",
    )
    return checked(Task("qbe", "search", tuple(items), notes))


def _english(folder: Path, part: str) -> list[Path]:
    """Files of a list "quesst14Database/Audio/NAME.wav language" whose language is the one that SUPERB takes."""
    path = folder / "scoring" / f"language_key_{part}.lst"
    names = [name for _, (name, language) in lines_of(path, "qbe", 2) if language == LANGUAGE]
    if not names:
        raise SpeechpressError(f"{path}: names no recording of {LANGUAGE}")
    # The list names the corpus' own folder first, which may be called otherwise here.
    return [folder / name.partition("/")[2] for name in names]


def _truth(path: Path) -> dict[str, set[str]]:
    """Queries by the recording that holds them, from the LEXEME lines of an RTTM."""
    held: dict[str, set[str]] = defaultdict(set)
    for _, words in lines_of(path, "qbe"):
        if words[0] == "LEXEME" and len(words) > 5:
            held[Path(words[1]).stem].add(words[5])
    return held
