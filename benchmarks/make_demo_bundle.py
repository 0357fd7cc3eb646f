"""Make the bundle that ships for `compress demo`: hubert-mini made to stream, in two thirds of its layers.

    python benchmarks/make_demo_bundle.py CORPORA WORK [--steps 800]

CORPORA holds the unpacked folders speechocean762, arabic_speech_commands and picovoice_barista (audio/ and labels.tsv,
whose splits keep test speakers out of training). The student begins with the teacher's front end and its first four
layers, and learns to give the teacher's last layer without hearing the future. 36 to 60 minutes on one core that others
use too. WORK keeps the checkpoint; what is exported goes to runtime/demo/demo-bundle, with a card of its own.
"""

import argparse
from pathlib import Path

from common import compress

from speechpress.compressor.models.checkpoint import read_json
from speechpress.runtime.atomic import write_text
from speechpress.runtime.demo.worker import SHIPPED

SETTINGS = [
    "name=demo",
    "about=hubert-mini made to stream, for compress demo",
    "student.layers=4",
    "student.projection_norm=true",
    "match.style=layers",
    "match.layers=[]",
    "match.pairs=[[4,6]]",
    "match.depth=6",
    "streaming.chunk_ms=[80,320]",
    "streaming.full_context=0.1",
    "train.lr=1e-3",
    "train.crop_s=4",
    "train.batch=24",
    "train.precision=bf16",
    "train.front_end_grad=1.0",
    "train.validate_every=100",
    "train.checkpoint_every=50",
]
CARD = """
# The demo's bundle

What the light runtime runs when no other bundle is there: small enough to ship, good enough to teach it words.

- **Model:** {layers} layers x {width}, {parameters:.2f} M parameters, streaming in chunks of 80 and 160 ms, int8,
  {size:.1f} MB.
- **How it was made:** `benchmarks/make_demo_bundle.py`: distilled from layer 6 of [hubert-mini](HUBERT_MINI), from
  whose front end and first four layers it began; {steps} steps, {hours:.1f} h of audio seen, one shared CPU core.
  Held-out cosine to the teacher, which hears whole recordings: {whole:.3f} on whole recordings, {chunked:.3f} in chunks
  of {chunk_ms:g} ms.
- **Speech:** speechocean762 (train), Arabic Speech Commands (train) and Picovoice's barista commands, 6.4 h. No
  labels were used, and no test speaker of the first two. All of the barista commands were heard, the test clips of the
  mini suite's ic and sf among them. The teacher comes from Whisper's encoder, which is supervised.
- **What it is for:** trying the demo. Distil your own for anything else.
"""


def distill(corpora: Path, out: Path, steps: int) -> None:
    sets = [word for setting in [*SETTINGS, f"train.steps={steps}"] for word in ("--set", setting)]
    names = ("speechocean762", "arabic_speech_commands", "picovoice_barista")
    data = [word for name in names for word in ("--data", name)]  # by name, so that the card holds no folder of ours
    words = ("distill", "--recipe", "distilhubert-streaming", "--teacher", "hubert-mini", *data)
    compress(*words, "--out", out.resolve(), *sets, folder=corpora)


def write_card(checkpoint: Path) -> None:
    """Beside the bundle's own card, how it was made."""
    card, valid = read_json(checkpoint / "card.json"), read_json(checkpoint / "card.json")["valid"]
    config = read_json(checkpoint / "config.json")["speechpress"]["encoder"]
    text = CARD.format(
        layers=len(config["ffn_widths"]),
        width=config["width"],
        parameters=card["parameters"] / 1e6,
        size=(SHIPPED / "encoder.pte").stat().st_size / 1e6,
        steps=card["steps"],
        hours=card["audio_h"],
        whole=valid["end"]["6"]["cosine"],
        chunked=valid["end_chunked"]["6"]["cosine"],
        chunk_ms=valid["chunk_ms"],
    ).replace("HUBERT_MINI", "../../compressor/starter/hubert-mini/CARD.md")
    write_text(SHIPPED / "CARD.md", text.lstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=800)
    given = parser.parse_args()
    checkpoint = given.work / "demo"
    if not (checkpoint / "card.json").exists():
        distill(given.corpora, checkpoint, given.steps)
    chunks = ["--chunk-ms", 80, "--chunk-ms", 160]
    compress("export", checkpoint, "--target", "host", "--quantize", "int8", *chunks, "--out", SHIPPED, "--overwrite")
    write_card(checkpoint)
    compress("verify", SHIPPED)


if __name__ == "__main__":
    main()
