"""An ABX item file for speechocean762's test speakers, or for the starter's English prompts that no run is trained on;
aligned by the acoustic model inside of the pocketsphinx wheel.

    pip install pocketsphinx
    python benchmarks/make_abx_items.py CORPORA/speechocean762 OUT.item [--speakers 125] [--split test]
    STARTER=compressor/starter/asterisk-prompts
    python benchmarks/make_abx_items.py $STARTER $STARTER/phones.item --text en --split val,test

Each sentence is aligned to the phones of the corpus's own canonical text, as its labels.tsv has them, whatever a
learner made of it; so the phones are what should have been said. A token is a phone whose neighbours lie in the same
sentence and touch it; SIL stands for silence as a neighbour. The model steps by 10 ms, and times are as exact as that.
Utterances that do not fit their text are counted and left out. With `--text LANGUAGE` the phones are those that the
dictionary of the wheel gives for the words of the corpus's texts; texts with a word that it lacks are left out too. The
file of speechocean762 is derived from recordings that are not ours to pass on: do not commit it. Then:

    compress eval hubert-mini --tasks abx --items OUT.item --data CORPORA/speechocean762/audio
"""

import argparse
import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pocketsphinx

from speechpress.compressor.data.audio import read_audio
from speechpress.runtime.atomic import write_text

FRAME_S = 0.01
SILENCE = "SIL"
PAUSES = ("<s>", "</s>", "<sil>")
HEADER = "#file onset offset #phone prev-phone next-phone speaker"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Segment = tuple[str, int, int]  # phone, first frame, frames


class Aligner:
    """Words with pronunciations of one's own, aligned to speech."""

    def __init__(self) -> None:
        self._decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL")
        self._names: dict[str, str] = {}

    def align(self, wave: np.ndarray, words: list[str]) -> list[Segment] | None:
        """Phones with their times; None where the speech does not fit. `words` are phones separated by spaces."""
        pcm = (wave * 32767).clip(-32768, 32767).astype(np.int16).tobytes()
        try:
            self._decoder.set_align_text(" ".join(map(self._name, words)))
            for _ in ("words", "phones"):
                self._decoder.start_utt()
                self._decoder.process_raw(pcm, full_utt=True)
                self._decoder.end_utt()
                if _ == "words":
                    self._decoder.set_alignment()
            found = self._decoder.get_alignment()
            return None if found is None else list(_segments(found))
        except RuntimeError:
            return None

    def look_up(self, text: str) -> list[str] | None:
        """The phones of each word of an English text; None where the dictionary lacks one."""
        spoken = re.sub(r"\d", lambda digit: f" {DIGITS[int(digit[0])]} ", text.lower())
        found = [self._decoder.lookup_word(word) for word in re.findall(r"[a-z']+", spoken)]
        return None if not found or None in found else found

    def _name(self, phones: str) -> str:
        """A word of the dictionary that is said so: the phones themselves, joined."""
        name = "x" + phones.replace(" ", "_").lower()
        if name not in self._names:
            self._decoder.add_word(name, phones, True)
            self._names[name] = phones
        return name


def _segments(alignment: pocketsphinx.Alignment) -> Iterator[Segment]:
    for word in alignment:
        if word.name in PAUSES:
            yield SILENCE, word.start, word.duration
        else:
            yield from ((phone.name, phone.start, phone.duration) for phone in word)


def tokens(name: str, speaker: str, segments: list[Segment]) -> Iterator[str]:
    """Rows of an item file: each phone between its neighbours."""
    for before, (phone, start, count), after in zip(segments, segments[1:], segments[2:], strict=False):
        if phone != SILENCE:
            onset, offset = start * FRAME_S, (start + count) * FRAME_S
            yield f"{name} {onset:.2f} {offset:.2f} {phone} {before[0]} {after[0]} {speaker}"


def rows_of(corpus: Path, splits: list[str], speakers: int, language: str | None) -> list[dict[str, str]]:
    with (corpus / "labels.tsv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row["split"] in splits]
    rows = [row for row in rows if language is None or row["language"] == language]
    chosen = set(sorted({row["speaker"] for row in rows})[:speakers])
    return [row for row in rows if row["speaker"] in chosen]


def words_of(row: dict[str, str], aligner: Aligner, texts: bool) -> list[str] | None:
    if texts:
        return aligner.look_up(row["text"])
    return [" ".join(re.findall("[A-Z]+", word)) for word in row["phones_by_word"].split("|")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="test", help="one, or several with commas")
    parser.add_argument("--text", metavar="LANGUAGE", help="look up the words of this language's texts (en)")
    parser.add_argument("--speakers", type=int, default=1000, help="the first so many")
    given = parser.parse_args()
    aligner, lines, lost = Aligner(), [HEADER], Counter[str]()
    rows = rows_of(given.corpus, given.split.split(","), given.speakers, given.text)
    for number, row in enumerate(rows):
        words = words_of(row, aligner, given.text is not None)
        if words is None:
            lost["have a word that is in no dictionary"] += 1
            continue
        segments = aligner.align(read_audio(given.corpus / row["path"]), words)
        if segments is None:
            lost["did not fit their text"] += 1
            continue
        name = str(Path(row["path"]).relative_to("audio").with_suffix(""))
        lines += tokens(name, row["speaker"].replace(" ", "-"), segments)
        if number % 100 == 99:
            print(f"{number + 1} of {len(rows)} sentences, {len(lines) - 1} tokens", flush=True)
    write_text(given.out, "\n".join(lines) + "\n")
    print(f"{given.out}: {len(lines) - 1} tokens of {len(rows)} sentences; {dict(lost) or 'none was left out'}")


if __name__ == "__main__":
    main()
