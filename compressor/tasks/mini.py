"""The ten tasks on small corpora that anyone can fetch, from folders with a labels.tsv each; nothing is downloaded.

A data root holds, unpacked: arabic_speech_commands, picovoice_barista, picovoice_wakewords, speechocean762, and for ER
`emodb` or a folder `emotion` of one's own (labels.tsv with path, emotion, speaker). Two cores do it in an hour.

Shapes: S samples.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import parse_object
from speechpress.runtime.schema import Table, Text, check
from speechpress.runtime.sound.word_span import word_span_s

from ..data.audio import read_audio
from ..data.labels import read_labels
from ..data.sounds import Sound, clip, read_sound
from ..models.config import SAMPLE_RATE
from .folder import make_task
from .kinds import GRID_SAMPLES, Item
from .mini_emotions import emotions
from .task import Task, checked, refuse_shared_speakers

SPEECH_DB = -35.0  # below a clip's loudest 100 ms: silence


@dataclass(frozen=True)
class Sizes:
    """Clips per task: per split for the first two, per training speaker, mixtures to train on, recordings per word."""

    keywords: int = 800
    voices: int = 300
    per_speaker: int = 6
    mixtures: int = 900  # of 300 the head learns each by heart, and hardly anything else
    words: int = 24
    queries: int = 4


DEFAULT = Sizes()


def mini_task(name: str, root: Path, sizes: Sizes = DEFAULT) -> Task:
    """One of MAKERS' tasks from a data root.

    Raises SpeechpressError when the corpus is not there, its labels lack something, or the name is unknown.
    """
    if name not in MAKERS:
        raise SpeechpressError(f"eval: there is no task {name!r} in the mini suite; choose from {', '.join(MAKERS)}")
    return MAKERS[name](root, sizes)


def read_rows(root: Path, corpus: str, task: str, *columns: str) -> list[dict[str, str]]:
    """Rows of a corpus' labels.tsv, with `path` absolute. Raises SpeechpressError when something is missing."""
    path = root / corpus / "labels.tsv"
    if not path.is_file():
        raise SpeechpressError(
            f"{path}: is not there, and task {task!r} needs it; unpack {corpus} under {root}, or leave the task out "
            "with --tasks"
        )
    rows = [{"path": place, **row} for place, row in read_labels(path).items()]
    for column in columns:
        lacking = [row["path"] for row in rows if not row.get(column)]
        if lacking:
            raise SpeechpressError(
                f"{path}: task {task!r} needs a {column} for every clip, but {len(lacking)} of {len(rows)} have none, "
                f"the first is {lacking[0]}"
            )
    return rows


def keywords(root: Path, sizes: Sizes) -> Task:
    """40 Arabic commands by unseen speakers."""
    read_rows(root, "arabic_speech_commands", "ks", "keyword", "speaker", "split")
    task = make_task("ks", root / "arabic_speech_commands", None, sizes.keywords)
    return refuse_shared_speakers(task, "arabic_speech_commands")


def speakers(root: Path, sizes: Sizes) -> Task:
    """50 speakers of speechocean762."""
    read_rows(root, "speechocean762", "sid", "speaker", "split")
    return make_task("sid", root / "speechocean762", 50, sizes.voices)


def drinks(root: Path, sizes: Sizes) -> Task:
    """Which drink is ordered: the corpus has a single intent, so its main slot takes the place of one."""
    items = tuple(replace(item, target=dict(item.target)["coffeeDrink"]) for item in _orders(root, "ic"))
    notes = ("the corpus has one intent only, so the drink that is ordered takes its place", NO_SPEAKERS)
    return checked(Task("ic", "classify", items, notes), names_speakers=False)


def order_slots(root: Path, sizes: Sizes) -> Task:
    """All slots of an order."""
    notes = ("the corpus has no transcripts, so a value is chosen for each slot instead of being spelled", NO_SPEAKERS)
    return checked(Task("sf", "slots", _orders(root, "sf"), notes), names_speakers=False)


NO_SPEAKERS = "speakers are not named: the same voice may be in train and test"
_AMOUNT = re.compile(r"(a lot of|lots of|a little bit of|a bit of|a little|some)\s+(.*)")


