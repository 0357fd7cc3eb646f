"""Make the starter speech: five languages of Asterisk's telephone prompts as Ogg Opus, with labels.

Input is a folder into which Debian's packages were unpacked, sound and text of every language:

    for l in en es fr it ru; do apt-get download asterisk-core-sounds-$l asterisk-core-sounds-$l-g722; done
    for d in *.deb; do dpkg-deb -x $d unpacked; done
    python benchmarks/make_starter_speech.py unpacked compressor/starter/asterisk-prompts

`ffmpeg` must be on PATH: nothing else here decodes G.722. The choice of prompts and their splits follow from the names
and texts alone, so the same packages give the same labels; the Opus bytes differ from run to run (Ogg's stream number).
"""

import argparse
import csv
import gzip
import hashlib
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 16_000
SECONDS_PER_LANGUAGE = 342.0
CLIPS_PER_KEYWORD = 18
PROMPT_S = (0.6, 7.0)
KEYWORD_SHARES = {"train": 0.5, "val": 0.2, "test": 0.3}
SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
FOLDERS = {
    "en": ("en_US_f_Allison", "Allison Smith"),
    "es": ("es_MX_f_Allison", "Allison Smith"),
    "fr": ("fr_CA_f_June", "June Wallack"),
    "it": ("it_IT_m_Carlo", "Carlo Flora"),
    "ru": ("ru_RU_f_IvrvoiceRU", "IvrvoiceRU"),
}
KEYWORDS = {
    "en": {"press": "press", "message": "messages?", "conference": "conference", "number": "numbers?"},
    "es": {
        "press": "marque|presione|oprima",
        "message": "mensajes?",
        "conference": "conferencia",
        "number": "n[uú]mero",
    },
    "fr": {"press": "appuye[zr]", "message": "messages?", "conference": "conférence", "number": "numéro"},
    "it": {"press": "preme(re)?", "message": "messagg\\w+", "conference": "conferenza", "number": "numero"},
    "ru": {"press": "нажмите", "message": "сообщени\\w+", "conference": "конференц\\w+", "number": "номера?"},
}
NOT_SPEECH = re.compile(r"silence/|beep|2tone|tt-monkeys|spy-iax|vm-isonphone$")
DIGITS = re.compile(r"digits/(\d|1\d|[2-9]0|hundred|thousand)$")
LETTERS = re.compile(r"letters/[a-z]$")


@dataclass(frozen=True)
class Prompt:
    language: str
    name: str
    source: Path
    text: str
    seconds: float
    kind: str = "prompt"
    keyword: str = ""
    split: str = ""

    @property
    def group(self) -> str:
        """Prompts with the same words (several takes of one sentence) share a group, and so a split."""
        return self.language + " " + (plain(self.text) or self.name)

    @property
    def order(self) -> str:
        return hashlib.sha256(f"{self.language}/{self.name}".encode()).hexdigest()


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w ]", " ", text.lower()).split())


def read_texts(unpacked: Path, language: str) -> dict[str, str]:
    """Prompt name -> what is said, from the list in the package (lines of `name: text`, `;` is a comment)."""
    package = f"asterisk-core-sounds-{language}"
    raw = gzip.decompress((unpacked / "usr/share/doc" / package / f"core-sounds-{language}.txt.gz").read_bytes())
    lines = [line.strip() for line in raw.decode("utf-8-sig", errors="replace").splitlines()]
    pairs = [line.split(":", 1) for line in lines if ":" in line and not line.startswith(";")]
    return {name.strip(): " ".join(text.split()) for name, text in pairs}


