"""The peers' recipes beside each other: the same teacher, speech and number of steps, then fidelity and the mini suite.

    python benchmarks/peers.py CORPORA OUT [--teacher hubert-mini] [--steps 320] [--seeds 3] [--cache FOLDER]
        [--tasks ks,sid,...] [--students distilhubert,armhubert,...]

CORPORA holds the corpora of the mini suite, unpacked; students hear speechocean762 and arabic_speech_commands, whose
splits keep test speakers out of training. The teacher is hubert-mini (6 layers x 256), so the students are SCALED:
each keeps the shape of its recipe relative to HuBERT base (widths a third, channels half, 6 layers in place of 12), its
objective and masking, and starts as its recipe says. Steps, batch, crops and learning rate are the same for all: in so
few steps a recipe's own schedule is not reached. hubert-mini was never trained with masks, a disadvantage to masking
distillation. `dphubert` has a full copy of the teacher, prunes it to a quarter over 3/5 of the steps, and distils what
is left for the rest of them; `dpwavlm` is the same recipe with another teacher, so it is not trained a second time.

Writes per recipe the held-out figures, linear fidelity, the tasks of the mini suite and, beside them, what its authors
publish on SUPERB at full size after full training, to results/peers.json. Finished runs in OUT are not made again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from common import compress, write
from mini_suite import measured
from pruning_curve import gates_lasting

from speechpress.compressor.data.sounds import read_sound
from speechpress.compressor.distill.folders import JOINT
from speechpress.compressor.distill.process import keep_freed_memory
from speechpress.compressor.evaluate.fidelity import fidelity
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.models.checkpoint import load_checkpoint, read_json
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.tasks.folder import make_task
from speechpress.compressor.tasks.suites import open_suite
from speechpress.compressor.teachers.load import Teacher, load_teacher
from speechpress.runtime.json_file import json_text

CORPORA = {"ks": "arabic_speech_commands", "sid": "speechocean762"}
LAYERS = 6
ALL = str([[layer, layer] for layer in range(1, LAYERS + 1)])
HINTS = str([0.1] * (LAYERS - 1) + [1.0])
MAX_CLIPS = 200  # per split
FIDELITY_CLIPS = 40
TRAIN = [
    "train.lr=1e-3",
    "train.warmup=0.1",
    "train.clip=5",
    "train.crop_s=4",
    "train.precision=bf16",
    "train.batch=12",
]


def front_end(last: int) -> str:
    return f"student.conv_channels={[64] + [128] * 5 + [last] * 3}"


def shape(width: int, ffn: int, last: int = 0) -> list[str]:
    """A student of LAYERS layers that are all matched; with `last`, the peers' thin front end of nine layers."""
    sizes = [
        f"student.width={width}",
        f"student.head_dim={width // 4}",
        "student.num_heads=4",
        f"student.ffn_widths={ffn}",
    ]
    thin = [front_end(last)] if last else []
    return [f"student.layers={LAYERS}", "student.num_heads=4", *sizes, *thin, f"match.pairs={ALL}"]


REUSE = "student.reuse_attention=[false,true,false,true,false,true]"
STUDENTS: dict[str, list[str]] = {
    "distilhubert": [],
    "fithubert": [*shape(160, 160, 256), f"match.weights={HINTS}"],
    "armhubert": [*shape(160, 288, 160), REUSE, f"match.weights={HINTS}"],
    "armhubert-s": [*shape(144, 272, 144), REUSE, f"match.weights={HINTS}"],
    "maskhubert": [*shape(160, 216, 160), f"match.weights={HINTS}"],
    "starhubert": [*shape(144, 328, 144)[:-1], f"match.pairs={[[layer, layer] for layer in range(LAYERS + 1)]}"],
    "distil-alhubert": [f"student.layers={LAYERS}", "match.pairs=[[2,2],[4,4],[6,6]]"],
    "deep-vs-wide": shape(128, 512),
    "dphubert": [f"student.layers={LAYERS}", "match.pairs=[[0,0],[2,2],[4,4],[6,6]]"],
}
# SUPERB's phoneme and word error rates, keyword, speaker and intent accuracies, in %, of students of full size.
PUBLISHED: dict[str, dict[str, float]] = {
    "distilhubert": {"parameters_m": 23.49, "per": 16.27, "wer": 13.37, "ks": 95.98, "sid": 73.54, "ic": 94.99},
    "fithubert": {"parameters_m": 22.49, "per": 13.32, "wer": 12.09, "ks": 96.27, "sid": 55.71, "ic": 91.25},
    "armhubert": {"parameters_m": 26.45, "per": 7.72, "wer": 9.96, "ks": 96.88, "sid": 65.03, "ic": 97.07},
    "armhubert-s": {"parameters_m": 22.39, "per": 8.63, "wer": 10.82, "ks": 96.82, "sid": 63.76, "ic": 97.02},
    "maskhubert": {"parameters_m": 26.64, "per": 7.30, "wer": 9.77, "ks": 96.36, "sid": 62.83, "ic": 97.05},
    "starhubert": {"parameters_m": 22.31, "per": 8.16, "wer": 9.35, "ks": 96.27, "sid": 77.58, "ic": 97.55},
    "deep-vs-wide": {"parameters_m": 26.87, "per": 10.67, "wer": 10.96, "ks": 97.24, "sid": 69.52, "ic": 96.97},
    "dphubert": {"parameters_m": 23.59, "per": 9.67, "wer": 10.47, "ks": 96.36, "sid": 76.83, "ic": 97.92},
    "dpwavlm": {"parameters_m": 23.59, "per": 8.22, "wer": 10.19, "ks": 96.27, "sid": 82.11, "ic": 98.58},
    "teacher (HuBERT base)": {"parameters_m": 94.68, "per": 5.41, "wer": 6.42, "ks": 96.30, "sid": 81.42, "ic": 98.34},
}


