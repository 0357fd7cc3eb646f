"""A tiny data root for the mini suite: tones that say letters, in voices of different pitch; so the truth is known."""

import json
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
LETTER_S = 0.16
TONES = {"A": 420.0, "B": 900.0, "C": 1700.0, " ": 0.0}


def spoken(text: str, pitch: float = 1.0, seed: int = 0, lead_s: float = 0.05) -> np.ndarray:
    """Letters as tones one after the other, silence before and after, a little noise; (S,) float64."""
    draw = np.random.default_rng(seed)
    t = np.arange(round(LETTER_S * RATE)) / RATE
    fade = np.minimum(1, np.minimum(t, t[::-1]) / 0.02)
    said = [
        np.sin(2 * np.pi * TONES[letter] * pitch * t) * fade
        + 0.3 * np.sin(2 * np.pi * 150 * pitch * t) * fade * (letter != " ")
        for letter in text
    ]
    quiet = np.zeros(round(lead_s * RATE))
    wave = np.concatenate([quiet, *said, quiet]) * 0.3
    return wave + draw.standard_normal(len(wave)) * 1e-3


def write(path: Path, wave: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE)
    return path


def table(folder: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in rows)]
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def keywords(root: Path) -> None:
    folder, rows = root / "arabic_speech_commands", []
    for number, split in enumerate(("train", "train", "train", "val", "test", "test")):
        for word in ("A", "BB", "CA"):
            for take in range(2):
                path = f"audio/{word}/{number}-{take}.wav"
                write(folder / path, spoken(word, 0.9 + 0.04 * number, 10 * number + take))
                rows.append((path, split, word, f"s{number}"))
    table(folder, ("path", "split", "keyword", "speaker"), rows)


SENTENCES = ("AB CA", "BA AC", "CC AB", "AC BC", "CA BB", "BC AA")


def sentences(root: Path, speakers: int = 12, takes: int = 6) -> None:
    """Half of the speakers to train, half to test; each says every sentence once."""
    folder, rows = root / "speechocean762", []
    for speaker in range(speakers):
        split = "train" if speaker < speakers // 2 else "test"
        for take, text in enumerate(SENTENCES[:takes]):
            path = f"audio/{speaker:02d}/{take}.wav"
            write(folder / path, spoken(text, 0.7 + 0.06 * speaker, 100 * speaker + take))
            phones = " | ".join(" ".join(f"{letter}1" for letter in word) for word in text.split())
            rows.append((split, f"{speaker:02d}", path, text, phones))
    table(folder, ("split", "speaker", "path", "text", "phones_by_word"), rows)


def orders(root: Path) -> None:
    folder, rows = root / "picovoice_barista", []
    drinks, sizes = {"latte": "A", "mocha": "C"}, {"small": "B", "large": "BB"}
    for number in range(40):
        drink, size = list(drinks)[number % 2], list(sizes)[number // 2 % 2]
        write(folder / f"audio/{number}.wav", spoken(drinks[drink] + " " + sizes[size], 1.0, number))
        slots = {"coffeeDrink": drink, **({"size": size} if number % 5 else {"sugarAmount": "some sugar"})}
        rows.append((f"audio/{number}.wav", "orderDrink", json.dumps(slots)))
    table(folder, ("path", "intent", "slots_json"), rows)


def wake_words(root: Path) -> None:
    folder, rows = root / "picovoice_wakewords", []
    for word in ("ABC", "CAB"):
        for take in range(12):
            path = f"audio/{word}/{take}.wav"
            write(folder / path, spoken(word, 1 + 0.01 * take, take, lead_s=0.2))
            rows.append((path, word.lower()))
    table(folder, ("path", "keyword"), rows)


def mini_root(root: Path) -> Path:
    """Every corpus of the mini suite but that of emotions."""
    for make in (keywords, sentences, orders, wake_words):
        make(root)
    return root


PHONE_TEXTS = ("ABA", "ACA", "ABA", "BAB", "BCB", "ACA")
LEAD_S = 0.05
ITEM_HEADER = "#file onset offset #phone prev-phone next-phone speaker"


def make_phones(folder: Path, speakers: int = 3, texts: tuple[str, ...] = PHONE_TEXTS) -> tuple[Path, Path]:
    """Recordings of each text by each speaker, and their item file; the middle letter of each is a token."""
    rows = [ITEM_HEADER]
    for speaker in range(speakers):
        for number, text in enumerate(texts):
            name = f"s{speaker}/s{speaker}-{number}"
            write(folder / "audio" / f"{name}.wav", spoken(text, 0.9 + 0.06 * speaker, 100 * speaker + number, LEAD_S))
            onset = LEAD_S + LETTER_S
            rows.append(f"{name} {onset:.3f} {onset + LETTER_S:.3f} {text[1]} {text[0]} {text[2]} s{speaker}")
    (folder / "phones.item").write_text("\n".join(rows) + "\n")
    return folder / "phones.item", folder / "audio"