def _orders(root: Path, task: str) -> tuple[Item, ...]:
    rows = read_rows(root, "picovoice_barista", task, "slots_json")
    items = [Item(clip(row["path"]), "", _slots(row["slots_json"], row["path"])) for row in rows]
    return _dealt(items, (0.6, 0.15))


def _slots(text: str, where: str) -> tuple[tuple[str, str], ...]:
    slots = parse_object(text, f"{where}: slots_json")
    check(slots, Table(Text(1000)), f"{where}: slots_json")
    found = {}
    for slot, value in slots.items():
        amount = _AMOUNT.match(value.strip())
        if amount:  # "some soy milk": two things are said, and each is frequent enough to be learned
            found[f"{slot}/how much"] = amount[1]
        found[slot] = amount[2] if amount else value.strip()
    return tuple(sorted(found.items()))


def _dealt(items: Iterable[Item], shares: tuple[float, float]) -> tuple[Item, ...]:
    """Clips in a fixed random order: the first share to train, the next to val, the rest to test."""
    ordered = sorted(items, key=lambda item: item.order)
    ends = round(shares[0] * len(ordered)), round(sum(shares) * len(ordered))
    splits = ["train" if n < ends[0] else "val" if n < ends[1] else "test" for n in range(len(ordered))]
    return tuple(replace(item, split=split) for item, split in zip(ordered, splits, strict=True))


