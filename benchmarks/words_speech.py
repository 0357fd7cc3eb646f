"""Training crops of `make_words_head.py`: words of many speakers, within speech, in noise and through telephones.

Trained on: speechocean762's train speakers (word times of `word_times.py`), the Asterisk prompts, and of the Arabic
commands the train speakers and only the words that `taught_words.py` does not report. The wake words, fsdd, emodb and
every test and val split are left alone.
"""

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import noises
import numpy as np
import soxr

from speechpress.compressor.data.audio import read_audio
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import json_text
from speechpress.runtime.sound.word_span import word_span_s

RATE, HOP = 16_000, 320
CROP_S = 2.4
RARE = 2  # a word that is said less often is only speech
JITTER_S = 0.04
SHORTEST = 6  # frames of a word


class Token(NamedTuple):
    recording: int
    word: int
    speaker: str
    start_s: float
    end_s: float


class Crop(NamedTuple):
    """A wave of `CROP_S` as it may be heard, the same without noise, and its words (n, 3).

    Of a word: its number, its first frame and the frame after its last one.
    """

    wave: np.ndarray
    clean: np.ndarray
    words: np.ndarray


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def taught_later(arabic: Path) -> set[str]:
    """The Arabic words that are reported: half of them, as in `taught_words.py`."""
    return set(sorted({row["keyword"] for row in rows(arabic / "labels.tsv")})[::2])


class Speech:
    """All recordings, as 16-bit samples in one array that is kept in `work`, and the words in them."""

    def __init__(self, corpora: Path, times: Path, work: Path) -> None:
        self.names: list[str] = []
        said = defaultdict(list)
        for row in rows(times):
            key = (row["corpus"], row["path"])
            said[key].append((row["word"], row["speaker"], float(row["start_s"]), float(row["end_s"])))
        arabic, later = corpora / "arabic_speech_commands", taught_later(corpora / "arabic_speech_commands")
        for row in rows(arabic / "labels.tsv"):
            if row["split"] == "train" and row["keyword"] not in later:
                said["arabic_speech_commands", row["path"]].append(("ar:" + row["keyword"], row["speaker"], 0.0, 0.0))
        self._read(corpora, list(said), work)
        self._count(said)

    def _read(self, corpora: Path, keys: list[tuple[str, str]], work: Path) -> None:
        kept = work / "speech.npy"
        if not kept.exists():
            waves = [read_audio(corpora / corpus / path) for corpus, path in keys]
            ends = np.cumsum([len(wave) for wave in waves]).tolist()
            np.save(kept, np.concatenate([(np.clip(wave, -1, 1) * 32767).astype(np.int16) for wave in waves]))
            (work / "speech.json").write_text(json_text({"keys": keys, "ends": ends}))
        about = json.loads((work / "speech.json").read_text())
        self._row = {tuple(key): number for number, key in enumerate(about["keys"])}
        self._ends = [0, *about["ends"]]
        self._samples = np.load(kept, mmap_mode="r")

    def wave(self, recording: int) -> np.ndarray:
        return self._samples[self._ends[recording] : self._ends[recording + 1]].astype(np.float32) / 32768

    def _count(self, said: dict) -> None:
        often = defaultdict(int)
        for words in said.values():
            for word, *_ in words:
                often[word] += 1
        self.names = sorted(word for word, count in often.items() if count >= RARE)
        number = {word: k for k, word in enumerate(self.names)}
        self.tokens: dict[int, list[Token]] = defaultdict(list)
        self.inside: dict[int, list[Token]] = defaultdict(list)
        for key, words in said.items():
            for word, speaker, start_s, end_s in words:
                if end_s == 0:  # a clip of one word
                    try:
                        start_s, end_s = word_span_s(self.wave(self._row[key]), RATE)
                    except SpeechpressError:
                        continue
                token = Token(self._row[key], number.get(word, -1), speaker, start_s, end_s)
                self.inside[token.recording].append(token)
                if token.word >= 0:
                    self.tokens[token.word].append(token)
        self.clips = [t for tokens in self.tokens.values() for t in tokens if self.names[t.word].startswith("ar:")]


