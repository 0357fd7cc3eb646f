"""A real run: the Whisper encoder -> 2-layer students, `distilhubert` beside the paper's two baselines, at equal steps.

    python benchmarks/real_run.py TEACHER CORPORA OUT [--steps 600]

TEACHER is the folder of a Whisper encoder (supervised, not self-supervised); CORPORA holds the unpacked folders
speechocean762 and arabic_speech_commands (audio/ and labels.tsv, whose splits keep test speakers out of training).
The students have a thin waveform front end and start from random weights, because Whisper has none to give. Everything
else is the recipes' own but for the number of steps, the learning rate that so few steps need, and crops of 4 s.

Writes fidelity over time and the probes (keywords: Arabic, unseen speakers; speakers: 50-way, speechocean762) of
teacher, students, a random copy and log-mel to results/real_run.json.
"""

import argparse
from pathlib import Path

from common import compress, write

from speechpress.compressor.distill.metrics import MetricsLog
from speechpress.compressor.distill.process import keep_freed_memory
from speechpress.compressor.evaluate.features import LOG_MEL, of_model, random_copy
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.suite import score_tasks
from speechpress.compressor.models.checkpoint import load_encoder, read_json
from speechpress.compressor.tasks.folder import make_task
from speechpress.compressor.teachers.load import load_teacher

RECIPES = ("distilhubert", "distill-last", "distill-hidden")
STUDENT = [
    "student.conv_channels=[128,128,128,256,256,256,256]",
    "student.conv_norm=layer",
    "student.projection_norm=true",
    "student.width=256",
    "student.num_heads=4",
    "student.ffn_widths=1024",
    "student.pos_conv_kernel=64",
    "student.init=random",
]
MAX_CLIPS = 1000  # per split
TRAIN = ["train.lr=1e-3", "train.crop_s=4", "train.precision=bf16", "train.batch=24"]


def train(recipe: str, teacher: Path, corpora: Path, out: Path, steps: int) -> None:
    settings = [*STUDENT, *TRAIN, f"train.steps={steps}", f"train.validate_every={max(1, steps // 6)}"]
    sets = [word for setting in settings for word in ("--set", setting)]
    data = [word for name in ("speechocean762", "arabic_speech_commands") for word in ("--data", corpora / name)]
    compress("distill", "--recipe", recipe, "--teacher", teacher, *data, "--out", out, *sets)


def probes(teacher: Path, corpora: Path, out: Path) -> dict:
    """The same probe on every upstream: {task: {upstream: {test, ci95, ...}}}; each clip is read once."""
    students = {recipe: load_encoder(out / recipe) for recipe in RECIPES}
    upstreams = {"teacher": of_model(load_teacher(str(teacher))), "logmel": LOG_MEL}
    upstreams |= {name: of_model(encoder) for name, encoder in students.items()}
    upstreams["random"] = of_model(random_copy(students[RECIPES[0]].config))
    results = {}
    for name, corpus in (("ks", "arabic_speech_commands"), ("sid", "speechocean762")):
        task = make_task(name, corpora / corpus, max_classes=50, max_clips=MAX_CLIPS)
        scores = score_tasks(upstreams, [task], Budget(seeds=3)).scores[name]
        results[name] = {key: {"test": score.test, "ci95": score.ci95} for key, score in scores.items()}
        results[name] |= {"clips": task.counts(), "classes": len(task.classes), "chance": task.chance}
        shown = ", ".join(f"{key} {score.test:.3f}" for key, score in scores.items())
        print(f"{name}: {shown}", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("teacher", "corpora", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    keep_freed_memory()
    runs = {}
    for recipe in RECIPES:
        out = given.out / recipe
        if not (out / "card.json").exists():
            train(recipe, given.teacher, given.corpora, out, given.steps)
        card = read_json(out / "card.json")
        curve = [event for event in MetricsLog(out / "metrics.jsonl").read() if event["event"] == "valid"]
        runs[recipe] = {key: card[key] for key in ("parameters", "macs_per_s", "steps", "audio_h", "train_s")}
        runs[recipe]["fidelity"] = [{"step": event["step"], **event["layers"]} for event in curve]
    write("real_run", {"runs": runs, "probes": probes(given.teacher, given.corpora, given.out)})


if __name__ == "__main__":
    main()
