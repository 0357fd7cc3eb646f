"""SUPERB's corpora in their published layouts, tiny, with real audio: clips of the starter speech."""

import functools
import itertools
import shutil
from pathlib import Path

import soundfile
from corpora import spoken

from speechpress.compressor.data.audio import read_audio
from speechpress.compressor.starter import SPEECH
from speechpress.compressor.tasks.superb import KEYWORDS, commands_split


@functools.cache
def prompts():
    return sorted((SPEECH / "audio" / "en").rglob("*.opus"), key=lambda path: (path.stat().st_size, path.name))[20:32]


_turn = itertools.count()


def audio(path: Path, seconds: float | None = 0.6) -> Path:
    """A prompt of the starter, another one each time, as a file of the kind that the path says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = read_audio(prompts()[next(_turn) % len(prompts())])
    soundfile.write(path, found if seconds is None else found[: round(16_000 * seconds)], 16_000)
    return path


def text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def hashed(split: str, skip: int = 0) -> str:
    """A speaker's name that the corpus' rule gives to a split."""
    names = (f"{number:08x}" for number in itertools.count())
    return next(itertools.islice((n for n in names if commands_split(f"{n}_nohash_0.wav") == split), skip, None))


def speech_commands(root: Path) -> None:
    train, test = root / "speech_commands_v0.01", root / "speech_commands_test_set_v0.01"
    for split in ("train", "val", "test"):
        for word in ("yes", "no", "bed"):
            audio(train / word / f"{hashed(split)}_nohash_0.wav")
    for word in (*KEYWORDS[2:], "cat"):
        audio(train / word / f"{hashed('train', 1)}_nohash_0.wav")
    audio(train / "_background_noise_" / "rain.wav", 2.0)
    text(train / "_background_noise_" / "README.md", "noise")
    for word in ("yes", "no", "_unknown_"):
        audio(test / word / f"{hashed('test', 3)}_nohash_0.wav")
    audio(test / "_silence_" / "0.wav")


def fluent(root: Path) -> None:
    folder = root / "fluent_speech_commands_dataset"
    number = itertools.count()
    for split, speakers in (("train", "ab"), ("valid", "c"), ("test", "d")):
        rows = [",path,speakerId,transcription,action,object,location"]
        for speaker, action in itertools.product(speakers, ("increase", "decrease")):
            path = f"wavs/speakers/{speaker}/{next(number)}.wav"
            audio(folder / path)
            rows.append(f"0,{path},{speaker},Turn it up,{action},volume,none")
        text(folder / "data" / f"{split}_data.csv", *rows)


def snips(root: Path) -> None:
    lines = []
    for speaker, split in (("Ivy", "train"), ("Joey", "train"), ("Amy", "valid"), ("Brian", "test"), ("Emma", "test")):
        for number in range(2):
            name = f"{speaker}-snips-{split}-{number}"
            audio(root / "SNIPS" / split / f"{name}.wav", None)
            lines.append(f"{name} BOS play cool jazz EOS\tO O B-genre I-genre PlayMusic")
    audio(root / "SNIPS" / "train" / "Nicole-snips-train-0.wav")  # a voice of another split is left out
    text(root / "SNIPS" / "all.iob.snips.txt", *lines)


def voxceleb(root: Path) -> None:
    folder, listed = root / "VoxCeleb1", []
    for speaker in ("id10001", "id10002", "id10270", "id10271"):
        part = "test" if speaker > "id10269" else "dev"
        for video, code in (("aaa", 1), ("bbb", 1), ("ccc", 2), ("ddd", 2), ("eee", 3)):
            audio(folder / part / "wav" / speaker / video / "00001.wav")
            listed.append(f"{code} {speaker}/{video}/00001.wav")
    text(folder / "iden_split.txt", *listed)
    a, b = "id10270", "id10271"
    text(
        folder / "voxceleb1_test_v2.txt",
        f"1 {a}/aaa/00001.wav {a}/bbb/00001.wav",
        f"0 {a}/aaa/00001.wav {b}/aaa/00001.wav",
        f"1 {b}/aaa/00001.wav {b}/bbb/00001.wav",
    )


def libri2mix(root: Path) -> None:
    for number, part in enumerate(("train", "dev", "test")):
        folder = root / "Libri2Mix" / "diarization" / part
        files = [audio(folder / "wav" / f"mix{number}{take}.wav", 0.75) for take in range(2)]
        text(folder / "wav.scp", *(f"{path.stem} {path}" for path in files))
        text(
            folder / "segments",
            *(
                f"{who}-{path.stem} {path.stem} {span}"
                for path in files
                for who, span in ((f"{number}1", "0.00 0.40"), (f"{number}2", "0.20 0.60"))
            ),
        )
        text(folder / "utt2spk", *(f"{number}{who}-{path.stem} {number}{who}" for path in files for who in "12"))


def iemocap(root: Path) -> None:
    for session in range(1, 6):
        folder, lines = (
            root / "IEMOCAP" / f"Session{session}",
            ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"],
        )
        dialog = f"Ses0{session}F_impro01"
        for number, (who, emotion) in enumerate(itertools.product("FM", ("neu", "exc", "hap", "ang", "sad", "xxx"))):
            turn = f"{dialog}_{who}{number:03d}"
            audio(folder / "sentences" / "wav" / dialog / f"{turn}.wav")
            lines += [f"[{number}.0 - {number}.9]\t{turn}\t{emotion}\t[2.5, 2.5, 2.5]", "C-E1:\tNeutral;\t()"]
        text(folder / "dialog" / "EmoEvaluation" / f"{dialog}.txt", *lines)


def librispeech(root: Path) -> None:
    for number, part in enumerate(("train-clean-100", "dev-clean", "test-clean")):
        for speaker in (f"{number}1", f"{number}2"):
            folder = root / "LibriSpeech" / part / speaker / "7"
            names = [f"{speaker}-7-{take:04d}" for take in range(2)]
            for name in names:
                audio(folder / f"{name}.flac", None)
            text(folder / f"{speaker}-7.trans.txt", *(f"{name} HELLO WORLD" for name in names))
    text(
        root / "LibriSpeech" / "librispeech-lexicon.txt", "HELLO\tHH AH0 L OW1", "HELLO HH EH0 L OW1", "WORLD W ER1 L D"
    )


def quesst(root: Path) -> None:
    folder = root / "quesst14Database"
    for name in ("00001", "00002", "00003"):
        path = folder / "Audio" / f"quesst14_{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, spoken("AB" if name == "00001" else "CC", lead_s=0.2), 8_000)  # the corpus' own rate
    kinds = ("nnenglish", "nnenglish", "albanian")
    text(
        folder / "scoring" / "language_key_utterances.lst",
        *(f"quesst14Database/Audio/quesst14_0000{n}.wav {kind}" for n, kind in enumerate(kinds, 1)),
    )
    for part in ("dev", "eval"):
        name = f"quesst14_{part}_0001"
        audio(folder / f"{part}_queries" / f"{name}.wav")
        text(folder / "scoring" / f"language_key_{part}.lst", f"quesst14Database/{part}_queries/{name}.wav nnenglish")
        text(
            folder / "scoring" / f"groundtruth_quesst14_{part}" / f"quesst14_{part}.rttm",
            "SPEAKER quesst14_00001 1 0.0 3.0 <NA> <NA> x <NA>",
            f"LEXEME quesst14_00001 1 0.00 0.50 {name} lex x <NA>",
        )


LAYOUTS = (speech_commands, fluent, snips, voxceleb, libri2mix, iemocap, librispeech, quesst)


def superb_root(root: Path) -> Path:
    for make in LAYOUTS:
        make(root)
    return root


def without(root: Path, folder: Path, corpus: str) -> Path:
    """A copy of one corpus of a root, to be damaged."""
    shutil.copytree(root / corpus, folder / corpus)
    return folder


def counts(task) -> tuple[int, ...]:
    return tuple(task.counts()[split] for split in ("train", "val", "test"))
