"""When each word of a corpus was said, by forced alignment: what a word vector is trained on.

    pip install 'speechpress[benchmarks]'; python benchmarks/word_times.py CORPORA OUT.tsv

The acoustic model inside the `pocketsphinx` wheel (US English) aligns speechocean762's train speakers, whose phones per
word are given, and the Asterisk prompts, with the wheel's own dictionary. Recordings that it cannot align, or whose
words it does not know, are left out and counted. Five to ten minutes on one core.

OUT.tsv: corpus, path, speaker, word, start_s, end_s.
"""

import argparse
import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from speechpress.compressor.data.audio import read_audio

RATE, FRAME_S = 16_000, 0.01
SHORTEST_S, LONGEST_S = 0.12, 1.6


class Said(NamedTuple):
    """A word of a recording."""

    corpus: str
    path: str
    speaker: str
    word: str
    start_s: float
    end_s: float


class Line(NamedTuple):
    """A recording and its text, with the phones of each word where the corpus tells them."""

    corpus: str
    path: str
    speaker: str
    words: list[str]
    phones: list[str]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def lines(corpora: Path) -> Iterator[Line]:
    for row in rows(corpora / "speechocean762"):
        if row["split"] == "train":
            phones = [re.sub(r"\d", "", word).strip() for word in row["phones_by_word"].split("|")]
            yield Line("speechocean762", row["path"], row["speaker"], row["text"].lower().split(), phones)
    for row in rows(corpora / "asterisk_en_allison"):
        words = re.sub(r"[^a-z' ]", " ", row["text"].lower()).split()
        if words:
            yield Line("asterisk_en_allison", row["path"], "allison", words, [])


class Aligner:
    """The wheel's acoustic model, told what is said."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(samprate=RATE, lm=None, loglevel="FATAL")
        self._known: set[str] = set()

    def _names(self, line: Line) -> list[str]:
        """Names of the words in the dictionary; a word with phones of its own is entered under a name of its own."""
        if not line.phones:
            return line.words
        names = []
        for word, phones in zip(line.words, line.phones, strict=True):
            name = f"{word}:{phones.replace(' ', '_')}"
            if name not in self._known:
                self._decoder.add_word(name, phones, True)
                self._known.add(name)
            names.append(name)
        return names

    def spans(self, wave: np.ndarray, line: Line) -> list[Said]:
        """The words of a recording; raises RuntimeError or ValueError when it does not fit its text."""
        decoder = self._decoder
        decoder.set_align_text(" ".join(self._names(line)))
        decoder.start_utt()
        decoder.process_raw((np.clip(wave, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        found = [part for part in decoder.seg() or () if not part.word.startswith(("<", "[", "("))]
        if len(found) != len(line.words):
            raise ValueError("not all words were found")
        return [
            Said(line.corpus, line.path, line.speaker, word, part.start_frame * FRAME_S, (part.end_frame + 1) * FRAME_S)
            for word, part in zip(line.words, found, strict=True)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    aligner, said, failed = Aligner(), [], 0
    for line in lines(given.corpora):
        try:
            found = aligner.spans(read_audio(given.corpora / line.corpus / line.path), line)
        except (RuntimeError, ValueError):
            failed += 1
            continue
        said += [word for word in found if SHORTEST_S <= word.end_s - word.start_s <= LONGEST_S]
    with given.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(Said._fields)
        writer.writerows([*word[:4], f"{word.start_s:.2f}", f"{word.end_s:.2f}"] for word in said)
    print(f"{len(said)} words of {len({word.word for word in said})} spellings; {failed} recordings left out")


if __name__ == "__main__":
    main()
