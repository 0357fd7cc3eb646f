"""The students of one teacher beside each other: `pocket`, `pocket-conv`, their variants, DistilHuBERT of more MACs.

    python benchmarks/students_speech.py choose CORPORA CHOSEN
    python benchmarks/students_speech.py speeds CHOSEN SPEECH
    python benchmarks/students.py train SPEECH TEACHER WORK [--steps 1000] [--device cuda] [--together 17]
    python benchmarks/students.py score CORPORA ITEMS TEACHER WORK [--only pocket-conv-0 distilhubert-0 ...]
    python benchmarks/students.py score CORPORA ITEMS TEACHER WORK --only pocket-0 distilhubert-20s-0 --name small
    python benchmarks/students.py five-hours CORPORA ITEMS TEACHER WORK

TEACHER is the folder of Whisper's base encoder (supervised, 20.6 M parameters). Every student begins with random
weights, for the teacher has no front end to hand on, and hears the same amount of the same speech, see
`students_speech.py`; the seed of a run draws weights, crops and order. DistilHuBERT is the recipe at half of its
published channels and width, so that it has more MACs than `pocket` and `pocket-conv`, and once more with their
targets. Learning rates are the best of three, each tried for 1,220 steps, where nothing else is said.

`train` makes each with `compress distill`; on one large GPU, `gpu_students.py` trains all of them at once instead.
`score` asks the ten tasks of the mini suite and ABX of what students do on a device, in chunks of 320 ms where they
stream, of DistilHuBERT over whole recordings. Writes results/students.json, part by part; finished runs in WORK are
not made again, and neither are scores whose features lie in WORK/features. `students_table.py` makes the tables.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from common import Parts
from mini_suite import measured
from side_by_side import Job, Place, distil_all, finished
from students_table import markdown

from speechpress.compressor.abx.evaluate import Request, evaluate_abx
from speechpress.compressor.data.golden import golden_clip
from speechpress.compressor.distill.plan import plan
from speechpress.compressor.evaluate.features import random_copy
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.models.checkpoint import CARD, load_checkpoint, save_encoder, write_json
from speechpress.compressor.models.costs import macs_per_s, parameters
from speechpress.compressor.quantize.fake_quant import simulated
from speechpress.compressor.quantize.scheme import by_scheme
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.tasks.suites import open_suite
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.parity import compare

CHUNK_MS = 320.0
TRAIN = (
    "train.warmup=0.1",
    "train.batch=200",
    "train.batch_s=160",
    "train.precision=fp16",
    "train.checkpoint_every=1000000",
    "train.validate_every=1000000",
)
NO_DROPOUT = ("student.dropout=0", "student.attention_dropout=0", "student.activation_dropout=0")
# The best of 5e-4, 1e-3 and 2e-3 after 1,220 steps; of 1.5e-3 and 3e-3 for `pocket-conv-s`.
RATES = {"pocket-conv": "train.lr=2e-3", "pocket-conv-s": "train.lr=3e-3", "distilhubert": "train.lr=2e-3"}
# `pocket-conv` within a third of its teacher's parameters, and what `pocket-conv-s` has in its recipe.
STANDARDISED = ("match.standardise=true", "match.layers=[2,4,8,12]", "match.depth=12")
WIDE = (RATES["pocket-conv"], *NO_DROPOUT, *STANDARDISED, "match.lag_ms=80", "student.ffn_widths=960")
HALF = (
    "student.init=random",
    "student.width=384",
    "student.num_heads=6",
    "student.ffn_widths=1536",
    "student.conv_channels=[256,256,256,256,256,256,256]",
    *NO_DROPOUT,
    "train.front_end_grad=1.0",  # 0.1 is for one that its teacher has handed on
    RATES["distilhubert"],
)
SMALL = (RATES["pocket-conv-s"],)
CLUSTERS = ("match.clusters.layers=[8]", "match.clusters.count=200", "match.clusters.minutes=10")
Asked = tuple[str, tuple[str, ...], int]  # recipe, settings, seeds
STUDENTS: dict[str, Asked] = {
    "pocket-conv": ("pocket-conv", WIDE, 3),
    "distilhubert": ("distilhubert", HALF, 3),
    "distilhubert-standardised": ("distilhubert", (*HALF, *STANDARDISED), 1),
    "pocket-patch": ("pocket-patch", WIDE, 1),
    "pocket-conv-rms": ("pocket-conv", (*WIDE, "student.norm=rms"), 1),
    "pocket-conv-dyt": ("pocket-conv", (*WIDE, "student.norm=dyt"), 1),
    "pocket-conv-s": ("pocket-conv-s", SMALL, 3),
    "pocket-conv-s-plain": ("pocket-conv-s", (*SMALL, "match.standardise=false"), 1),
    "pocket-conv-s-no-lag": ("pocket-conv-s", (*SMALL, "match.lag_ms=0"), 1),
    "pocket-conv-s-masks": ("pocket-conv-s", (*SMALL, "hear.mask_prob=0.3"), 1),
    "pocket-conv-s-noise": ("pocket-conv-s", (*SMALL, "hear.noise_prob=0.5"), 1),
    "pocket-conv-s-clusters": (
        "pocket-conv-s",
        (*SMALL, "match.layers=[]", "match.standardise=false", "match.clusters.layers=[4]", *CLUSTERS[1:]),
        1,
    ),
    "pocket-conv-s-clusters-too": ("pocket-conv-s", (*SMALL, *CLUSTERS), 1),
    "pocket-conv-s-all-layers": ("pocket-conv-s", (*SMALL, "match.layers=[1,2,3,4,5,6]"), 1),
    "pocket-conv-s-whole-first": ("pocket-conv-s", SMALL, 1),
}
# Trained by `cpu_students.py`, for as many steps as it is told: in steps of 20 s `pocket`, `pocket-s` and DistilHuBERT,
# and `pocket-conv` with its levels taken off behind the first convolution and norms before each block; and
# `pocket-conv-s` for five hours of audio. Rates: DistilHuBERT's is the best of 2.5e-4, 5e-4, 1e-3 and 2e-3 after 250
# steps; nothing but 1.5e-3 was tried for `pocket`. Those of "five-" are for five hours of audio. The long runs
# seldom hear whole recordings, for they run in chunks.
FRAMES = ("student.conv_norm=frame", "student.pre_norm=true")
PLAIN = ("match.standardise=false", "match.standardise_power=null")
SQUARE_ROOT = "match.standardise_power=0.5"  # as `pocket-s` has it
BOTH_SCALES = ("match.standardise_power=1", "match.standardise_plain=1.0")
TARGETS = (*STANDARDISED, SQUARE_ROOT)
STEP = ("train.batch_s=20", "train.lr=1.5e-3")
SMALL_STEP = (*STEP, SQUARE_ROOT)
# `pocket-heads` in more and thinner layers.
DEEP = (
    "student.layers=8",
    "student.width=288",
    "student.num_heads=4",
    "student.ffn_widths=800",
    "student.conv_channels=[256,288]",
)
SMALL_STEPS: dict[str, Asked] = {
    "pocket": ("pocket-heads", SMALL_STEP, 3),
    "pocket-s": ("pocket-s", ("train.batch_s=20", "train.lr=2e-3"), 3),
    "distilhubert-20s": ("distilhubert", (*HALF, "train.batch_s=20", "train.lr=5e-4"), 3),
    "pocket-long": ("pocket-heads", (*SMALL_STEP, "streaming.full_context=0.1"), 1),
    "pocket-both-long": ("pocket-heads", (*SMALL_STEP, *BOTH_SCALES, "streaming.full_context=0.1"), 1),
    "pocket-s-long": ("pocket-s", ("train.batch_s=20", "train.lr=2e-3", "streaming.full_context=0.1"), 1),
    "five-pocket": ("pocket-heads", SMALL_STEP, 1),
    "five-pocket-even": ("pocket-heads", (*SMALL_STEP, "match.standardise_power=1"), 1),
    "five-pocket-plain": ("pocket-heads", (*SMALL_STEP, *PLAIN, "match.layers=[4,8,12]"), 1),
    "pocket-conv-frames": (
        "pocket-conv",
        (*WIDE, *FRAMES, *CLUSTERS, "match.clusters.weight=0.2", "train.batch_s=20", "train.lr=1.5e-3"),
        3,
    ),
}
SHORT = ("train.warmup=0.15", "train.batch_s=40", "train.lr=1e-3")
BOTH = (*SHORT, *FRAMES, "train.lr=2e-3")
FIVE_HOURS: dict[str, Asked] = {
    "five-static": ("pocket-conv-s", SHORT, 1),
    "five-frames": ("pocket-conv-s", (*SHORT, "student.conv_norm=frame"), 1),
    "five-pre": ("pocket-conv-s", (*SHORT, "student.pre_norm=true"), 1),
    "five-both": ("pocket-conv-s", BOTH, 1),
    "five-both-fast": ("pocket-conv-s", (*BOTH, "train.lr=4e-3"), 1),
    "five-both-160": ("pocket-conv-s", (*BOTH, "train.batch_s=160", "train.lr=4e-3"), 1),
    "five-both-20": ("pocket-conv-s", (*BOTH, "train.batch_s=20"), 1),
    "five-both-clusters": ("pocket-conv-s", (*BOTH, *CLUSTERS, "match.clusters.weight=0.3"), 1),
}
# Trained by `gpu_students.py --try-rates 0.5 1 2`, all at once in steps of 20 s for as long as there is a GPU.
SELDOM_WHOLE = "streaming.full_context=0.1"
S_STEP = ("train.batch_s=20", "train.lr=2e-3", SELDOM_WHOLE)
# `pocket-s` as `pocket` is now: each layer is passed twice, behind deeper convolutions, and every second one matched.
S_LAYERS = (
    "student.layers=8",
    "student.distinct_layers=4",
    "student.conv_channels=[128,128,128,192]",
    "student.conv_kernels=[3,3,3,3]",
    "student.conv_strides=[1,1,1,2]",
    "match.style=layers",
    "match.layers=[]",
    "match.pairs=[[2,2],[4,4],[6,8],[8,12]]",
    "match.depth=12",
    "match.standardise_power=1",
)
# Of `pocket-heads`, all but its layers; and four layers, each held against one of the teacher.
HEADS = ("match.style=heads", "match.pairs=[]", "match.projections=[]", "match.layers=[2,4,8,12]", "match.depth=12")
ONCE = (
    "student.layers=4",
    "student.distinct_layers=null",
    "student.ffn_widths=1024",
    "student.conv_channels=[256,384]",
    "student.conv_kernels=[3,3]",
    "student.conv_strides=[1,2]",
    "match.pairs=[[1,2],[2,4],[3,8],[4,12]]",
    "match.depth=12",
)
ALL_LAYERS = (
    "match.pairs=[[2,2],[3,4],[4,6],[6,8],[7,10],[8,12]]",
    "match.projections=[0,1,2,3,4,5]",
    "match.depth=12",
)
LONGEST: dict[str, Asked] = {
    "pocket-layers-longest": ("pocket", STEP, 3),
    "pocket-layers-root-longest": ("pocket", (*STEP, SQUARE_ROOT), 3),
    "pocket-layers-plain-longest": ("pocket", (*STEP, *PLAIN), 3),
    "pocket-layers-top-longest": ("pocket", (*STEP, "match.weights=[0.5,0.5,1.0,2.0]"), 1),
    "pocket-layers-late-longest": ("pocket", (*STEP, "match.lag_ms=160"), 1),
    "pocket-layers-all-longest": ("pocket", (*STEP, *ALL_LAYERS), 1),
    "pocket-twice-longest": ("pocket", (*STEP, *HEADS), 1),
    "pocket-once-layers-longest": ("pocket", (*STEP, *ONCE), 1),
    "pocket-s-layers-longest": ("pocket-s", (*S_STEP, *S_LAYERS), 3),
    "pocket-longest": ("pocket-heads", (*SMALL_STEP, SELDOM_WHOLE), 3),
    "pocket-more-even-longest": ("pocket-heads", (*SMALL_STEP, SELDOM_WHOLE, "match.standardise_power=0.75"), 3),
    "pocket-even-longest": ("pocket-heads", (*SMALL_STEP, SELDOM_WHOLE, "match.standardise_power=1"), 1),
    "pocket-deep-longest": ("pocket-heads", (*SMALL_STEP, SELDOM_WHOLE, *DEEP), 1),
    "pocket-s-longest": ("pocket-s", S_STEP, 3),
    "distilhubert-longest": ("distilhubert", (*HALF, "train.batch_s=20", "train.lr=5e-4"), 3),
    "distilhubert-targets-longest": ("distilhubert", (*HALF, *TARGETS, "train.batch_s=20", "train.lr=5e-4"), 1),
}
ALL_STUDENTS: dict[str, Asked] = {**STUDENTS, **SMALL_STEPS, **FIVE_HOURS, **LONGEST}
FIRST = "-first"  # of a student that hears whole recordings for half of the steps before it learns to stream


def jobs(steps: int, work: Path | None = None, *, students: dict[str, Asked] | None = None) -> list[Job]:
    """One for each seed of each student; with `work`, that which streams only later is two runs in that folder."""
    made = []
    for name, (recipe, settings, seeds) in (students or STUDENTS).items():
        for seed in range(seeds):
            words = (*TRAIN, *settings, f"train.seed={seed}")
            job = Job(f"{name}-{seed}", recipe, (*words, f"train.steps={steps}"), whole_first=name.endswith(FIRST))
            made += two_stages(job, steps, work) if job.whole_first and work is not None else [job]
    return made


def two_stages(job: Job, steps: int, work: Path) -> list[Job]:
    half, first = f"train.steps={steps // 2}", job.name + FIRST
    return [
        Job(first, job.recipe, (*job.settings, half, "streaming.full_context=1.0")),
        Job(job.name, job.recipe, (*job.settings, half, f"student.init={work / first}"), after=first),
    ]


def train(given: argparse.Namespace) -> None:
    place = Place((given.speech.resolve(),), given.teacher, given.work.resolve(), given.device)
    failed = distil_all(place, jobs(given.steps, given.work.resolve()), given.together)
    if failed:
        raise SystemExit(f"not trained: {', '.join(job.name for job in failed)}")


def trained(work: Path, only: Sequence[str]) -> dict[str, Path]:
    """Finished runs by name, those of `only` if it names any; a streaming one first, which gives the chunks."""
    known = jobs(1, students=ALL_STUDENTS)
    names = [job.name for job in known if finished(work / job.name) and (not only or job.name in only)]
    return {name: work / name for name in sorted(names, key=lambda name: chunk_of(work / name) is None)}


def random_weights(given: argparse.Namespace) -> dict[str, Path]:
    """Checkpoints of random weights in the shapes of students, scaled by measured speech, to be scored as floors."""
    found: dict[str, Path] = {}
    if not given.random:
        return found
    teacher = load_teacher(given.teacher)
    for name in given.random:
        recipe, settings, _ = ALL_STUDENTS[name]
        folder = given.work / f"random-{name}"
        job = plan(load_recipe(recipe, [*settings, f"teacher={given.teacher}"]), teacher)
        folder.mkdir(parents=True, exist_ok=True)
        save_encoder(folder, random_copy(job.student.config))
        write_json(folder / CARD, {"teacher": teacher.card.to_dict()})
        found[folder.name] = folder
    return found


def chunk_of(out: Path) -> float | None:
    """In what a student hears audio; None: whole recordings, of one that does not stream."""
    return None if load_checkpoint(out).encoder.config.blockers else CHUNK_MS


def facts(out: Path) -> dict[str, Any]:
    """What a student is, and what its card says of its training."""
    opened = load_checkpoint(out)
    config, card = opened.encoder.config, opened.card
    kept = {key: card.get(key) for key in ("steps", "audio_h", "train_s")}
    cosines = {layer: one["cosine"] for layer, one in card["valid"]["end"].items()}
    shape = {"parameters": parameters(config), "macs_per_s": macs_per_s(config), "streams": not config.blockers}
    rates = {"lr": card["recipe"]["train"]["lr"], "cosine_at_rates": card["tried"]} if "tried" in card else {}
    return {**shape, **kept, **rates, "valid_cosine": cosines}


def abx(given: argparse.Namespace, runs: dict[str, Path]) -> dict[str, Any]:
    """Errors of every layer, within and across speakers, in chunks of 320 ms where a student streams."""
    (first, source), *others = runs.items()
    request = Request(given.items, given.corpora / "speechocean762" / "audio", given.most, None)
    against = [str(path) for _, path in others]
    where = {"teacher": given.teacher, "chunk_ms": chunk_of(source)}
    found = evaluate_abx(source, request, against=against, listen=tell, **where)
    rows = {named(name, first): detail for name, detail in found["abx"].items()}
    items = {key: value for key, value in found["items"].items() if key != "path"}
    return {"items": items, "most_tokens": given.most, "errors": rows, "notes": found["notes"]}


def tasks(given: argparse.Namespace, runs: dict[str, Path]) -> dict[str, Any]:
    """The mini suite's tasks that are asked for, with intervals, and what each student keeps above the floor."""
    (first, source), *others = runs.items()
    chosen, notes = open_suite("mini", given.tasks.split(","), given.corpora)
    settings = {
        "against": [str(path) for _, path in others],
        "teacher": given.teacher,
        "cache": given.work / "features",
    }
    settings |= {"chunk_ms": chunk_of(source), "budget": Budget(seeds=given.head_seeds)}
    found = measured(source, chosen, **settings)
    rows = {}
    for name, task in found["tasks"].items():
        models = {named(key, first): value for key, value in task.items() if key in task["ci95"]}
        intervals = {named(key, first): value for key, value in task["ci95"].items()}
        rows[name] = {"metric": task["metric"], "chance": task["chance"], "scores": models, "ci95": intervals}
    return {"tasks": rows, "notes": [*notes, *found["notes"]]}


