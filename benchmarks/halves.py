"""Weights of finished runs in 16 bits, in tar files of at most 16 MB, and back: how students come off a rented machine.

    python benchmarks/halves.py pack WORK OUT [--but NAME ...]
    python benchmarks/halves.py unpack TAR ... WORK

What comes back is a checkpoint like any other, its weights rounded to float16.
"""

import argparse
import io
import tarfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from side_by_side import finished

LIMIT_BYTES = 16_000_000
LEFT = ("resume.safetensors", "heads.safetensors", "clusters.safetensors", "loss.png")
WEIGHTS = "model.safetensors"


def pack(work: Path, out: Path, but: list[str]) -> None:
    sizes: list[int] = []
    for run in sorted(path for path in work.iterdir() if path.is_dir()):
        if run.name in but or not finished(run):
            continue
        half = io.BytesIO()
        with tarfile.open(fileobj=half, mode="w") as tar:
            for path in sorted(run.rglob("*")):
                if path.is_file() and path.name not in LEFT:
                    add(tar, path, str(path.relative_to(work)))
        data = half.getvalue()
        if not sizes or sizes[-1] + len(data) > LIMIT_BYTES:
            sizes.append(0)
        with (out / f"students-{len(sizes)}.tar").open("ab") as file:
            file.write(data)
        sizes[-1] += len(data)


def add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    if path.name != WEIGHTS:
        tar.add(path, name)
        return
    part = path.with_suffix(".half")
    save_file({key: tensor.half() for key, tensor in load_file(path).items()}, part)
    tar.add(part, name)
    part.unlink()


def unpack(tars: list[Path], work: Path) -> None:
    from speechpress.compressor.models.checkpoint import load_checkpoint, save_encoder

    work.mkdir(parents=True, exist_ok=True)
    for path in tars:
        with tarfile.open(path, ignore_zeros=True) as tar:
            tar.extractall(work, filter="data")
    for weights in sorted(work.glob(f"*/{WEIGHTS}")):
        tensors = load_file(weights)
        if any(tensor.dtype == torch.float16 for tensor in tensors.values()):
            save_file({key: tensor.float() for key, tensor in tensors.items()}, weights)
            save_encoder(weights.parent, load_checkpoint(weights.parent).encoder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--but", nargs="*", default=[])
    given = parser.parse_args()
    if given.what == "pack":
        pack(*given.paths, given.but)
    else:
        unpack(given.paths[:-1], given.paths[-1])


if __name__ == "__main__":
    main()
