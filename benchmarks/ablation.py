"""What each way of learning more per hour is worth: one key of a recipe at a time, at equal audio, on one teacher.

    python benchmarks/students_speech.py choose CORPORA CHOSEN
    python benchmarks/students_speech.py speeds CHOSEN SPEECH
    python benchmarks/ablation.py train SPEECH TEACHER WORK [--steps 500] [--device cuda] [--together 8]
    python benchmarks/ablation.py score CORPORA ITEMS TEACHER WORK

ITEMS is what `make_abx_items.py` wrote of speechocean762's test speakers, whom no student has heard. Every student has
`pocket-s`'s shape, streams, begins with the same random weights and hears the same crops of the same clips in the same
order; with another seed all of that is drawn anew. `offline first` spends half of the steps on a student that hears
whole recordings and the other half on making it stream.

Judged in chunks of 320 ms by ABX within and across speakers and, by learned sums of layers, keywords and speakers,
beside the teacher, log-mel and random weights. ABX is that of the last layer, and of the best one, which is chosen on
the very items. Writes results/ablation.json; finished runs in WORK are not made again.
"""

import argparse
from pathlib import Path
from typing import Any

from common import write
from mini_suite import measured
from side_by_side import Job, Place, distil_all, finished

from speechpress.compressor.abx.evaluate import Request, evaluate_abx
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.models.checkpoint import load_checkpoint
from speechpress.compressor.models.costs import macs_per_s
from speechpress.compressor.tasks.suites import open_suite

RECIPE, CHUNK_MS = "pocket-s", 320.0
PLAIN = (
    "match.standardise=false",
    "match.lag_ms=0",
    "match.layers=[2,4,6]",
    "match.depth=6",
    "train.lr=1e-3",
    "train.batch=64",
    "train.batch_s=128",
    "train.precision=fp16",
    "train.checkpoint_every=1000000",
    "train.validate_every=1000000",
)
CLUSTERS = ("match.clusters.layers=[4]", "match.clusters.count=200", "match.clusters.minutes=40")
MASKS = ("hear.mask_prob=0.3",)
NOISE = ("hear.noise_prob=0.5",)
STANDARD = ("match.standardise=true",)
LAG = ("match.lag_ms=80",)
ALL = (*STANDARD, *MASKS, *NOISE, *LAG)
VARIANTS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "masks": MASKS,
    "noise": NOISE,
    "standardised": STANDARD,
    "lag of 80 ms": LAG,
    "clusters": ("match.layers=[]", *CLUSTERS),
    "clusters and layers": CLUSTERS,
    "clusters and standardised layers": (*CLUSTERS, *STANDARD),
    "one layer": ("match.layers=[4]", *STANDARD),
    "all layers": ("match.layers=[1,2,3,4,5,6]", *STANDARD),
    "standardised, lag": (*STANDARD, *LAG),
    "standardised, masks, noise, lag": ALL,
    "standardised, masks, noise, lag, clusters": (*ALL, *CLUSTERS),
    "offline first": (),
}
SEEDED = ("plain", "standardised", "standardised, masks, noise, lag")  # with more than one seed
FIRST = "-first"


def folder_name(variant: str, seed: int) -> str:
    return f"{variant.replace(' ', '-').replace(',', '')}-{seed}"


def jobs_of(variant: str, seed: int, steps: int, work: Path) -> list[Job]:
    """The run of a variant, and the one that it begins with, if any."""
    name, settings = folder_name(variant, seed), (*PLAIN, *VARIANTS[variant], f"train.seed={seed}")
    if variant != "offline first":
        return [Job(name, RECIPE, (*settings, f"train.steps={steps}"))]
    half = f"train.steps={steps // 2}"
    return [
        Job(name + FIRST, RECIPE, (*settings, half, "streaming.full_context=1.0")),
        Job(name, RECIPE, (*settings, half, f"student.init={work / (name + FIRST)}"), after=name + FIRST),
    ]


def all_jobs(given: argparse.Namespace) -> list[Job]:
    runs = [(variant, 0) for variant in VARIANTS]
    runs += [(variant, seed) for variant in SEEDED for seed in range(1, given.seeds)]
    return [job for variant, seed in runs for job in jobs_of(variant, seed, given.steps, given.work)]


def train(given: argparse.Namespace) -> None:
    place = Place((given.speech.resolve(),), given.teacher, given.work.resolve(), given.device)
    failed = distil_all(place, all_jobs(given), given.together)
    if failed:
        raise SystemExit(f"not trained: {', '.join(job.name for job in failed)}")


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
        best = detail["best"]
        rows[names.get(name, name)] = {
            mode: {"last": detail[mode][-1], "best": detail[mode][best]} for mode in ("within", "across")
        }
    return rows


def score(given: argparse.Namespace) -> None:
    runs = {
        f"{variant}, seed {seed}": given.work / folder_name(variant, seed)
        for variant in VARIANTS
        for seed in range(given.seeds)
        if finished(given.work / folder_name(variant, seed))
    }
    setup = {"teacher": Path(given.teacher).name, "settings": PLAIN, "variants": VARIANTS, "chunk_ms": CHUNK_MS}
    document: dict[str, Any] = {"setup": setup, "runs": {name: trained_with(out) for name, out in runs.items()}}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True)
    trainer, scorer = what.add_parser("train"), what.add_parser("score")
    for one, names in ((trainer, ("speech",)), (scorer, ("corpora", "items"))):
        for name in names:
            one.add_argument(name, type=Path)
        one.add_argument("teacher")
        one.add_argument("work", type=Path)
        one.add_argument("--seeds", type=int, default=3)
    trainer.add_argument("--steps", type=int, default=500)
    trainer.add_argument("--device", default="auto")
    trainer.add_argument("--together", type=int, default=1)
    trainer.set_defaults(do=train)
    scorer.add_argument("--tasks", default="ks,sid")
    scorer.set_defaults(do=score)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
