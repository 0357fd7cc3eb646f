"""What each way of learning more per hour is worth: one key of a recipe at a time, at equal audio, on one teacher.

    python benchmarks/ablation.py CORPORA ITEMS WORK [--teacher hubert-mini] [--steps 240] [--seeds 1] [--only masks]

CORPORA holds the unpacked corpora of the mini suite; students hear speechocean762 and arabic_speech_commands, whose
splits keep test speakers out of training. ITEMS is what `make_abx_items.py` wrote of speechocean762's test speakers.
Every student has `pocket`'s shape at half its channels and two thirds of its width, streams, begins with the same
random weights and hears the same crops of the same clips in the same order; the teacher's targets are kept, so it
hears each crop once for all of them. `offline first` spends half of the steps on a student that hears whole recordings
and the other half on making it stream.

Judged in chunks of 320 ms by ABX within and across speakers and, by learned sums of layers, keywords and speakers,
beside the teacher, log-mel and random weights. ABX is that of the last layer, and of the best one, which is chosen on
the very items. Writes results/ablation.json; finished runs in WORK are not made again.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import write
from mini_suite import measured

from speechpress.compressor.abx.evaluate import Request, evaluate_abx
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.models.checkpoint import load_checkpoint, read_json
from speechpress.compressor.models.costs import macs_per_s
from speechpress.compressor.tasks.suites import open_suite

CHUNK_MS = 320.0
CORPORA = ("arabic_speech_commands", "speechocean762")
SHAPE = (
    "student.width=256",
    "student.num_heads=4",
    "student.ffn_widths=1024",
    "student.conv_channels=[64,64,64,128,128,128,256]",
    "match.layers=[2,4,6]",
    "match.depth=6",
    "train.lr=1e-3",
    "train.warmup=0.1",
    "train.crop_s=4",
    "train.batch=12",
    "train.precision=bf16",
    "train.checkpoint_every=60",
)
CLUSTERS = ("match.clusters.layers=[4]", "match.clusters.count=100", "match.clusters.minutes=20")
MASKS = ("hear.mask_prob=0.3",)
NOISE = ("hear.noise_prob=0.5",)
STANDARD = ("match.standardise=true",)
VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "masks": MASKS,
    "noise": NOISE,
    "standardised": STANDARD,
    "lag of 80 ms": ("match.lag_ms=80",),
    "clusters": ("match.layers=[]", *CLUSTERS),
    "clusters and layers": CLUSTERS,
    "offline first": (),
    "standardised, masks and noise": (*STANDARD, *MASKS, *NOISE),
}


def distil(given: argparse.Namespace, out: Path, settings: list[str], steps: int) -> None:
    """One run of `compress distill`, gone on with where it was begun."""
    state = "--resume" if (out / "resume.safetensors").is_file() else "--overwrite"
    every = [*SHAPE, *settings, f"train.steps={steps}", f"train.validate_every={steps}"]
    words = ["--recipe", "pocket", "--teacher", given.teacher, "--out", out, state]
    kept = "clusters" if any("clusters" in setting for setting in every) else "layers"
    words += ["--keep-targets", given.work / "targets" / kept]
    words += [word for name in CORPORA for word in ("--data", given.corpora / name)]
    words += [word for setting in every for word in ("--set", setting)]
    command = [sys.executable, "-m", "speechpress.compressor.cli.main", "distill"]
    subprocess.run([*command, *map(str, words)], check=True)


def finished(out: Path) -> bool:
    return (out / "card.json").is_file() and bool(read_json(out / "card.json").get("finished"))


def made(given: argparse.Namespace, variant: str, seed: int) -> Path:
    """The student of a variant, trained unless it is there."""
    out = given.work / f"{variant.replace(' ', '-').replace(',', '')}-{seed}"
    if finished(out):
        return out
    settings = [*VARIANTS[variant], f"train.seed={seed}"]
    if variant != "offline first":
        distil(given, out, settings, given.steps)
        return out
    first = out.with_name(f"{out.name}-first")
    if not finished(first):
        distil(given, first, [*settings, "streaming.full_context=1.0"], given.steps // 2)
    distil(given, out, [*settings, f"student.init={first}"], given.steps - given.steps // 2)
    return out


def trained_with(out: Path) -> dict[str, Any]:
    """What a card says of a run."""
    opened = load_checkpoint(out)
    valid = opened.card.get("valid", {}).get("end", {})
    kept = {key: opened.card.get(key) for key in ("steps", "audio_s", "train_s", "parameters")}
    return {**kept, "macs_per_s": macs_per_s(opened.encoder.config), "valid": valid}


def last_and_best(found: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """ABX errors of the last and of the best layer by upstream, within and across speakers."""
    rows = {}
    for name, detail in found["abx"].items():
        best = detail["layers"].index(detail["best"])
        rows[names.get(name, name)] = {
            mode: {"last": detail[mode][-1], "best": detail[mode][best]} for mode in ("within", "across")
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("corpora", "items", "work"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--teacher", default="hubert-mini")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default=",".join(VARIANTS).replace("standardised, masks", "standardised; masks"))
    parser.add_argument("--tasks", default="ks,sid")
    given = parser.parse_args()
    given.work = given.work.resolve()
    chosen = [name.strip().replace(";", ",") for name in given.only.split(",")]
    runs = {f"{variant}, seed {seed}": made(given, variant, seed) for seed in range(given.seeds) for variant in chosen}
    setup = {"teacher": given.teacher, "steps": given.steps, "settings": SHAPE, "variants": VARIANTS}
    document: dict[str, Any] = {"setup": setup, "runs": {name: trained_with(out) for name, out in runs.items()}}
    write("ablation", document)
    first, *others = map(str, runs.values())
    names = dict(zip(["student", *others], runs, strict=True))
    request = Request(given.items, given.corpora / "speechocean762" / "audio", 5, None)
    found = evaluate_abx(first, request, against=others, teacher=given.teacher, chunk_ms=CHUNK_MS, listen=print)
    document["abx"] = {"items": {key: value for key, value in found["items"].items() if key != "path"}}
    document["abx"]["errors"] = last_and_best(found, names)
    write("ablation", document)
    tasks, _ = open_suite("mini", given.tasks.split(","), given.corpora)
    settings = {"against": others, "teacher": given.teacher, "chunk_ms": CHUNK_MS, "budget": Budget(seeds=3)}
    scores = measured(first, tasks, cache=given.work / "features", **settings)["tasks"]
    kept = ("teacher", "logmel", "random", "student", *others)
    document["tasks"] = {
        name: {"metric": task["metric"], **{names.get(one, one): task[one] for one in kept}}
        for name, task in scores.items()
    }
    write("ablation", document)


if __name__ == "__main__":
    main()
