"""Labelled speech of one's own, or of the mini suite, as a task that a head can learn.

A source is a folder with labels.tsv, a table (CSV or TSV with a column `path`), or a Lhotse cuts manifest; labels are
columns, or what supervisions say (text, speaker, language, and anything under `custom`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text

from ..data.audio import UnreadableAudio
from ..data.corpus import open_corpus
from ..data.formats.choose import AUDIO, Source, reading_of
from ..data.labels import label, read_labels
from ..data.sounds import Noise, Sound, clip, durations_s, read_sound
from ..models.config import SAMPLE_RATE
from ..tasks.folder import split_clips
from ..tasks.kinds import SPEECH_SAMPLES, SPLITS, Item
from ..tasks.mini import MAKERS, mini_task, mixture, spoken
from ..tasks.superb_files import thinned
from ..tasks.task import Task, checked
from .vad import SHORTEST_PAUSE, SPEECH_DB, speech_steps

TABLES = (".csv", ".tsv")
FOLDERS = {"er": ("emotion", "emodb")}  # where a data root keeps what no suite may pass on
MIXTURES = {"train": 600, "val": 40, "test": 80}
MOST_CLIPS = 600  # of a split, for kinds that need no labels
LONGEST_S = 12.0
NOISES_DB = (float("inf"), 20.0, 10.0, 5.0)
PAD_S = 0.5
WORDS_PER_NEW = 4  # every fourth word is kept for val and test


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
    "words": Wish("match", ("keyword", "word", "digit", "label", "text"), "words"),
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
        labelled = _matches if wish.kind == "match" else _answered
        found = make(task, rows) if make else labelled(task, wish, rows, column)
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
    if source.suffix.lower() in TABLES and source.is_file() and reading_of(Source(source)) == AUDIO:
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
    chosen = _column(task, wish, rows, column)
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


def _column(task: str, wish: Wish, rows: Sequence[Row], column: str | None) -> str:
    """The column of the answers, `column` or the first of the task's that some recording has; every one has it."""
    found = column or next((name for name in wish.columns if any(name in row.labels for row in rows)), None)
    if found is None:
        known = sorted({name for row in rows for name in row.labels})
        raise SpeechpressError(
            f"--task {task}: the recordings have none of the labels {', '.join(wish.columns)}; they have "
            f"{', '.join(known) or 'none at all'}. Name one with --label"
        )
    lacking = [row.name for row in rows if not row.labels.get(found, "").strip()]
    if lacking:
        raise SpeechpressError(
            f"--task {task}: {len(lacking)} of {len(rows)} recordings have no {found!r}, the first is {lacking[0]}; "
            "give them one, or take them out of the data"
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


def _matches(task: str, wish: Wish, rows: Sequence[Row], column: str | None) -> Task:
    """Same or another word, one in each recording, cut to it; words of val and test are never trained."""
    chosen, notes, items = _column(task, wish, rows, column), list[str](), []
    silent = 0
    for row in rows:
        try:
            said = spoken(row.sound)
        except UnreadableAudio:
            said = row.sound  # skipped and told where it is heard
        except SpeechpressError:  # nothing stands out from the silence
            silent += 1
            continue
        items.append(replace(_item(row, None), sound=said, name=row.labels[chosen].strip()))
    # By speaker, where they are named: as answers, words would be spread over all parts.
    dealt = split_clips(items, notes)
    known = sorted({item.name for item in dealt})
    new = set(known[::WORDS_PER_NEW]) if len(known) >= 2 * WORDS_PER_NEW else set()
    apart = [item for item in dealt if not new or (item.name in new) == (item.split != "train")]
    kept = [replace(item, target=item.name, name="") for item in apart]
    notes.append(
        f"labels: column {chosen!r}; {silent} recordings hold no word; "
        + (f"{len(new)} of {len(known)} words are of val and test only" if new else "all words are trained")
    )
    return checked(Task(task, "match", tuple(kept), tuple(notes)), all(item.speaker for item in kept))


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
        f"speech was not labelled by people: it is what lies within {-SPEECH_DB:g} dB of the loud parts of the "
        f"clean recording, pauses under {10 * SHORTEST_PAUSE} ms included; heard with {PAD_S:g} s of silence around "
        "it, a quarter of the clips clean, the others in pink noise at 20, 10 and 5 dB"
    )
    return checked(Task(task, "speech", tuple(items), tuple(notes)), all(item.speaker for item in items))


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