def five_hours(given: argparse.Namespace) -> None:
    """ABX and held-out cosine of the runs of FIVE_HOURS, as a part of their own."""
    names = [name for name in (f"{name}-0" for name in FIVE_HOURS) if finished(given.work / name)]
    if not names:
        raise SystemExit(f"{given.work}: holds no finished run of five hours")
    runs = {name: given.work / name for name in names}
    told = {name: facts(out) | settings_of(out) | {"int8_snr_db": int8_snr_db(out)} for name, out in runs.items()}
    measured = {"runs": told, **abx(given, runs)}
    Parts("students").put(five_hours=measured)


@torch.no_grad()
def int8_snr_db(out: Path) -> float:
    """How close the last layer is to float32 in chunks of 320 ms, when operators round as in int8."""
    encoder = load_checkpoint(out).encoder.eval()
    wave, frames = torch.from_numpy(golden_clip(3.0))[None], int(CHUNK_MS / 20)
    rounded, exact = (
        one.hidden_states(wave, chunk_frames=frames)[-1][0].numpy()
        for one in (simulated(encoder, by_scheme("int8")), encoder)
    )
    return float(compare(rounded, exact)["snr_db"])


def settings_of(out: Path) -> dict[str, Any]:
    recipe = load_checkpoint(out).card["recipe"]
    train, student, clusters = recipe["train"], recipe["student"], recipe["match"].get("clusters") or {}
    kept = {"batch_s": train["batch_s"], "lr": train["lr"], "conv_norm": student["conv_norm"]}
    return {**kept, "pre_norm": student["pre_norm"], "clusters_weight": clusters.get("weight", 0.0)}