def read_prompts(unpacked: Path, language: str) -> list[Prompt]:
    folder = unpacked / "usr/share/asterisk/sounds" / FOLDERS[language][0]
    texts = read_texts(unpacked, language)
    prompts = []
    for path in sorted(folder.rglob("*.g722")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        text = texts.get(name, "")
        if NOT_SPEECH.search(name) or text.startswith(("[", "(")):
            continue
        seconds = path.stat().st_size / 8000  # G.722 at 64 kb/s
        prompts.append(with_labels(Prompt(language, name, path, text, seconds)))
    return prompts


def with_labels(prompt: Prompt) -> Prompt:
    """Mark digits and letters; a prompt that holds exactly one of the keywords is labelled with it."""
    if DIGITS.match(prompt.name):
        return replace(prompt, kind="digit")
    if LETTERS.match(prompt.name):
        return replace(prompt, kind="letter")
    words = plain(prompt.text)
    found = [word for word, pattern in KEYWORDS[prompt.language].items() if re.search(rf"\b(?:{pattern})\b", words)]
    return replace(prompt, keyword=f"{prompt.language}:{found[0]}" if len(found) == 1 else "")


def choose(prompts: list[Prompt]) -> list[Prompt]:
    """All digits and letters, an equal number of clips per keyword, then other prompts up to the time that is left."""
    chosen = [p for p in prompts if p.kind != "prompt"]
    usable = [p for p in prompts if p.kind == "prompt" and p.text and PROMPT_S[0] <= p.seconds <= PROMPT_S[1]]
    usable.sort(key=lambda p: p.order)
    counts: Counter[str] = Counter()
    for prompt in (p for p in usable if p.keyword):
        if counts[prompt.keyword] < CLIPS_PER_KEYWORD:
            counts[prompt.keyword] += 1
            chosen.append(prompt)
    left = SECONDS_PER_LANGUAGE - sum(p.seconds for p in chosen)
    for prompt in (p for p in usable if not p.keyword):
        if prompt.seconds <= left:
            left -= prompt.seconds
            chosen.append(prompt)
    return chosen


def with_splits(prompts: list[Prompt]) -> list[Prompt]:
    """Give every group the split that is furthest behind its share, for each keyword and kind on its own."""
    groups: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        groups[prompt.group].append(prompt)
    done: dict[str, Counter[str]] = defaultdict(Counter)
    result = []
    for members in sorted(groups.values(), key=lambda members: min(p.order for p in members)):
        counts = done[f"{members[0].language} {members[0].kind} {members[0].keyword}"]
        shares = KEYWORD_SHARES if members[0].keyword else SHARES
        split = min(shares, key=lambda name: (counts[name] + len(members) / 2) / shares[name])
        counts[split] += len(members)
        result += [replace(p, split=split) for p in members]
    return sorted(result, key=lambda p: (p.language, p.name))


def decode(path: Path) -> np.ndarray:
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "g722",
        "-i",
        str(path),
        "-f",
        "s16le",
        "-ac",
        "1",
        "-ar",
        str(SAMPLE_RATE),
        "-",
    ]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.int16).astype(np.float32) / 32768


def write(prompts: list[Prompt], out: Path) -> None:
    rows = []
    for prompt in prompts:
        wave = decode(prompt.source)
        path = Path("audio") / prompt.language / f"{prompt.name}.opus"
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(out / path, wave, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=0.93)
        seconds = f"{len(wave) / SAMPLE_RATE:.3f}"
        speaker = FOLDERS[prompt.language][1]
        rows.append((path, prompt.language, speaker, prompt.kind, prompt.keyword, prompt.split, seconds, prompt.text))
    with (out / "labels.tsv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        table.writerow(("path", "language", "speaker", "kind", "keyword", "split", "seconds", "text"))
        table.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unpacked", type=Path, help="folder with the unpacked packages (it holds usr/share)")
    parser.add_argument("out", type=Path, help="folder to write; its audio/ and labels.tsv are replaced")
    args = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        parser.error("ffmpeg is needed to decode G.722, and is not on PATH")
    shutil.rmtree(args.out / "audio", ignore_errors=True)
    prompts = [p for language in FOLDERS for p in with_splits(choose(read_prompts(args.unpacked, language)))]
    write(prompts, args.out)
    shutil.copyfile(args.unpacked / "usr/share/doc/asterisk-core-sounds-en-g722/copyright", args.out / "copyright")
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    for language in FOLDERS:
        mine = [p for p in prompts if p.language == language]
        print(language, len(mine), f"{sum(p.seconds for p in mine):.0f} s", dict(Counter(p.keyword for p in mine)))
    splits = dict(Counter(p.split for p in prompts))
    print(f"{sum(p.seconds for p in prompts) / 60:.1f} min, {size / 1e6:.2f} MB, {splits}")


if __name__ == "__main__":
    main()