def _sentences(root: Path, task: str, sizes: Sizes, *columns: str) -> list[tuple[dict[str, str], str]]:
    """Rows of speechocean762 with their split: the corpus' own, its last sixth of train speakers as val.

    Every task takes the same clips of a speaker, so that they are heard once.
    """
    rows = read_rows(root, "speechocean762", task, "speaker", "split", *columns)
    voices: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: Item(clip(row["path"]), "", "").order):
        voices[row["split"], row["speaker"]].append(row)
    shared = {name for split, name in voices if split == "train"} & {name for split, name in voices if split == "test"}
    if shared:
        raise SpeechpressError(
            f"{root / 'speechocean762' / 'labels.tsv'}: {len(shared)} speakers are in train and in test, such as "
            f"{min(shared)}; task {task!r} is about unseen speakers, so give each speaker to one split"
        )
    trained = sorted(name for split, name in voices if split == "train")
    # Two at least: trials and mixtures need another speaker.
    held = set(trained[-max(2, len(trained) // 6) :])
    return [
        (row, "val" if name in held else split)
        for (split, name), rows in sorted(voices.items())
        for row in rows[: sizes.per_speaker if split == "train" else max(2, sizes.per_speaker // 2)]
    ]


def phones(root: Path, sizes: Sizes) -> Task:
    """Canonical phones, without their stress."""
    items = tuple(
        Item(clip(row["path"]), split, tuple(re.findall(r"[A-Z]+", row["phones_by_word"])), row["speaker"])
        for row, split in _sentences(root, "pr", sizes, "phones_by_word")
    )
    note = "the phones are those of the text, whatever a learner of English made of it"
    return checked(Task("pr", "ctc", items, (note,)))


def letters(root: Path, sizes: Sizes) -> Task:
    """Letters, counted as words, without a language model."""
    items = tuple(
        Item(clip(row["path"]), split, tuple(row["text"]), row["speaker"])
        for row, split in _sentences(root, "asr", sizes, "text")
    )
    note = "too little speech to learn to spell: words come out wrong even where letters are right, so see its CER"
    return checked(Task("asr", "words", items, (note,)))


def voices(root: Path, sizes: Sizes) -> Task:
    """Same or another speaker, of those of the test part."""
    items = tuple(
        Item(clip(row["path"]), split, row["speaker"], row["speaker"]) for row, split in _sentences(root, "asv", sizes)
    )
    note = "trials are drawn from the test speakers; the head is a small x-vector (mean and deviation, AM-softmax)"
    return checked(Task("asv", "verify", items, (note,)))


def mixtures(root: Path, sizes: Sizes) -> Task:
    """Two clips of different speakers laid over each other, with the activity of each by its own loudness."""
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row, split in _sentences(root, "sd", sizes):
        groups[split].append(row)
    counts = {"train": sizes.mixtures, "val": max(2, sizes.mixtures // 15), "test": max(2, sizes.mixtures // 8)}
    # Not the seed of a run: every run is scored on the same mixtures.
    draw = np.random.default_rng(0)
    items = [mixture(groups[split], split, draw) for split, count in counts.items() for _ in range(count)]
    notes = ("mixtures of two clips of speechocean762; who is active follows from each clip's loudness",)
    return checked(Task("sd", "diarize", tuple(items), notes))


def mixture(rows: list[dict[str, str]], split: str, draw: np.random.Generator) -> Item:
    """Two clips of different speakers, which rows name under `path` and `speaker`, and who is active when."""
    first = rows[int(draw.integers(len(rows)))]
    others = [row for row in rows if row["speaker"] != first["speaker"]]
    second = others[int(draw.integers(len(others)))]
    active = [speech_grid(read_audio(row["path"])) for row in (first, second)]
    # From half of the first clip to shortly after its end, so that there are overlaps and gaps.
    lag = int(draw.integers(max(1, int(0.5 * len(active[0]))), len(active[0]) + 5))
    both = np.zeros((max(len(active[0]), lag + len(active[1])), 2), bool)
    both[: len(active[0]), 0] = active[0]
    both[lag : lag + len(active[1]), 1] = active[1]
    sound = Sound(((first["path"], 0.0), (second["path"], lag * GRID_SAMPLES / SAMPLE_RATE)))
    return Item(sound, split, both, f"{first['speaker']}+{second['speaker']}")


def speech_grid(wave: np.ndarray) -> np.ndarray:
    """(S,) -> whether each 100 ms is within 35 dB of the loudest one."""
    padded = np.pad(wave, (0, -len(wave) % GRID_SAMPLES)).reshape(-1, GRID_SAMPLES)
    # 1e-10 is -100 dB: digital silence has no logarithm.
    level_db = 10 * np.log10((padded**2).mean(1) + 1e-10)
    return level_db > level_db.max() + SPEECH_DB


def wake_words(root: Path, sizes: Sizes) -> Task:
    """Each wake word searched for by examples of it; val and test share no recording."""
    rows = read_rows(root, "picovoice_wakewords", "qbe", "keyword")
    groups: dict[str, list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: Item(clip(row["path"]), "", "").order):
        groups[row["keyword"]].append(row["path"])
    items: list[Item] = []
    for word, paths in sorted(groups.items()):
        half = min(sizes.words, len(paths) // 2)
        for split, part in (("val", paths[:half]), ("test", paths[half : 2 * half])):
            if len(part) <= sizes.queries:
                raise SpeechpressError(f"task 'qbe': {word!r} has {len(paths)} recordings, which are too few to search")
            # Only queries are cut: the silence around one would have to be found in the recording too.
            items += [Item(spoken(clip(path)), split, word, query=True) for path in part[: sizes.queries]]
            items += [Item(clip(path), split, word) for path in part[sizes.queries :]]
    notes = ("training-free: subsequence DTW on one layer, chosen on val; the search of the live demo", NO_SPEAKERS)
    return checked(Task("qbe", "search", tuple(items), notes))


def spoken(sound: Sound) -> Sound:
    """The part of a recording in which something is said; raises SpeechpressError when nothing is."""
    start_s, stop_s = word_span_s(read_sound(sound), SAMPLE_RATE)
    first_s = (sound.start_s or 0.0) + start_s
    return replace(sound, crop_s=round(max(stop_s - start_s, 0.3), 2), start_s=round(first_s, 2))


MAKERS: dict[str, Callable[[Path, Sizes], Task]] = {
    "ks": keywords,
    "ic": drinks,
    "sf": order_slots,
    "sid": speakers,
    "asv": voices,
    "sd": mixtures,
    "er": lambda root, sizes: emotions(root, sizes.keywords),
    "pr": phones,
    "asr": letters,
    "qbe": wake_words,
}
