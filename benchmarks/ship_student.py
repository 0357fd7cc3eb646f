"""Put a student into the package: its heads, its bundle, and its checkpoint where both together are small enough.

    python benchmarks/ship_student.py CHECKPOINT CORPORA NAME WORK [--heads phones vad] [--quantize int8]

CHECKPOINT is a streaming run, such as `gpu_students.py unpack` makes. Its weights are rounded to 16 bits first, so
that heads and bundle are of what is shipped. Heads are trained on the training parts of speechocean762, in CORPORA.
WORK keeps the checkpoint with its heads; others that lie there, such as that of `make_words_head.py --frozen`, go
along. The bundle goes to runtime/students/NAME, for chunks of --chunk-ms only and not for whole recordings, which
would need another copy of its constants; with --checkpoint the checkpoint goes there too, with the heads of --heads
alone: the package has little room. How good the heads are goes to the part `shipped` of results/students.json. The
card, CARD.md, is written by hand, and kept: what a student is for, no script knows.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import Parts, compress
from safetensors.torch import load_file, save_file

from speechpress.compressor.heads.files import read_heads, write_card
from speechpress.compressor.models.checkpoint import CARD, WEIGHTS, write_json
from speechpress.runtime.bundle import read_bundle
from speechpress.runtime.json_file import read_json
from speechpress.runtime.students.shipped import HERE

HEADS = {"phones": ("pr", ""), "vad": ("vad", "speechocean762")}  # task, and its part of the corpora
OF_CARD = ("task", "metric", "value", "ci95", "chance", "parameters", "chunks_ms")
MOST_BYTES = 12_000_000


def halved(source: Path, place: Path, teacher: str | None) -> None:
    """A copy of a checkpoint with weights in 16 bits, whose card names the teacher so."""
    shutil.copytree(source, place)
    if teacher is not None:
        card = read_json(place / CARD)
        card["teacher"]["source"] = card["recipe"]["teacher"] = teacher
        write_json(place / CARD, card)
    tensors = {name: tensor.half().contiguous() for name, tensor in load_file(source / WEIGHTS).items()}
    save_file(tensors, place / WEIGHTS, metadata={"format": "pt"})


def copy_checkpoint(checkpoint: Path, place: Path, heads: Sequence[str]) -> None:
    others = [path.name for path in checkpoint.glob("heads/*") if path.stem not in heads]
    shutil.copytree(checkpoint, place, ignore=lambda _, names: set(others) & set(names))
    write_card(place, {})  # which forgets what has no file


def near(corpora: Path) -> Path:
    """Where commands run, so that metadata name the corpora by their folder alone, and no place of this machine."""
    return corpora.resolve().parent


def add_heads(checkpoint: Path, given: argparse.Namespace) -> None:
    for name in given.heads:
        if (checkpoint / "heads" / f"{name}.safetensors").exists():
            continue
        task, corpus = HEADS[name]
        words = ("head", checkpoint, "--task", task, "--data", Path(given.corpora.name) / corpus, "--name", name)
        compress(*words, "--cache", given.work.resolve() / "cache", folder=near(given.corpora))


def measured(given: argparse.Namespace, checkpoint: Path, bundle: Path) -> dict[str, Any]:
    """Scores of the heads on the test speech, of the checkpoint; and of some of it, from checkpoint and program."""
    cards = {name: head.card for name, head in read_heads(checkpoint, given.heads).items()}
    heads = {name: {key: card[key] for key in OF_CARD} for name, card in cards.items()}
    for head in read_bundle(bundle).document.get("heads", []):
        if head["name"] in heads:
            heads[head["name"]]["program"] = head["metrics"]
    return {"run": given.source.name, "size_bytes": size_bytes(bundle), "heads": heads}


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("name")
    parser.add_argument("work", type=Path)
    parser.add_argument("--heads", nargs="*", default=list(HEADS), choices=list(HEADS))
    parser.add_argument("--quantize", default="int8")
    parser.add_argument("--chunk-ms", nargs="+", type=float, default=[320.0, 160.0, 80.0])
    parser.add_argument("--teacher", help="what the card calls the teacher, where the run knew it by a folder")
    parser.add_argument("--checkpoint", action="store_true", help="put it beside its bundle")
    given = parser.parse_args()
    checkpoint, bundle = given.work.resolve() / given.name, HERE / given.name
    if not checkpoint.exists():
        halved(given.source, checkpoint, given.teacher)
    add_heads(checkpoint, given)
    chunks = [word for ms in given.chunk_ms for word in ("--chunk-ms", ms)]
    heads = ("--heads", "all" if given.heads else "none")
    words = ("export", checkpoint, "--target", "host", "--quantize", given.quantize, *chunks, *heads)
    # Heads are measured again as the program gives them, on the speech that they were tested on.
    card = bundle / "CARD.md"
    written = card.read_bytes() if card.exists() else None
    compress(*words, "--offline-seconds", 0, "--out", bundle, "--overwrite", folder=near(given.corpora))
    if written is not None:
        card.write_bytes(written)
    if given.checkpoint:
        copy_checkpoint(checkpoint, bundle / "checkpoint", given.heads)
    compress("verify", bundle)
    parts = Parts("students")
    parts.put(shipped={**parts.get("shipped", {}), given.name: measured(given, checkpoint, bundle)})
    if size_bytes(bundle) > MOST_BYTES:
        raise SystemExit(
            f"{bundle}: {size_bytes(bundle):,} bytes, and a student of the package may have {MOST_BYTES:,}"
        )


if __name__ == "__main__":
    main()
