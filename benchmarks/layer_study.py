"""Which layers to distil, for two teachers, and whether the suggestion holds: `compress study layers --train-heads`.

    python benchmarks/layer_study.py TEACHER CORPORA OUT [--steps 60]

TEACHER is the folder of a Whisper encoder (supervised, not self-supervised); the other teacher is hubert-mini, which
comes with the package and was itself distilled from that encoder. CORPORA holds the unpacked folders speechocean762 and
arabic_speech_commands. Tasks: 40 Arabic commands by unseen speakers, 50 speakers.
Whisper's students have a thin front end and two layers x 256 with random weights, because it has none to give;
hubert-mini's start from its own first two layers. They hear speechocean762 and Arabic commands, without what is marked
as test.

OUT gets a page for each teacher, and keeps the students: called again, it goes on. Writes results/layer_study.json.
"""

import argparse
from pathlib import Path
from typing import Any

from common import write
from real_run import STUDENT

from speechpress.compressor.study.probes import open_tasks
from speechpress.compressor.study.report import write_study
from speechpress.compressor.study.students import Training
from speechpress.compressor.study.study import study_layers

TASKS = ("ks", "sid")
SPEECH = ("speechocean762", "arabic_speech_commands")
TRAIN = ("train.lr=1e-3", "train.crop_s=3", "train.precision=bf16", "train.batch=8")
SEEDS = 3


def study(source: str, sets: tuple[str, ...], given: argparse.Namespace) -> dict[str, Any]:
    out = given.out / Path(source).name
    speech = tuple(given.corpora / name for name in SPEECH)
    training = Training(speech, out, given.steps, sets=(*sets, *TRAIN), device="cpu")
    document = study_layers(
        source,
        open_tasks(TASKS, given.corpora),
        training=training,
        seeds=SEEDS,
        cache=given.out / "features",
        listen=lambda line: print(line, flush=True),
    )
    write_study(document, out)
    return document


def kept(document: dict[str, Any]) -> dict[str, Any]:
    """The figures without the paths of this machine."""
    students = {
        name: {key: student[key] for key in ("layers", "steps", "parameters", "tasks", "r2", "fidelity")}
        for name, student in document["students"].items()
    }
    teacher = {key: document["teacher"][key] for key in ("family", "depth", "width", "parameters", "supervised")}
    comparison = {**document["comparison"], "data": list(SPEECH)}
    names = ("hours", "seeds", "tasks", "cka", "suggestion", "notes", "seconds")
    return {
        "teacher": teacher,
        **{name: document[name] for name in names},
        "students": students,
        "comparison": comparison,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("teacher", "corpora", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    sources = {"whisper-base-encoder": (str(given.teacher), tuple(STUDENT)), "hubert-mini": ("hubert-mini", ())}
    results: dict[str, Any] = {}
    for name, which in sources.items():
        results[name] = kept(study(*which, given))
        write("layer_study", results)


if __name__ == "__main__":
    main()