class Crops:
    """Draws of crops: `pair` takes two of one word, of two speakers where it can."""

    def __init__(self, speech: Speech, responses: list[np.ndarray], seed: int) -> None:
        self.speech, self.responses = speech, responses
        self.draw = np.random.default_rng(seed)
        counts = np.array([len(speech.tokens[word]) for word in range(len(speech.names))], np.float64)
        shares = np.sqrt(np.minimum(counts, 100))
        isolated = np.array([name.startswith("ar:") for name in speech.names])
        # A quarter of the draws are commands, which are few words said often.
        shares[isolated] *= shares[~isolated].sum() / shares[isolated].sum() / 3
        self._shares = shares / shares.sum()
        # Babble is made of running speech, not of clips that are half silence.
        self._running = [key for key, tokens in speech.inside.items() if len(tokens) > 1]

    def pair(self) -> tuple[Crop, Crop]:
        tokens = self.speech.tokens[int(self.draw.choice(len(self._shares), p=self._shares))]
        first = tokens[self.draw.integers(len(tokens))]
        others = [token for token in tokens if token.speaker != first.speaker]
        others = others or [token for token in tokens if token != first] or [first]
        return self.crop(first), self.crop(others[self.draw.integers(len(others))])

    def crop(self, token: Token) -> Crop:
        wave, tokens = self._around(token)
        speed = self.draw.uniform(0.85, 1.18) if self.draw.random() < 0.5 else 1.0
        if speed != 1:
            wave = soxr.resample(wave, RATE * speed, RATE, "LQ")
            tokens = [t._replace(start_s=t.start_s / speed, end_s=t.end_s / speed) for t in tokens]
        middle_s = next(
            (t.start_s + t.end_s) / 2 for t in tokens if t.recording == token.recording and t.word == token.word
        )
        start = int((middle_s - self.draw.uniform(0.6, CROP_S - 0.6)) * RATE)
        size = int(CROP_S * RATE)
        cut = np.zeros(size, np.float32)
        piece = wave[max(0, start) : start + size]
        cut[max(0, -start) : max(0, -start) + len(piece)] = piece
        return Crop(self.changed(cut), cut, self._frames(tokens, start / RATE))

    def _around(self, token: Token) -> tuple[np.ndarray, list[Token]]:
        """The recording; a clip of one word stands among other clips."""
        speech, draw = self.speech, self.draw
        if not speech.names[token.word].startswith("ar:"):
            return speech.wave(token.recording), speech.inside[token.recording]
        waves, tokens, at_s = [], [], 0.0
        before, after = (speech.clips[draw.integers(len(speech.clips))] for _ in range(2))
        for one in (before, token, after):
            wave = speech.wave(one.recording)
            wave = wave / (np.abs(wave).max() + 1e-6) * 0.5
            start_s, end_s = max(0.0, one.start_s - 0.05), min(len(wave) / RATE, one.end_s + draw.uniform(0.05, 0.6))
            waves.append(wave[int(start_s * RATE) : int(end_s * RATE)])
            tokens.append(one._replace(start_s=one.start_s - start_s + at_s, end_s=one.end_s - start_s + at_s))
            at_s += len(waves[-1]) / RATE
        return np.concatenate(waves), tokens

    def _frames(self, tokens: list[Token], from_s: float) -> np.ndarray:
        found = []
        for token in tokens:
            start_s, end_s = (
                edge_s - from_s + self.draw.uniform(-JITTER_S, JITTER_S) for edge_s in (token.start_s, token.end_s)
            )
            first, last = round(start_s * RATE / HOP), round(end_s * RATE / HOP)
            last = max(last, first + SHORTEST)
            if first >= 2 and last < CROP_S * RATE / HOP - 2:
                found.append((token.word, first, last))
        return np.array(found, np.int64).reshape(-1, 3)

    def changed(self, wave: np.ndarray) -> np.ndarray:
        """As it may be heard: another level, another room, noise, a narrow band or a telephone."""
        draw = self.draw
        if draw.random() < 0.3:
            wave = noises.reverberant(wave, self.responses[draw.integers(len(self.responses))])
        kind = draw.choice(["none", "pink", "babble", "hum"], p=[0.35, 0.25, 0.27, 0.13])
        if kind != "none":
            wave = noises.mixed(wave, self._noise(str(kind), len(wave)), draw.uniform(-2, 22))
        band = draw.random()
        if band < 0.12:
            wave = np.resize(noises.narrow(wave), len(wave))
        elif band < 0.25:
            wave = noises.telephone(wave, draw)
        peak = 10 ** draw.uniform(-1.5, -0.05)
        return (wave * peak / (np.abs(wave).max() + 1e-6)).astype(np.float32)

    def _noise(self, kind: str, count: int) -> np.ndarray:
        if kind != "babble":
            return getattr(noises, kind)(count, self.draw)
        voices = [self.speech.wave(self._running[self.draw.integers(len(self._running))]) for _ in range(6)]
        return noises.babble(count, voices, self.draw, voices=int(self.draw.integers(3, 8)))
