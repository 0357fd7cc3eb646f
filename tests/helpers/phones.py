"""Tones that say letters as phones, with an item file whose times are right."""

from pathlib import Path

from corpora import LETTER_S, spoken, write

TEXTS = ("ABA", "ACA", "ABA", "BAB", "BCB", "ACA")
LEAD_S = 0.05
HEADER = "#file onset offset #phone prev-phone next-phone speaker"


def make_phones(folder: Path, speakers: int = 3, texts: tuple[str, ...] = TEXTS) -> tuple[Path, Path]:
    """Recordings of each text by each speaker, and their item file; the middle letter of each is a token."""
    rows = [HEADER]
    for speaker in range(speakers):
        for number, text in enumerate(texts):
            name = f"s{speaker}/s{speaker}-{number}"
            write(folder / "audio" / f"{name}.wav", spoken(text, 0.9 + 0.06 * speaker, 100 * speaker + number, LEAD_S))
            onset = LEAD_S + LETTER_S
            rows.append(f"{name} {onset:.3f} {onset + LETTER_S:.3f} {text[1]} {text[0]} {text[2]} s{speaker}")
    (folder / "phones.item").write_text("\n".join(rows) + "\n")
    return folder / "phones.item", folder / "audio"
