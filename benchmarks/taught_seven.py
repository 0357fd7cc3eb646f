"""`compress demo --wav`: a digit is taught by three clips of a speaker and looked for among six digits of that speaker.

    python benchmarks/taught_seven.py CORPORA/fsdd BUNDLE ...

For each of fsdd's six speakers: "seven" is taught by clips 10 to 12 and looked for in a recording of the digits 3, 7,
1, 9, 7 and 4, clips 0 to 5, half a second apart, at 8 kHz as they were recorded. Counted are sevens that are found
within 0.3 s of where they begin, and whatever else is taken for one. Neither the demo's student nor any head heard
this corpus.
Writes results/taught_seven.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from common import write

WORD, ORDER, TAUGHT = 7, (3, 7, 1, 9, 7, 4), (10, 11, 12)
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
GAP_S, NEAR_S = 0.5, 0.3


def said_in_a_row(audio: Path, speaker: str, out: Path) -> list[float]:
    """Write the recording; where the digit that is looked for begins, in seconds."""
    parts, starts, at, rate = [], [], 0, 8000
    for number, digit in enumerate(ORDER):
        wave, rate = soundfile.read(audio / f"{digit}_{speaker}_{number}.flac")
        gap = np.zeros(round(GAP_S * rate))
        if digit == WORD:
            starts.append((at + len(gap)) / rate)
        parts += [gap, wave]
        at += len(gap) + len(wave)
    soundfile.write(out, np.concatenate([*parts, np.zeros(round(GAP_S * rate))]), rate)
    return starts


def found(bundle: Path, audio: Path, speaker: str, folder: Path) -> dict[str, Any]:
    """What the demo finds of one speaker."""
    starts = said_in_a_row(audio, speaker, folder / "row.wav")
    clips = ",".join(str(audio / f"{WORD}_{speaker}_{number}.flac") for number in TAUGHT)
    words = ["demo", bundle, "--wav", folder / "row.wav", "--teach", f"seven={clips}", "--json"]
    command = [sys.executable, "-m", "speechpress.compressor.cli.main", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    hits = [hit for line in done.stdout.splitlines() for hit in json.loads(line).get("words", [])]
    right = [start for start in starts if any(abs(hit["start_s"] - start) < NEAR_S for hit in hits)]
    other = [hit for hit in hits if all(abs(hit["start_s"] - start) >= NEAR_S for start in starts)]
    return {"said": len(starts), "found": len(right), "taken_for_it": len(other), "scores": [h["score"] for h in hits]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    given = parser.parse_args()
    bundles = {}
    with tempfile.TemporaryDirectory() as folder:
        for bundle in given.bundles:
            rows = {one: found(bundle, given.corpus / "audio", one, Path(folder)) for one in SPEAKERS}
            sums = {key: sum(row[key] for row in rows.values()) for key in ("said", "found", "taken_for_it")}
            bundles[bundle.name] = {**sums, "others": (len(ORDER) - 2) * len(SPEAKERS), "speakers": rows}
            print(bundle.name, sums)
    write("taught_seven", {"bundles": bundles})


if __name__ == "__main__":
    main()
