"""The speech that students are trained on in benchmarks/students.py: no clip of any test is among it.

    python benchmarks/students_speech.py choose CORPORA CHOSEN
    python benchmarks/students_speech.py speeds CHOSEN SPEECH

`choose` copies the training part of speechocean762, arabic_speech_commands, picovoice_barista and the starter speech,
less every clip that the ten tasks of the mini suite validate or test on, and writes labels.tsv with speakers.
picovoice_wakewords, fsdd and emodb are left out whole: taught words, digits and emotions are measured on them.
`speeds` decodes what was chosen to 16-bit WAV at each of three playing speeds (0.9, 1.0, 1.1).
"""

import argparse
import csv
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 16_000
CORPORA = ("speechocean762", "arabic_speech_commands", "picovoice_barista")
SPEEDS = (0.9, 1.0, 1.1)
LABELS = ("path", "speaker")


def tested(corpora: Path) -> set[Path]:
    """Files that some task of the mini suite validates or tests on."""
    from speechpress.compressor.tasks.suites import open_suite

    tasks, _ = open_suite("mini", ["all"], corpora)
    return {
        Path(path).resolve()
        for task in tasks
        for item in task.items
        if item.split != "train"
        for path, _ in item.sound.parts
    }


def rows(folder: Path) -> Iterator[tuple[Path, str]]:
    """(file, speaker) of the training part of a corpus; a clip of an unknown speaker stands for itself."""
    with (folder / "labels.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row.get("split", "train") == "train":
                yield folder / row["path"], row.get("speaker") or Path(row["path"]).stem


def choose(corpora: Path, out: Path) -> None:
    from speechpress.compressor.starter import SPEECH

    refused, labels = tested(corpora), []
    for folder in [*(corpora / name for name in CORPORA), SPEECH]:
        for source, speaker in rows(folder):
            if source.resolve() in refused:
                continue
            place = Path(folder.name) / source.relative_to(folder)
            (out / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, out / place)
            labels.append((str(place), f"{folder.name}/{speaker}"))
    write_labels(out, labels)


def write_labels(folder: Path, labels: list[tuple[str, str]]) -> None:
    with (folder / "labels.tsv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([LABELS, *labels])


def read_labels(folder: Path) -> list[tuple[str, str]]:
    with (folder / "labels.tsv").open(encoding="utf-8", newline="") as file:
        return [(row["path"], row["speaker"]) for row in csv.DictReader(file, delimiter="\t")]


def at_speeds(path: Path) -> dict[float, np.ndarray]:
    """A clip at every speed, at 16 kHz: as if it had been recorded at `speed` times its rate."""
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return {speed: soxr.resample(wave.mean(1), rate * speed, SAMPLE_RATE) for speed in SPEEDS}


def spoken(source: Path, out: Path, row: tuple[str, str]) -> tuple[list[tuple[str, str]], float]:
    """One clip at every speed: labels of what was written, and its seconds."""
    place, speaker = row
    written, heard_s = [], 0.0
    for speed, heard in at_speeds(source / place).items():
        name = str(Path(place).with_suffix("")) + f"-{speed}.wav"
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(out / name, np.clip(heard, -1, 1), SAMPLE_RATE, subtype="PCM_16")
        written.append((name, speaker))
        heard_s += len(heard) / SAMPLE_RATE
    return written, heard_s


def speeds(source: Path, out: Path) -> None:
    chosen = read_labels(source)
    out.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        done = list(pool.map(partial(spoken, source, out), chosen, chunksize=32))
    write_labels(out, [label for labels, _ in done for label in labels])
    print(
        f"{len(chosen)} clips, {sum(heard_s for _, heard_s in done) / 3600:.2f} h at {len(SPEEDS)} speeds", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("choose", "speeds"))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    {"choose": choose, "speeds": speeds}[given.what](given.source, given.out)


if __name__ == "__main__":
    main()
