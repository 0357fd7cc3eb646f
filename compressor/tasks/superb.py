"""SUPERB's own corpora, read where they lie, in the layouts in which they are published; nothing is downloaded.

A data root holds, under these names (or those of `find`): speech_commands_v0.01 and speech_commands_test_set_v0.01,
fluent_speech_commands_dataset, SNIPS, VoxCeleb1, Libri2Mix (as s3prl prepares it), IEMOCAP, LibriSpeech,
quesst14Database. The splits are those of SUPERB (arXiv:2105.01051) as s3prl has them. What is still not SUPERB is said
in each task's notes; numbers of these small heads do not belong beside published ones.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

from ..data.sounds import Sound, clip
from .folds import in_folds
from .kinds import Item
from .superb_files import audio_below, find, length_s, lines_of, table_of, thinned
from .superb_speech import letters, mixtures, phones, queries
from .superb_voices import same_voices, speakers
from .task import Task, checked, refuse_shared_speakers

Maker = Callable[[Path, int | None], Task]

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE, NOISE = "_unknown_", "_silence_", "_background_noise_"
MOST_PER_CLASS = 2**27 - 1  # the constant in the corpus' own rule for its splits
SLOTS = ("action", "object", "location")
SNIPS_SPEAKERS = {
    "train": ("Ivy", "Joanna", "Joey", "Justin", "Kendra", "Kimberly", "Matthew", "Salli"),
    "val": ("Aditi", "Amy", "Geraint", "Nicole"),
    "test": ("Brian", "Emma", "Raveena", "Russell"),
}
SNIPS_FOLDERS = {"train": "train", "val": "valid", "test": "test"}
EMOTIONS = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
SESSIONS = 5


def superb_task(name: str, root: Path, most: int | None = None) -> Task:
    """One of MAKERS' tasks from a data root, with at most so many clips per split.

    Raises SpeechpressError when the corpus is not there, lacks something, or the name is unknown.
    """
    if name not in MAKERS:
        raise SpeechpressError(f"eval: there is no task {name!r} in SUPERB; choose from {', '.join(MAKERS)}")
    return MAKERS[name](root, most)


def keywords(root: Path, most: int | None) -> Task:
    """Speech Commands v0.01: ten words, everything else, and silence; the test set is an archive of its own."""
    train = find(root, "ks", ("speech_commands_v0.01", "SpeechCommands/speech_commands_v0.01"))
    test = find(root, "ks", ("speech_commands_test_set_v0.01", "SpeechCommands/speech_commands_test_set_v0.01"))
    items = []
    for path in audio_below(train, "ks"):
        # The name up to _nohash_ tells who speaks; the number after it is that of the take.
        word, speaker = path.parent.name, path.name.split("_nohash_")[0]
        split = commands_split(path.name)
        # The tenth that would be the test part is left out: the test set is an archive of its own.
        if word != NOISE and split != "test":
            items.append(Item(clip(path), split, word if word in KEYWORDS else UNKNOWN, speaker))
    items += _silence(train / NOISE)
    for path in audio_below(test, "ks"):
        label = path.parent.name
        if label not in (*KEYWORDS, UNKNOWN, SILENCE):
            raise SpeechpressError(f"{path}: {label!r} is not a class of the test set; unpack it again")
        items.append(Item(clip(path), "test", label, path.name.split("_nohash_")[0]))
    notes = ("silence is learned from ten pieces of each background noise; SUPERB draws its pieces again each time",)
    return checked(Task("ks", "classify", thinned(items, most), notes))


def commands_split(name: str) -> str:
    """The split of a file by its speaker's hash, as the corpus' README has it: a tenth each for val and test."""
    digest = hashlib.sha1(re.sub(r"_nohash_.*$", "", name).encode(), usedforsecurity=False).hexdigest()
    share = int(digest, 16) % (MOST_PER_CLASS + 1) * (100.0 / MOST_PER_CLASS)
    return "val" if share < 10 else "test" if share < 20 else "train"


def _silence(folder: Path) -> list[Item]:
    """Pieces of a second: nine of ten to train, the last to val."""
    items = []
    for path in audio_below(folder, "ks"):
        whole_s = length_s(path, "unpack speech_commands again")
        starts = [round(max(0.0, whole_s - 1) * part / 9, 2) for part in range(10)]
        items += [
            Item(Sound(((str(path), 0.0),), 1.0, start_s), "val" if part == 9 else "train", SILENCE, path.name)
            for part, start_s in enumerate(starts)
        ]
    return items


def intents(root: Path, most: int | None) -> Task:
    """Fluent Speech Commands: action, object and location together are the intent."""
    folder = find(root, "ic", ("fluent_speech_commands_dataset", "FluentSpeechCommands"))
    items = []
    for file, split in (("train", "train"), ("valid", "val"), ("test", "test")):
        for row in table_of(folder / "data" / f"{file}_data.csv", "ic", ("path", "speakerId", *SLOTS)):
            intent = " ".join(row[slot] for slot in SLOTS)
            items.append(Item(clip(folder / row["path"]), split, intent, row["speakerId"]))
    notes = ("the three slots are one class here; SUPERB classifies each and counts clips in which all are right",)
    task = checked(Task("ic", "classify", thinned(items, most), notes))
    return refuse_shared_speakers(task, str(folder / "data"))


def slots(root: Path, most: int | None) -> Task:
    """Audio SNIPS: letters with marks where a slot begins and ends, unseen voices."""
    folder = find(root, "sf", ("SNIPS",))
    labels = folder / "all.iob.snips.txt"
    tokens = {words[0]: _marked(words[1:], f"{labels}:{number}") for number, words in lines_of(labels, "sf")}
    items = []
    for split, names in SNIPS_SPEAKERS.items():
        for path in audio_below(folder / SNIPS_FOLDERS[split], "sf"):
            speaker = path.stem.split("-")[0]
            if speaker not in names:
                continue
            if path.stem not in tokens:
                raise SpeechpressError(f"{labels}: has no line for {path.name}; prepare the corpus again")
            items.append(Item(clip(path), split, tokens[path.stem], speaker))
    notes = ("the voices are a speech synthesiser's; letters by CTC with a small LSTM",)
    return checked(Task("sf", "spell", thinned(items, most), notes))


def _marked(words: list[str], where: str) -> tuple[str, ...]:
    """Words and their IOB tags, "BOS play jazz EOS O O B-genre intent" -> letters with B-genre and E-genre around."""
    if len(words) < 4 or len(words) % 2 or words[0] != "BOS" or "EOS" not in words:
        raise SpeechpressError(f"{where}: is not 'BOS words EOS tags intent' with a tag for every word")
    middle = words.index("EOS")
    said, tags = words[1:middle], words[middle + 2 : -1]
    if len(said) != len(tags):
        raise SpeechpressError(f"{where}: has {len(said)} words but {len(tags)} tags")
    tokens: list[str] = []
    opened = None
    for word, tag in zip(said, tags, strict=True):
        if opened and not tag.startswith("I-"):
            tokens.append(f"E-{opened}")
            opened = None
        tokens += [" "] if tokens else []
        if tag.startswith("B-"):
            opened = tag[2:]
            tokens.append(f"B-{opened}")
        tokens += word.upper()
    return (*tokens, f"E-{opened}") if opened else tuple(tokens)


def emotions(root: Path, most: int | None) -> Task:
    """IEMOCAP: neutral, happy (with excited), angry, sad; five folds, each session once the test part."""
    folder = find(root, "er", ("IEMOCAP", "IEMOCAP_full_release"))
    sessions = [_session(folder / f"Session{number}") for number in range(1, SESSIONS + 1)]
    notes = ("mean of five folds by session; val is the next session, where SUPERB takes a random fifth of the rest",)
    return in_folds("er", sessions, notes, most)


def _session(folder: Path) -> list[Item]:
    """Its sentences of the four emotions; the letter before a turn's number says which of the two speaks."""
    items = []
    for labels in sorted((folder / "dialog" / "EmoEvaluation").glob("Ses*.txt")):
        for _, words in lines_of(labels, "er"):
            found = [word for word in words if word.startswith("Ses")]
            # A line that begins with [start - end] is the verdict; those below it are of single annotators.
            if not words[0].startswith("[") or not found:
                continue
            turn, emotion = found[0], words[words.index(found[0]) + 1]
            if emotion in EMOTIONS:
                path = folder / "sentences" / "wav" / labels.stem / f"{turn}.wav"
                speaker = f"{turn[:5]}{turn.rsplit('_', 1)[1][0]}"
                items.append(Item(clip(path), "", EMOTIONS[emotion], speaker))
    if not items:
        raise SpeechpressError(
            f"{folder / 'dialog' / 'EmoEvaluation'}: holds no evaluation of an emotion, and task 'er' needs it; unpack "
            "IEMOCAP with all five sessions"
        )
    return items


MAKERS: dict[str, Maker] = {
    "ks": keywords,
    "ic": intents,
    "sf": slots,
    "sid": speakers,
    "asv": same_voices,
    "sd": mixtures,
    "er": emotions,
    "pr": phones,
    "asr": letters,
    "qbe": queries,
}
