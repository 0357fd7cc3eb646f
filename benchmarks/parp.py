"""Unstructured pruning: PARP against one-shot magnitude pruning at equal steps, and what zeros do to the program.

    python benchmarks/parp.py CORPORA OUT [--student FOLDER] [--steps 240] [--recover 120]
    python benchmarks/parp.py CORPORA OUT --zeros [--student FOLDER]    # time and size alone, without training

CORPORA and the student are pruning_curve.py's (OUT may be its folder too). From it, at 50 and 90 % of the weights,
`compress prune --method parp` and `--method one-shot`, each with as many steps. Fidelity is the mean cosine of the
heads on test clips. Time is that of a chunk of 320 ms of the exported program, float32, one thread, dense and sparse in
turn; size is that of the program. Writes results/parp.json. With --zeros the student's smallest weights are set to
zero as they are, which is all that time and size depend on, and results/parp_zeros.json is written.
"""

import argparse
from pathlib import Path

from common import compress, write
from pruning_curve import DENSE, FURTHER, TRAIN, continued, data_of, faithful, start, timed, with_sets
from streaming_quality import test_clips

from speechpress.compressor.distill.process import keep_freed_memory
from speechpress.compressor.distill.sparse import prunable, zero_smallest
from speechpress.compressor.models.checkpoint import load_encoder, read_json
from speechpress.compressor.tasks.folder import make_task
from speechpress.compressor.teachers.load import load_teacher

SPARSITIES, METHODS = (0.5, 0.9), ("one-shot", "parp")


def make_all(corpora: Path, out: Path, first: Path, recover: int) -> dict[str, Path]:
    """{name: folder} of the student that went on dense, and of every sparse one."""
    continued(corpora, out / DENSE, first, recover)
    folders = {DENSE: out / DENSE}
    for sparsity in SPARSITIES:
        for method in METHODS:
            folder = folders[f"{method} {round(100 * sparsity)}"] = out / f"{method}-{round(100 * sparsity)}"
            if not (folder / "card.json").exists():
                order = ["--sparsity", sparsity, "--method", method, "--steps", recover, *with_sets([*TRAIN, *FURTHER])]
                compress("prune", first, *order, "--out", folder, "--overwrite", *data_of(corpora))
    return folders


def zeros(first: Path, out: Path, rounds: int) -> None:
    """Time and size of a program whose weights are mostly zeros, beside the same one without."""
    encoders = {DENSE: load_encoder(first)}
    for sparsity in SPARSITIES:
        encoders[f"zeros {round(100 * sparsity)}"] = encoder = load_encoder(first)
        zero_smallest(prunable(encoder), sparsity)
    out.mkdir(parents=True, exist_ok=True)
    times = timed(encoders, out, rounds)
    sizes = {name: (out / f"{name.replace(' ', '-')}.pte").stat().st_size for name in encoders}
    write("parp_zeros", {"threads": 1, "chunk_ms": 320, "program_bytes": sizes, "times": times})
    for name in encoders:
        print(f"{name}: {times[name]['median_ms']:.2f} ms, program {sizes[name] / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("corpora", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--student", type=Path, help="a finished streaming student of hubert-mini")
    for option, value in (("steps", 240), ("recover", 120), ("rounds", 100)):
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--zeros", action="store_true")
    given = parser.parse_args()
    keep_freed_memory()
    first = start(given.corpora, given.out, given.student, given.steps)
    if given.zeros:
        return zeros(first, given.out, given.rounds)
    folders = make_all(given.corpora, given.out, first, given.recover)
    encoders = {name: load_encoder(folder) for name, folder in folders.items()}
    times = timed(encoders, given.out, given.rounds)
    sizes = {name: (given.out / f"{name.replace(' ', '-')}.pte").stat().st_size for name in folders}
    corpus = {"ks": "arabic_speech_commands", "sid": "speechocean762"}
    tasks = [make_task(name, given.corpora / folder, 50, 200) for name, folder in corpus.items()]
    cosines = faithful(folders, load_teacher("hubert-mini"), test_clips(tasks))
    points = {
        name: {
            "fidelity": cosines[name],
            "ms": times[name]["median_ms"],
            "program_bytes": sizes[name],
            "prune": read_json(folder / "card.json").get("prune"),
        }
        for name, folder in folders.items()
    }
    document = {
        "steps": read_json(first / "card.json")["steps"],
        "recover": given.recover,
        "threads": 1,
        "points": points,
        "times": times,
    }
    write("parp", document)
    for name, point in points.items():
        size = point["program_bytes"] / 1e6
        print(f"{name}: fidelity {point['fidelity']:.4f}, {point['ms']:.2f} ms, program {size:.2f} MB")


if __name__ == "__main__":
    main()
