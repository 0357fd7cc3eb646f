"""`pocket-conv` after pruning and int8, beside DistilHuBERT: size, compute, time, and what the mini suite says of both.

    python benchmarks/pocket.py CORPORA OUT [--steps 240] [--recover 80] [--to-params 6.5M] [--cache FOLDER]

Both are distilled from hubert-mini on the same speech: DistilHuBERT for --steps and --recover steps, `pocket-conv` for
--steps; then `compress prune` takes it to --to-params and distils it again for --recover, and `compress export` makes
an int8 bundle. Both start from their teacher's first layers, `pocket-conv` with room to grow: hubert-mini is narrower
than it, unlike the teachers that it is meant for, and has a LayerNorm after every convolution, which `pocket-conv` then
has too. Because its layers are its teacher's, they are held against those themselves, the last two against later ones,
in place of heads on the last, and its front end takes as small steps as DistilHuBERT's.

The suite learns a sum of all layers of each, as SUPERB does; the bundle gives them side by side and runs as on a
device, chunk by chunk. On three tasks the pruned student also stands beside it as it is in PyTorch, over whole
recordings: what 8 bits and streaming cost together. What 8 bits cost alone is seen on DistilHuBERT: its bundle in int8
and its checkpoint in the tasks of one linear layer, with 20 seeds each.

Time is of that pruned shape and of full-size HuBERT-base and DistilHuBERT, which have random weights, in the same
runtime on one thread, in turn: chunks of 320 ms where it streams, windows of a second where not. Finished runs in OUT
are not made again. Writes results/pocket.json.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Parts, alternate, compress
from mini_suite import measured
from peers import TRAIN
from profile_models import config_of
from pruning_curve import data_of, lasting, with_sets

from speechpress.compressor.evaluate.extract import extract
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.lineup import open_comparison
from speechpress.compressor.evaluate.probes import probe
from speechpress.compressor.evaluate.retention import retention
from speechpress.compressor.evaluate.solve import class_parts
from speechpress.compressor.evaluate.suite import stores, wanted
from speechpress.compressor.models import costs
from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.quantize.fake_quant import kinds
from speechpress.compressor.quantize.scheme import Quantization
from speechpress.compressor.study.schemes import lowered_alone
from speechpress.compressor.tasks.suites import open_suite
from speechpress.runtime.engine import Program, set_threads

INHERITED = ["train.front_end_grad=0.1"]
OWN_LAYERS = ["match.style=layers", "match.layers=[]", "match.pairs=[[0,0],[1,1],[2,2],[3,4],[4,6]]"]
AS_TEACHER = {
    "distilhubert": [],
    "pocket-conv": ["student.init=teacher", "student.conv_norm=layer", *OWN_LAYERS, *INHERITED],
}
INT8 = {"pocket-conv-int8": "pruned", "distilhubert-int8": "distilhubert"}  # bundles, and what they are made of
APART, BITS, BITS_SEEDS = ("ks", "sid", "qbe"), ("ks", "sid"), 20
ROUNDS = 40
UNIT_S = {"step": 0.32, "window": 1.0}


def make_all(given: argparse.Namespace) -> None:
    """DistilHuBERT, `pocket-conv`, what is left of it, and its bundle, unless they are there."""
    out, data = given.out, data_of(given.corpora)
    for recipe, steps in (("distilhubert", given.steps + given.recover), ("pocket-conv", given.steps)):
        if not (out / recipe / "card.json").exists():
            order = ["distill", "--recipe", recipe, "--teacher", "hubert-mini", "--out", out / recipe, *data]
            compress(*order, *with_sets([*AS_TEACHER[recipe], *TRAIN, *lasting(steps)]))
    if not (out / "pruned" / "card.json").exists():
        order = ["prune", out / "pocket-conv", "--to-params", given.to_params, "--recover", given.recover]
        compress(*order, "--out", out / "pruned", *data, *with_sets([*TRAIN, *INHERITED]))
    for name, source in INT8.items():
        if not (out / name / "bundle.json").exists():
            order = ["export", out / source, "--target", "host", "--quantize", "int8", "--layers", "all"]
            compress(*order, "--out", out / name)


def suite(given: argparse.Namespace, names: Sequence[str], *beside: str) -> dict[str, Any]:
    """{"tasks": {task: {metric, chance, student (DistilHuBERT), its rivals, ...}}, "kept": means over the tasks}."""
    opened, _ = open_suite("mini", names, given.corpora)
    against = [str(given.out / name) for name in ("pocket-conv-int8", *beside)]
    settings = {"budget": Budget(seeds=given.seeds), "cache": given.cache}
    found = measured(given.out / "distilhubert", opened, against=against, **settings)
    kept = ("metric", "better", "chance", "student", *found["against"], "teacher", "random", "logmel")
    kept += ("retention", "ci95", "seeds", "also")
    tasks = {name: {key: task[key] for key in kept} for name, task in found["tasks"].items()}
    kept_means = {"kept": retention(found)["mean"], "kept_above_floor": found["kept_above_floor"]}
    return {"tasks": tasks, **kept_means, "left_out": retention(found)["left_out"]}


def bits(given: argparse.Namespace) -> dict[str, Any]:
    """{task: {"fp32", "int8": {test, of the mean over seeds: error}}} of DistilHuBERT, on kept features."""
    tasks, _ = open_suite("mini", BITS, given.corpora)
    comparison = open_comparison(given.out / "distilhubert", [str(given.out / "distilhubert-int8")], None, None, "cpu")
    upstreams = {"fp32": comparison.upstreams["student"], "int8": comparison.upstreams["distilhubert-int8"]}
    found: dict[str, Any] = {"seeds": BITS_SEEDS}
    with stores(given.cache, upstreams) as kept:
        extract(upstreams, wanted(tasks), kept, "cpu", print)
        for task in tasks:
            scores = {name: probe(*class_parts(task, kept[name]), BITS_SEEDS) for name in upstreams}
            found[task.name] = {
                name: {"test": score.test, "error": float(np.std(score.seeds) / len(score.seeds) ** 0.5)}
                for name, score in scores.items()
            }
    return found


def program(encoder: Encoder, scheme: str, path: Path) -> tuple[Program, str, list[np.ndarray]]:
    """A program of one method, its name, and what it is given."""
    encoder.eval().measure_statistics(torch.randn(1, 32_000) * 0.1)
    lowered, method = lowered_alone(encoder, Quantization(scheme).settled(kinds(encoder)))
    path.write_bytes(lowered.program)
    made = Program(path, threads=1)
    name = next(word for word in made.method_names if word.startswith(tuple(UNIT_S)))
    return made, name, [tensor.numpy() for tensor in method.example]


def timed(out: Path) -> dict[str, Any]:
    """Milliseconds of computing per second of audio."""
    torch.manual_seed(0)
    sides = {
        "hubert-base, fp32": (Encoder(config_of("hubert-base")), "none"),
        "distilhubert, fp32": (Encoder(config_of("distilhubert")), "none"),
        "distilhubert, int8": (Encoder(config_of("distilhubert")), "int8"),
        "pocket-conv, fp32": (load_encoder(out / "pocket-conv"), "none"),
        "pocket-conv, pruned, int8": (load_encoder(out / "pruned"), "int8"),
    }
    set_threads(1)
    calls, units, sizes = {}, {}, {}
    for number, (name, (encoder, scheme)) in enumerate(sides.items()):
        path = out / f"side-{number}.pte"
        made, method, arrays = program(encoder, scheme, path)
        sizes[name] = path.stat().st_size
        calls[name] = lambda made=made, method=method, arrays=arrays: made.run(method, *arrays)
        units[name] = next(seconds for word, seconds in UNIT_S.items() if method.startswith(word))
    times = alternate(calls, ROUNDS, warmup=3)
    found: dict[str, Any] = {"others_cpu_share": times["others_cpu_share"], "threads": 1}
    for name, unit_s in units.items():
        found[name] = {**times[name], "unit_s": unit_s, "ms_per_s": times[name]["median_ms"] / unit_s}
        found[name]["program_bytes"] = sizes[name]
    return found


def facts(out: Path) -> dict[str, Any]:
    """What the student is before and after."""
    shapes = {name: load_encoder(out / name).config for name in ("distilhubert", "pocket-conv", "pruned")}
    found: dict[str, Any] = {
        name: {"parameters": costs.parameters(shape), "macs_per_s": costs.macs_per_s(shape)}
        for name, shape in shapes.items()
    }
    programs = [path.stat().st_size for path in (out / "pocket-conv-int8").glob("*.pte")]
    return found | {"pocket-conv-int8": {"program_bytes": sum(programs)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("corpora", "out"):
        parser.add_argument(name, type=Path)
    for option, value in (("steps", 240), ("recover", 80), ("seeds", 3)):
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--to-params", default="6.5M")
    parser.add_argument("--tasks", default="all", help="of the mini suite")
    parser.add_argument("--cache", type=Path, help="where features and outcomes are kept, as in mini_suite.py")
    parser.add_argument("--only", choices=("make", "time", "suite"), help="a part alone")
    given = parser.parse_args()
    document = Parts("pocket")
    if given.only in (None, "make"):
        make_all(given)
        document.put(steps=given.steps, recover=given.recover, shapes=facts(given.out))
    if given.only in (None, "time"):
        document.put(time=timed(given.out))
        print({name: round(side["ms_per_s"], 1) for name, side in document["time"].items() if isinstance(side, dict)})
    if given.only in (None, "suite"):
        names = given.tasks.split(",")
        document.put(suite=suite(given, names))
        document.put(apart=suite(given, [name for name in APART if name in names or "all" in names], "pruned"))
        document.put(bits=bits(given))
        print(document["bits"])
        for part in ("suite", "apart"):
            for name, task in document[part]["tasks"].items():
                print(name, {key: round(value, 3) for key, value in task.items() if isinstance(value, float)})
            print("kept", document[part]["kept"])


if __name__ == "__main__":
    main()
