"""Put a student into the package: its heads, its bundle, and its checkpoint where both together are small enough.

    python benchmarks/ship_student.py CHECKPOINT CORPORA NAME WORK [--heads phones vad] [--quantize int8]

CHECKPOINT is a streaming run, such as `gpu_students.py unpack` makes. Its weights are rounded to 16 bits first, so that
heads and bundle are of what is shipped. Heads are trained on the training parts of speechocean762, in CORPORA. WORK
keeps the checkpoint with its heads. The bundle goes to runtime/students/NAME, for chunks of --chunk-ms only and not for
whole recordings, which would need another copy of its constants; with --checkpoint the checkpoint goes there too. The
card, CARD.md, is written by hand: what a student is for, no script knows.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from speechpress.compressor.models.checkpoint import WEIGHTS
from speechpress.runtime.students.shipped import HERE

# Run in the folder of the corpora, so that a head's metadata name no place of the machine that made it.
HEADS = {
    "phones": ("--task", "pr", "--data", "."),
    "vad": ("--task", "vad", "--data", "speechocean762"),
}
MOST_BYTES = 12_000_000


def compress(*words: object, folder: Path | None = None) -> None:
    subprocess.run([sys.executable, "-m", "speechpress.compressor.cli.main", *map(str, words)], check=True, cwd=folder)


def halved(source: Path, place: Path) -> None:
    """A copy of a checkpoint with weights in 16 bits."""
    shutil.copytree(source, place)
    tensors = {name: tensor.half().contiguous() for name, tensor in load_file(source / WEIGHTS).items()}
    save_file(tensors, place / WEIGHTS, metadata={"format": "pt"})


def add_heads(checkpoint: Path, given: argparse.Namespace) -> None:
    for name in given.heads:
        if (checkpoint / "heads" / f"{name}.safetensors").exists():
            continue
        words = ("head", checkpoint, *HEADS[name], "--name", name, "--cache", given.work.resolve() / "cache")
        compress(*words, folder=given.corpora)


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
    parser.add_argument("--checkpoint", action="store_true", help="put it beside its bundle")
    given = parser.parse_args()
    checkpoint, bundle = given.work.resolve() / given.name, HERE / given.name
    if not checkpoint.exists():
        halved(given.source, checkpoint)
    add_heads(checkpoint, given)
    chunks = [word for ms in given.chunk_ms for word in ("--chunk-ms", ms)]
    heads = ("--heads", "all" if given.heads else "none")
    words = ("export", checkpoint, "--target", "host", "--quantize", given.quantize, *chunks, *heads)
    compress(*words, "--offline-seconds", 0, "--out", bundle, "--overwrite")
    if given.checkpoint:
        shutil.copytree(checkpoint, bundle / "checkpoint", dirs_exist_ok=True)
    compress("verify", bundle)
    if size_bytes(bundle) > MOST_BYTES:
        raise SystemExit(
            f"{bundle}: {size_bytes(bundle):,} bytes, and a student of the package may have {MOST_BYTES:,}"
        )


if __name__ == "__main__":
    main()
