"""VoxCeleb1 for SUPERB's two tasks about speakers: the identification split, and the list of verification trials."""

from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

from ..data.sounds import clip
from .kinds import Item
from .superb_files import find, lines_of, thinned
from .task import Task, checked, refuse_shared_speakers

FOLDERS = ("VoxCeleb1", "Voxceleb1", "voxceleb1")
SPLIT_FILES = ("iden_split.txt", "veri_test_class.txt")
TRIAL_FILES = ("voxceleb1_test_v2.txt", "veri_test2.txt", "veri_test.txt")
PARTS = ("dev/wav", "test/wav", "wav")
SPLITS = {"1": "train", "2": "val", "3": "test"}
TEST_SPEAKERS = range(10270, 10310)  # the forty of the verification trials


def speakers(root: Path, most: int | None) -> Task:
    """Who of 1251 speaks."""
    folder = find(root, "sid", FOLDERS)
    items = [
        Item(clip(_audio(folder, name, where)), split, name.split("/")[0], name.split("/")[0])
        for split, name, where in _listed(folder, "sid")
    ]
    notes = (
        "speakers are the classes, so they are in every split; videos are not shared between splits",
        "mean over time and one linear layer",
    )
    return checked(Task("sid", "classify", _whole_classes(items, most), notes))


def _whole_classes(items: list[Item], most: int | None) -> tuple[Item, ...]:
    """Thinned, without speakers that are then in no training clip."""
    kept = thinned(items, most)
    trained = {item.target for item in kept if item.split == "train"}
    return tuple(item for item in kept if item.target in trained)


def same_voices(root: Path, most: int | None) -> Task:
    """Whether two clips are of one voice: trials of speakers that are in no training clip."""
    folder = find(root, "asv", FOLDERS)
    items = []
    for split, name, where in _listed(folder, "asv"):
        speaker = name.split("/")[0]
        if _number(speaker, where) not in TEST_SPEAKERS:
            # Its own test part is about videos, not speakers: these are no speakers of the trials, so they may be
            # learned.
            part = "val" if split == "val" else "train"
            items.append(Item(clip(_audio(folder, name, where)), part, speaker, speaker))
    tested, pairs = _trials(folder, most)
    task = Task("asv", "verify", (*thinned(items, most), *tested), NOTES, pairs=pairs)
    return refuse_shared_speakers(checked(task), str(folder))


NOTES = ("the head is a small x-vector (mean and deviation, AM-softmax); val holds trials of training speakers",)


def _listed(folder: Path, task: str) -> list[tuple[str, str, str]]:
    """(split, name, file:line) of the identification split."""
    path = find(folder, task, SPLIT_FILES)
    found = []
    for number, (split, name) in lines_of(path, task, 2):
        if split not in SPLITS:
            raise SpeechpressError(
                f"{path}:{number}: {split!r} is not a split; there are 1 (train), 2 (val) and 3 (test)"
            )
        found.append((SPLITS[split], name, f"{path}:{number}"))
    return found


def _audio(folder: Path, name: str, where: str) -> Path:
    for part in PARTS:
        if (folder / part / name).is_file():
            return folder / part / name
    raise SpeechpressError(
        f"{where}: {name} is in none of {', '.join(str(folder / part) for part in PARTS)}; unpack the corpus again"
    )


def _number(speaker: str, where: str) -> int:
    if not speaker.startswith("id") or not speaker[2:].isdigit():
        raise SpeechpressError(f"{where}: {speaker!r} is not a speaker's name like id10001")
    return int(speaker[2:])


def _trials(folder: Path, most: int | None) -> tuple[list[Item], tuple[tuple[int, int, bool], ...]]:
    """Test clips, and the trials over their numbers; with `most`, the first trials of so many clips."""
    path = find(folder, "asv", TRIAL_FILES)
    numbers: dict[str, int] = {}
    items: list[Item] = []
    pairs = []
    for line, (same, *names) in lines_of(path, "asv", 3):
        if same not in ("0", "1"):
            raise SpeechpressError(f"{path}:{line}: begins with {same!r}, but must with 1 (same) or 0 (another)")
        fresh = [name for name in dict.fromkeys(names) if name not in numbers]
        # Passed over, not the end: later trials may be of clips that are in already.
        if most is not None and len(numbers) + len(fresh) > most:
            continue
        for name in fresh:
            numbers[name] = len(items)
            speaker = name.split("/")[0]
            items.append(Item(clip(_audio(folder, name, f"{path}:{line}")), "test", speaker, speaker))
        pairs.append((numbers[names[0]], numbers[names[1]], same == "1"))
    if len({same for *_, same in pairs}) < 2:
        raise SpeechpressError(f"{path}: needs trials of both kinds, of one speaker and of two")
    return items, tuple(pairs)
