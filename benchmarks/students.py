"""The students of one teacher beside each other: `pocket`, `pocket-s`, their variants, and DistilHuBERT of more MACs.

    python benchmarks/students_speech.py choose CORPORA CHOSEN
    python benchmarks/students_speech.py speeds CHOSEN SPEECH
    python benchmarks/students.py train SPEECH TEACHER WORK [--steps 1000] [--device cuda] [--together 17]
    python benchmarks/students.py score CORPORA ITEMS TEACHER WORK [--only pocket-0 distilhubert-0 ...]

TEACHER is the folder of Whisper's base encoder (supervised, 20.6 M parameters). Every student begins with random
weights, for the teacher has no front end to hand on, and hears the same amount of the same speech, see
`students_speech.py`; the seed of a run draws weights, crops and order. DistilHuBERT is the recipe at half of its
published channels and width, which is 1.6 times `pocket`'s MACs, at the best of three learning rates (5e-4, 1e-3, 2e-3,
each tried for 400 steps), and once more with `pocket`'s objective.

`score` asks the ten tasks of the mini suite and ABX of what students do on a device, in chunks of 320 ms where they
stream, of DistilHuBERT over whole recordings. Writes results/students.json, part by part; finished runs in WORK are
not made again, and neither are scores whose features lie in WORK/features.
"""

import argparse
from pathlib import Path

from side_by_side import Job, Place, distil_all

TRAIN = (
    "train.warmup=0.1",
    "train.batch=160",
    "train.batch_s=320",
    "train.precision=fp16",
    "train.checkpoint_every=1000000",
    "train.validate_every=1000000",
)
OURS = ("train.lr=1.5e-3",)
HALF = (
    "student.init=random",
    "student.width=384",
    "student.num_heads=6",
    "student.ffn_widths=1536",
    "student.conv_channels=[256,256,256,256,256,256,256]",
    "student.dropout=0",
    "student.attention_dropout=0",
    "student.activation_dropout=0",
    "train.front_end_grad=1.0",  # 0.1 is for one that its teacher has handed on
    "train.lr=2e-3",
)
AS_POCKET = ("match.standardise=true", "match.layers=[2,4,8,12]", "match.depth=12")
PLAIN = ("match.standardise=false", "match.lag_ms=0")
CLUSTERS = ("match.clusters.layers=[8]", "match.clusters.count=200", "match.clusters.minutes=10")
STUDENTS: dict[str, tuple[str, tuple[str, ...], int]] = {  # recipe, settings, seeds
    "pocket": ("pocket", OURS, 3),
    "distilhubert": ("distilhubert", HALF, 3),
    "distilhubert-standardised": ("distilhubert", (*HALF, *AS_POCKET), 1),
    "pocket-patch": ("pocket-patch", OURS, 1),
    "pocket-rms": ("pocket", (*OURS, "student.norm=rms"), 1),
    "pocket-dyt": ("pocket", (*OURS, "student.norm=dyt"), 1),
    "pocket-s": ("pocket-s", OURS, 3),
    "pocket-s-plain": ("pocket-s", (*OURS, *PLAIN), 1),
    "pocket-s-no-lag": ("pocket-s", (*OURS, "match.lag_ms=0"), 1),
    "pocket-s-masks": ("pocket-s", (*OURS, "hear.mask_prob=0.15"), 1),
    "pocket-s-clusters": ("pocket-s", (*OURS, *CLUSTERS), 1),
}


def jobs(steps: int) -> list[Job]:
    return [
        Job(f"{name}-{seed}", recipe, (*TRAIN, *settings, f"train.steps={steps}", f"train.seed={seed}"))
        for name, (recipe, settings, seeds) in STUDENTS.items()
        for seed in range(seeds)
    ]


def train(given: argparse.Namespace) -> None:
    place = Place((given.speech.resolve(),), given.teacher, given.work.resolve(), given.device)
    failed = distil_all(place, jobs(given.steps), given.together)
    if failed:
        raise SystemExit(f"not trained: {', '.join(job.name for job in failed)}")


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
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
