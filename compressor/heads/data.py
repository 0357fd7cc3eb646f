"""Labelled speech of one's own, or of the mini suite, as a task that a head can learn.

A source is a folder with labels.tsv, a table (CSV or TSV with a column `path`), or a Lhotse cuts manifest; labels are
columns, or what supervisions say (text, speaker, language, and anything under `custom`).
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text

from ..data.corpus import open_corpus
from ..data.labels import label, read_labels
from ..data.sounds import Noise, Sound, clip, durations_s, read_sound
from ..models.config import SAMPLE_RATE
from ..tasks.folder import split_clips
from ..tasks.kinds import SPEECH_SAMPLES, SPLITS, Item
from ..tasks.mini import MAKERS, mini_task, mixture
from ..tasks.superb_files import thinned
from ..tasks.task import Task, checked

TABLES = (".csv", ".tsv")
FOLDERS = {"er": ("emotion", "emodb")}  # where a data root keeps what no suite may pass on
MIXTURES = {"train": 600, "val": 40, "test": 80}
MOST_CLIPS = 600  # of a split, for kinds that need no labels
LONGEST_S = 12.0
SPEECH_DB, LOUD, SHORTEST_PAUSE = -30.0, 0.95, 10  # below the level that 5 % exceed: silence; in steps of 10 ms
NOISES_DB = (float("inf"), 20.0, 10.0, 5.0)
PAD_S = 0.5


@dataclass(frozen=True)
class Wish:
    """What `--task` may say: the kind of task, of head, the columns that may hold its answers, and its usual name."""

    kind: str
    columns: tuple[str, ...]
    name: str
    letters: bool = False


CLASSES = ("label", "keyword", "digit", "intent", "emotion", "language", "speaker")
WISHES = {
    "classify": Wish("classify", CLASSES, "classes"),
    "ctc": Wish("ctc", ("phones", "text"), "labels"),
    "speaker": Wish("verify", ("speaker",), "voice"),
    "vad": Wish("speech", (), "vad"),
    "segment": Wish("diarize", ("speaker",), "who"),
    "units": Wish("units", (), "units"),
    "ks": Wish("classify", ("keyword", "digit", "label"), "keywords"),
    "ic": Wish("classify", ("intent", "label"), "intents"),
    "sid": Wish("classify", ("speaker",), "speakers"),
    "er": Wish("classify", ("emotion", "label"), "emotions"),
    "lid": Wish("classify", ("language", "label"), "languages"),
    "pr": Wish("ctc", ("phones",), "phones"),
    "asr": Wish("ctc", ("text",), "letters", letters=True),
    "asv": Wish("verify", ("speaker",), "voice"),
    "sd": Wish("diarize", ("speaker",), "who"),
}
NO_HEADS = {
    "sf": "slots attend to the whole clip at once, so they cannot stream",
    "qbe": "it is a search, which trains nothing",
}


@dataclass(frozen=True)
class Row:
    """A recording, or a part of one, and what is known of it."""

    sound: Sound
    labels: dict[str, str]
    name: str

    @property
    def speaker(self) -> str:
        return self.labels.get("speaker", self.labels.get("speaker_id", ""))


def known_wish(task: str) -> Wish:
    """Raises SpeechpressError for a task that no head has."""
    if task in NO_HEADS:
        raise SpeechpressError(f"--task {task}: has no head that can be kept: {NO_HEADS[task]}")
    if task not in WISHES:
        raise SpeechpressError(f"--task {task}: must be one of {', '.join(WISHES)}")
    return WISHES[task]


def open_task(task: str, data: Path, column: str | None = None, labels: Sequence[str] = ()) -> Task:
    """The task of a head with labels; `column` names that of the answers, `labels` all that there may be.

    Raises SpeechpressError for missing or unknown labels, a class without examples, or answers that nothing can be
    learned from.
    """
    wish = known_wish(task)
    root = suite_root(task, data)
    if root is not None and column is None:
        found = mini_task(task, root)
    else:
        rows = read_rows(_own(task, data))
        make = {"verify": _voices, "diarize": _mixtures, "speech": _speech}.get(wish.kind)
        found = make(task, rows) if make else _answered(task, wish, rows, column)
    return _within(found, labels) if labels else found


def suite_root(task: str, data: Path) -> Path | None:
    """The folder, if it is one that holds the mini suite's corpora."""
    if task not in MAKERS or not data.is_dir() or (data / "labels.tsv").is_file():
        return None
    corpora = ("speechocean762", "arabic_speech_commands", "picovoice_barista", "emotion")
    if task == "er" and not (data / "emotion" / "labels.tsv").is_file():
        return None
    return data if any((data / name / "labels.tsv").is_file() for name in corpora) else None


def _own(task: str, data: Path) -> Path:
    inside = [data / name for name in FOLDERS.get(task, ()) if (data / name / "labels.tsv").is_file()]
    return inside[0] if inside else data