def named(key: str, first: str) -> str:
    return first if key == "student" else key


def tell(line: str) -> None:
    print(line, flush=True)


def score(given: argparse.Namespace) -> None:
    runs = trained(given.work, given.only)
    if not runs:
        raise SystemExit(f"{given.work}: holds no finished run of {', '.join(given.only) or 'these'}")
    parts = Parts("students")
    setup = {"train": TRAIN, "students": STUDENTS, "chunk_ms": CHUNK_MS, "teacher": Path(given.teacher).name}
    if given.name == "suite":
        parts.put(setup={**setup, "trained_on": given.trained_on, "head_seeds": given.head_seeds})
    parts.put(students={**parts.get("students", {}), **{name: facts(out) for name, out in runs.items()}})
    later = "" if given.name == "suite" else f"{given.name}_"
    runs |= random_weights(given)
    if "abx" in given.parts:
        parts.put(**{f"{later}abx": abx(given, runs)})
    if "tasks" in given.parts:
        parts.put(**{f"{later}suite": tasks(given, runs)})
    if {"students", "abx", "suite"} <= set(parts):
        tell(markdown(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True)
    trainer = what.add_parser("train")
    for name in ("speech", "teacher", "work"):
        trainer.add_argument(name, type=str if name == "teacher" else Path)
    trainer.add_argument("--steps", type=int, default=1000)
    trainer.add_argument("--device", default="auto")
    trainer.add_argument("--together", type=int, default=1)
    trainer.set_defaults(do=train)
    scorer, shorter = what.add_parser("score"), what.add_parser("five-hours")
    for one in (scorer, shorter):
        for name in ("corpora", "items", "teacher", "work"):
            one.add_argument(name, type=str if name == "teacher" else Path)
        one.add_argument("--most", type=int, default=5, help="ABX: tokens per phone, context and speaker")
    shorter.set_defaults(do=five_hours)
    scorer.add_argument("--only", nargs="*", default=[])
    scorer.add_argument("--random", nargs="*", default=[], help="also random weights in the shape of these students")
    scorer.add_argument("--parts", nargs="*", default=["abx", "tasks"], help="abx and tasks; none: only what cards say")
    scorer.add_argument("--tasks", default="all")
    scorer.add_argument(
        "--name", default="suite", help="of the parts of the results, where they join others that were measured before"
    )
    scorer.add_argument("--trained-on", default="", help="the machine that `train` ran on, for the results file")
    scorer.add_argument("--head-seeds", type=int, default=1)
    scorer.set_defaults(do=score)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