def lasting(recipe: str, steps: int) -> list[str]:
    """So many steps in all."""
    if recipe == "dphubert":
        return [*gates_lasting(steps), "prune.final.warmup=0.1"]
    return [f"train.steps={steps}", f"train.validate_every={max(1, steps // 2)}"]


def finished(out: Path, steps: int) -> bool:
    """Whether a student with so many steps, those before it was pruned included, lies there."""
    stages = (out, out.with_name(out.name + JOINT))
    cards = [read_json(stage / "card.json") for stage in stages if (stage / "card.json").exists()]
    return bool(cards) and cards[0].get("finished", False) and sum(card["steps"] for card in cards) == steps


def train(recipe: str, teacher: str, corpora: Path, out: Path, steps: int) -> None:
    settings = [*STUDENTS[recipe], *TRAIN, *lasting(recipe, steps)]
    sets = [word for setting in settings for word in ("--set", setting)]
    data = [word for name in CORPORA.values() for word in ("--data", corpora / name)]
    compress("distill", "--recipe", recipe, "--teacher", teacher, *data, "--out", out, "--overwrite", *sets)


def suite(given: argparse.Namespace) -> dict[str, Any]:
    """The mini suite on all students at once: {task: {metric, chance, retention, upstream: score, ...}}."""
    tasks, _ = open_suite("mini", given.tasks.split(","), given.corpora)
    first, *others = given.students
    against = [str(given.out / name) for name in others]
    settings = {"against": against, "teacher": given.teacher, "cache": given.cache}
    found = measured(given.out / first, tasks, budget=Budget(seeds=given.seeds), **settings)
    kept = ("metric", "better", "chance", "clips", "retention", "ci95", "also")
    rows = {}
    for name, task in found["tasks"].items():
        scores = {who: task[who] for who in ("teacher", "logmel", "random", *others)} | {first: task["student"]}
        for part in ("retention", "ci95", "also"):
            task[part][first] = task[part].pop("student", None)
        rows[name] = {key: task[key] for key in kept} | {"scores": scores}
    return rows


def table(runs: dict[str, Any], tasks: dict[str, Any]) -> str:
    """Markdown: a line per student, then its floors and its teacher."""
    heads = [f"{name}, {task['metric']}" for name, task in tasks.items()]
    lines = ["| " + " | ".join(["", "M", "GMAC/s", *heads, "kept"]) + " |"]
    lines.append("|---" * (len(tasks) + 4) + "|")
    for who in (*runs, "random", "logmel", "teacher"):
        run = runs.get(who)
        size = [f"{run['parameters'] / 1e6:.2f}", f"{run['macs_per_s'] / 1e9:.2f}"] if run else ["", ""]
        kept = sum(task["retention"][who] for task in tasks.values()) / len(tasks)
        scores = [f"{task['scores'][who]:.3f}" for task in tasks.values()]
        lines.append("| " + " | ".join([who, *size, *scores, f"{100 * kept:.0f} %"]) + " |")
    return "\n".join(lines)


def test_waves(corpora: Path) -> list[torch.Tensor]:
    """Clips of speakers, (1, S) each, up to 4 s."""
    task = make_task("sid", corpora / CORPORA["sid"], max_classes=50, max_clips=MAX_CLIPS)
    test = task.part("test")[:FIDELITY_CLIPS]
    return [torch.from_numpy(read_sound(item.sound))[None, :64_000] for item in test]


def linear_fidelity(student: Encoder, teacher: Teacher, waves: Sequence[torch.Tensor]) -> dict[str, dict[str, float]]:
    """Per teacher layer, how well it is predicted linearly from the student's last: comparable over all objectives."""
    found = fidelity(student, teacher, None, waves)
    return {layer: {**values["linear"], "cka": values["cka"]} for layer, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("corpora", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--teacher", default="hubert-mini")
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", default="all")
    parser.add_argument("--students", type=lambda text: text.split(","), default=list(STUDENTS))
    parser.add_argument("--cache", type=Path, help="where features and outcomes are kept, as in mini_suite.py")
    given = parser.parse_args()
    keep_freed_memory()
    runs: dict[str, Any] = {}
    teacher, waves = load_teacher(given.teacher), test_waves(given.corpora)
    for recipe in given.students:
        out = given.out / recipe
        if not finished(out, given.steps):
            train(recipe, given.teacher, given.corpora, out, given.steps)
        opened = load_checkpoint(out)
        keys = ("parameters", "macs_per_s", "steps", "audio_h", "train_s", "valid", "notes")
        runs[recipe] = {key: opened.card.get(key) for key in keys} | {"published": PUBLISHED.get(recipe)}
        runs[recipe]["fidelity"] = linear_fidelity(opened.encoder, teacher, waves)
        print(recipe, json_text(runs[recipe]["fidelity"][str(LAYERS)]), flush=True)
    setup = {"teacher": given.teacher, "threads": torch.get_num_threads(), "scaled": True, "settings": TRAIN}
    setup["seeds"] = given.seeds
    write("peers", {"setup": setup, "runs": runs, "published": PUBLISHED})
    tasks = suite(given)
    write("peers", {"setup": setup, "runs": runs, "suite": tasks, "published": PUBLISHED})
    print(table(runs, tasks))


if __name__ == "__main__":
    main()