def read_rows(source: Path) -> list[Row]:
    """Every recording of a source. Raises SpeechpressError when it cannot be read, or holds none."""
    if source.suffix.lower() in TABLES and source.is_file():
        rows = [Row(clip(path), labels, path) for path, labels in read_labels(source).items()]
        if not rows:
            raise SpeechpressError(f"{source}: names no recordings")
        return rows
    return [_of_cut(cut, str(source)) for cut in open_corpus(source).cuts]


def _of_cut(cut: Any, source: str) -> Row:
    files = [item for item in cut.recording.sources if item.type == "file"]
    if len(files) != 1 or len(cut.recording.channel_ids) != 1:
        raise SpeechpressError(
            f"{source}: {cut.id} is not one file of one channel; heads are trained on files, so unpack Shar shards and "
            "split channels first"
        )
    names = {"speaker", "text", "language", "split"}
    for supervision in cut.supervisions:
        names |= set(supervision.custom or {})
    found = {name: label(cut, name) for name in sorted(names)}
    whole = cut.start == 0 and abs(cut.duration - cut.recording.duration) < 0.01
    parts = ((str(files[0].source), 0.0),)
    sound = Sound(parts) if whole else Sound(parts, round(cut.duration, 4), round(cut.start, 4))
    return Row(sound, {name: value for name, value in found.items() if value}, cut.id)


def _answered(task: str, wish: Wish, rows: Sequence[Row], column: str | None) -> Task:
    """Classes, or tokens over time."""
    chosen = column or _column(task, wish, rows)
    lacking = [row.name for row in rows if not row.labels.get(chosen, "").strip()]
    if lacking:
        raise SpeechpressError(
            f"--task {task}: {len(lacking)} of {len(rows)} recordings have no {chosen!r}, the first is {lacking[0]}; "
            "give them one, or take them out of the data"
        )
    spelled = wish.kind == "ctc" and chosen != "phones" and (wish.letters or chosen == "text")

    def answer(text: str) -> Any:
        if wish.kind == "classify":
            return text.strip()
        return tuple(text.strip()) if spelled else tuple(text.split())

    items = [_item(row, answer(row.labels[chosen])) for row in rows]
    notes = [f"labels: column {chosen!r}" + (", letter by letter" if spelled else "")]
    items = split_clips(items, notes)
    kind = "words" if spelled else wish.kind
    return checked(Task(task, kind, tuple(items), tuple(notes)), all(row.speaker for row in rows))


def _column(task: str, wish: Wish, rows: Sequence[Row]) -> str:
    """The first of a task's columns that some recording has."""
    found = next((name for name in wish.columns if any(name in row.labels for row in rows)), None)
    if found is None:
        known = sorted({name for row in rows for name in row.labels})
        raise SpeechpressError(
            f"--task {task}: the recordings have none of the labels {', '.join(wish.columns)}; they have "
            f"{', '.join(known) or 'none at all'}. Name one with --label"
        )
    return found


def _item(row: Row, target: Any) -> Item:
    split = row.labels.get("split", "").lower()
    split = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "eval": "test"}.get(split, split)
    return Item(row.sound, split, target, row.speaker, voice=row.speaker, name=row.name)


def _require_speakers(task: str, rows: Sequence[Row]) -> None:
    lacking = [row.name for row in rows if not row.speaker]
    if lacking:
        raise SpeechpressError(
            f"--task {task}: {len(lacking)} of {len(rows)} recordings have no 'speaker', the first is {lacking[0]}"
        )


def _voices(task: str, rows: Sequence[Row]) -> Task:
    """Same or another voice; the speakers of each split are its own."""
    _require_speakers(task, rows)
    notes: list[str] = []
    # An answer that is no class: speakers that are told apart must not be those of the training.
    items = [replace(item, target=item.speaker) for item in split_clips([_item(row, None) for row in rows], notes)]
    return checked(Task(task, "verify", tuple(items), tuple(notes)))


def _mixtures(task: str, rows: Sequence[Row]) -> Task:
    """Two clips of different speakers laid over each other."""
    _require_speakers(task, rows)
    if any(row.sound.crop_s is not None for row in rows):
        raise SpeechpressError(f"--task {task}: mixtures are made of whole files; cut the recordings into clips first")
    notes: list[str] = []
    groups: dict[str, list[dict[str, str]]] = {split: [] for split in SPLITS}
    for item in split_clips([_item(row, None) for row in rows], notes):
        groups[item.split].append({"path": item.sound.parts[0][0], "speaker": item.speaker})
    for split, found in groups.items():
        if len({row["speaker"] for row in found}) < 2:
            raise SpeechpressError(f"--task {task}: the {split} part has fewer than two speakers, so nothing to mix")
    draw = np.random.default_rng(0)
    items = [mixture(groups[split], split, draw) for split, count in MIXTURES.items() for _ in range(count)]
    notes.append("mixtures of two clips; who is active follows from each clip's loudness")
    return checked(Task(task, "diarize", tuple(items), tuple(notes)))


def plain_items(rows: Sequence[Row], notes: list[str]) -> list[Item]:
    """Clips without answers in their splits, not too many, none too long."""
    lengths = durations_s(row.sound for row in rows)
    items = []
    for row in rows:
        sound = row.sound
        if lengths[sound] > LONGEST_S:
            sound = replace(sound, crop_s=LONGEST_S, start_s=sound.start_s or 0.0)
        items.append(_item(replace(row, sound=sound), None))
    return list(thinned(split_clips(items, notes), MOST_CLIPS))


def _speech(task: str, rows: Sequence[Row]) -> Task:
    """Speech with silence around it, clean and in pink noise; what is speech is heard from the clean recording."""
    notes: list[str] = []
    items = []
    for number, item in enumerate(plain_items(rows, notes)):
        active = speech_steps(read_sound(item.sound))
        noise = Noise(PAD_S, NOISES_DB[number % len(NOISES_DB)], number)
        pad = round(PAD_S * SAMPLE_RATE / SPEECH_SAMPLES)
        items.append(replace(item, sound=replace(item.sound, noise=noise), target=np.pad(active, pad)))
    notes.append(
        f"what is speech was not marked by people: it is what lies within {-SPEECH_DB:g} dB of the loud parts of the "
        f"clean recording, pauses under {10 * SHORTEST_PAUSE} ms included; heard with {PAD_S:g} s of silence around "
        "it, a quarter of the clips clean, the others in pink noise at 20, 10 and 5 dB"
    )
    return checked(Task(task, "speech", tuple(items), tuple(notes)), all(item.speaker for item in items))


def speech_steps(wave: np.ndarray) -> np.ndarray:
    """(S,) of clean speech -> whether each 10 ms is speech, by its loudness."""
    padded = np.pad(wave, (0, -len(wave) % SPEECH_SAMPLES)).reshape(-1, SPEECH_SAMPLES)
    # 1e-10 is -100 dB: digital silence has no logarithm.
    level_db = 10 * np.log10((padded**2).mean(1) + 1e-10)
    active = level_db > np.quantile(level_db, LOUD) + SPEECH_DB
    marks = np.flatnonzero(active)
    for before, after in itertools.pairwise(marks):
        if after - before <= SHORTEST_PAUSE:
            active[before:after] = True
    return active


def _within(task: Task, labels: Sequence[str]) -> Task:
    """The task; raises SpeechpressError unless its answers are exactly these labels, or some of them for tokens."""
    allowed = set(labels)
    tokens = task.kind in ("ctc", "words")
    if not tokens and task.kind != "classify":
        raise SpeechpressError(f"--labels: a head for {task.name!r} has none")
    for item in task.items:
        extra = [one for one in (item.target if tokens else (item.target,)) if one not in allowed]
        if extra:
            raise SpeechpressError(
                f"--labels: the data exceeds them: {item.sound.place} has {extra[0]!r}; add it to --labels, or take "
                "the recording out of the data"
            )
    trained = {one for item in task.part("train") for one in (item.target if tokens else (item.target,))}
    missing = sorted(allowed - trained)
    if missing:
        raise SpeechpressError(
            f"--labels: {len(missing)} of them have no example in the training part, the first is {missing[0]!r}; "
            "record some, or take them out"
        )
    return task


def read_label_list(text: str) -> tuple[str, ...]:
    """Labels separated by commas, or the lines of a file.

    Raises SpeechpressError for none, or one that stands twice.
    """
    path = Path(text)
    try:
        words = path.read_text(encoding="utf-8").splitlines() if path.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise SpeechpressError(f"--labels {text}: cannot be read ({error})") from error
    labels = tuple(word if word == " " else word.strip() for word in words if word == " " or word.strip())
    if not labels:
        raise SpeechpressError("--labels: is empty, so there would be nothing to answer")
    if len(set(labels)) < len(labels):
        twice = next(name for name in labels if labels.count(name) > 1)
        raise SpeechpressError(f"--labels: {twice!r} stands twice")
    return labels


def fingerprint(items: Sequence[Item]) -> str:
    """SHA-256 over clips, splits and answers, wherever they lie."""
    digest = hashlib.sha256()
    for line in sorted(json_text([item.order, item.split, _plain(item.target)], ascii=True) for item in items):
        digest.update(line.encode())
    return digest.hexdigest()


def _plain(target: Any) -> Any:
    return hashlib.sha256(target.tobytes()).hexdigest() if isinstance(target, np.ndarray) else target


def label_line(labels: Sequence[str]) -> dict[str, Any]:
    """How many labels there are, and which; the blank of CTC is none."""
    shown = [one for one in labels if one]
    return {"count": len(shown), "list": shown}


def data_line(source: Path, items: Sequence[Item], counts: Mapping[str, int]) -> dict[str, Any]:
    """Which speech a head was trained on."""
    lengths = durations_s({item.sound for item in items})
    return {
        "source": str(source),
        "clips": dict(counts),
        "hours": sum(lengths.values()) / 3600,
        "fingerprint": fingerprint(items),
    }
