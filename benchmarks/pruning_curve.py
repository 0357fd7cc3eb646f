"""How small a student can be pruned: sparsity against fidelity, probes and measured time of a chunk, two methods.

    python benchmarks/pruning_curve.py CORPORA OUT [--student FOLDER] [--steps 240] [--recover 120] [--only make]

CORPORA as in real_run.py. A streaming student of two layers is distilled from hubert-mini, unless one is given. From
it, at 25, 50, 75 and 90 % of the parameters,

    taylor   `compress prune --method taylor`, then `--recover` steps of distillation
    l0       gates that are learned over 3/5 of as many steps, then 2/5 of them of final distillation

and the student itself goes on for as many steps, so that every point has had the same training. Of so narrow a student
units alone take out no more than 83 % (its position convolution is 10 %, one head per layer 5 %), so at 90 % it is half
as wide as well, by `--width`, before either method goes on. Fidelity is the mean
cosine of the heads on test clips; probes are real_run.py's (keywords: Arabic, unseen speakers; speakers: 50-way); time
is that of a chunk of 320 ms of the exported program, float32, one thread, all programs in turn. Checkpoints that lie in
OUT are not made again. Writes results/pruning_curve.json and a plot beside it.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from common import alternate, compress, write
from streaming_quality import fidelity, test_clips

from speechpress.compressor.distill.objectives import load_heads
from speechpress.compressor.distill.process import keep_freed_memory
from speechpress.compressor.evaluate.features import LOG_MEL, of_model, random_copy
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.suite import score_tasks
from speechpress.compressor.export.lower import Method, lower
from speechpress.compressor.export.prepare_step import prepared_step
from speechpress.compressor.models import costs
from speechpress.compressor.models.checkpoint import load_encoder, read_json
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.tasks.folder import make_task
from speechpress.compressor.tasks.task import Task
from speechpress.compressor.teachers.load import Teacher, load_teacher
from speechpress.compressor.views.figures import SERIES, drawn, legend_below, width
from speechpress.runtime.atomic import write_text
from speechpress.runtime.engine import Program, set_threads

SPARSITIES = (0.25, 0.5, 0.75, 0.9)
NARROW, NARROW_FROM = 128, 0.9  # the width, and the sparsity from which on it is needed
CHUNK_FRAMES = 16
TRAIN = ["train.precision=fp32", "train.front_end_grad=1", "train.lr=5e-4", "train.checkpoint_every=60"]
FURTHER = ["train.crop_s=2", "train.batch=8"]
DENSE = "dense"


def data_of(corpora: Path) -> list[object]:
    return [word for name in ("speechocean762", "arabic_speech_commands") for word in ("--data", corpora / name)]


def with_sets(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def distilled(corpora: Path, out: Path, settings: Sequence[str]) -> None:
    """A run of the streaming recipe, unless it is there."""
    if not (out / "card.json").exists():
        words = [
            "distill",
            "--recipe",
            "distilhubert-streaming",
            "--teacher",
            "hubert-mini",
            "--out",
            out,
            "--overwrite",
        ]
        compress(*words, *data_of(corpora), *with_sets([*TRAIN, *settings]))


def start(corpora: Path, out: Path, student: Path | None, steps: int) -> Path:
    """The dense student from which all others come."""
    folder = student or out / "start"
    if student is None:
        distilled(corpora, folder, ["train.crop_s=4", "train.batch=16", f"train.steps={steps}"])
    return folder


def continued(corpora: Path, out: Path, first: Path, recover: int) -> None:
    """The dense student trained on."""
    distilled(corpora, out, [f"student.init={first}", *FURTHER, *lasting(recover)])


def narrowed(corpora: Path, out: Path, first: Path) -> Path:
    """The dense student at half of its width, with all of its units."""
    if not (out / "card.json").exists():
        order = ["--width", NARROW, "--sparsity", 0.2, "--recover", 0, *with_sets([*TRAIN, *FURTHER])]
        compress("prune", first, *order, "--out", out, "--overwrite", *data_of(corpora))
    return out


def gated(corpora: Path, out: Path, first: Path, sparsity: float, recover: int) -> None:
    """Gates on the student, or on its narrower self, so that as much of the whole is gone in the end."""
    begin, shape, share = first, list[str](), sparsity
    if sparsity >= NARROW_FROM:
        begin = narrowed(corpora, out.with_name("narrow"), first)
        whole, config = (load_encoder(folder).config for folder in (first, begin))
        share = 1 - (1 - sparsity) * costs.parameters(whole) / costs.parameters(config)
        sizes = {"width": config.width, "head_dim": config.head_dim, "num_heads": list(config.num_heads)}
        shape = [f"student.{name}={value}" for name, value in (sizes | {"ffn_widths": list(config.ffn_widths)}).items()]
    gates = [f"prune.sparsity={share:.4f}", *gates_lasting(recover)]
    distilled(corpora, out, [f"student.init={begin}", *shape, *FURTHER, *gates])


def gates_lasting(steps: int) -> list[str]:
    """Gates for 3/5 of so many steps, which have to move faster than the published ones, and 2/5 without."""
    joint = steps * 3 // 5
    gates = [f"prune.ramp={joint // 3}", f"prune.lr={36 / joint:.3f}"]
    return [*lasting(joint), *gates, f"prune.final.steps={steps - joint}", "prune.final.lr=5e-4"]


def lasting(steps: int) -> list[str]:
    return [f"train.steps={steps}", f"train.validate_every={steps}"]


def make_all(corpora: Path, out: Path, first: Path, recover: int) -> dict[str, Path]:
    """{name: folder} of the student that went on, and of every pruned one."""
    continued(corpora, out / DENSE, first, recover)
    folders = {DENSE: out / DENSE}
    for sparsity in SPARSITIES:
        name = f"{round(100 * sparsity)}"
        folders[f"taylor {name}"], folders[f"l0 {name}"] = out / f"taylor-{name}", out / f"l0-{name}"
        if not (out / f"taylor-{name}" / "card.json").exists():
            order = ["--sparsity", sparsity, "--method", "taylor", "--recover", recover, *with_sets([*TRAIN, *FURTHER])]
            order += ["--width", NARROW] if sparsity >= NARROW_FROM else []
            compress("prune", first, *order, "--out", out / f"taylor-{name}", "--overwrite", *data_of(corpora))
        gated(corpora, out / f"l0-{name}", first, sparsity, recover)
    return folders


def program_of(encoder: Encoder, path: Path) -> Path:
    """The exported step of a chunk."""
    if not path.exists():
        step = prepared_step(encoder, CHUNK_FRAMES)
        example = torch.randn(1, step.spec.chunk_samples) * 0.1, *step.initial_state().values()
        path.write_bytes(lower({"step": Method(step, example)}, {}, "xnnpack", "none").program)
    return path


def timed(encoders: Mapping[str, Encoder], out: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds of a chunk of every program, in turn, on one thread."""
    set_threads(1)
    sides = {}
    for name, encoder in encoders.items():
        program = Program(program_of(encoder, out / f"{name.replace(' ', '-')}.pte"), threads=1)
        step = prepared_step(encoder, CHUNK_FRAMES)
        given = [torch.randn(1, step.spec.chunk_samples).numpy() * 0.1]
        given += [tensor.numpy() for tensor in step.initial_state().values()]
        sides[name] = lambda program=program, given=given: program.run("step", *given)
    return alternate(sides, rounds, warmup=5)


def faithful(folders: Mapping[str, Path], teacher: Teacher, waves: Sequence[torch.Tensor]) -> dict[str, float]:
    """Mean cosine of the heads on test clips."""
    found = {}
    for name, folder in folders.items():
        encoder = load_encoder(folder)
        heads = load_heads(folder, encoder.config.width, teacher.card.width)
        assert heads is not None
        found[name] = fidelity(of_model(encoder).states, heads, teacher, waves)
        print(f"{name}: fidelity {found[name]:.4f}", flush=True)
    return found


def probed(encoders: Mapping[str, Encoder], teacher: Teacher, tasks: Sequence[Task], seeds: int) -> dict[str, Any]:
    """{task: {upstream: {test, ci95}}}."""
    upstreams = {name: of_model(encoder) for name, encoder in encoders.items()}
    upstreams |= {"teacher": of_model(teacher), "logmel": LOG_MEL}
    upstreams["random"] = of_model(random_copy(encoders[DENSE].config))
    results: dict[str, Any] = {}
    found = score_tasks(upstreams, tasks, Budget(seeds=seeds))
    for task in found.tasks:
        results[task.name] = {"clips": task.counts(), "classes": len(task.classes), "chance": task.chance}
        for name in upstreams:
            score = found.scores[task.name][name]
            results[task.name][name] = {"test": score.test, "ci95": score.ci95}
            print(f"{task.name} {name}: {score.test:.3f}", flush=True)
    return results


def plot(points: Mapping[str, Any], out: Path) -> None:
    """Fidelity, probes and time over the share of parameters that was removed."""
    write_text(out, drawn(lambda: draw(points), out.stem)[0])


def draw(points: Mapping[str, Any]) -> Any:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(width(), 6))
    whole = points[DENSE]["parameters"]
    shown = (
        ("fidelity", "fidelity", "cosine to the teacher"),
        ("ks", "keywords", "accuracy"),
        ("sid", "speakers", "accuracy"),
        ("ms", "latency", "time per 320 ms chunk (ms)"),
    )
    for panel, (key, title, unit) in zip(panels.flat, shown, strict=True):
        for method, colour, mark in (("taylor", SERIES[0], "o-"), ("l0", SERIES[1], "s--")):
            names = [DENSE, *(name for name in points if name.startswith(method))]
            gone = [100 * (1 - points[name]["parameters"] / whole) for name in names]
            panel.plot(gone, [points[name][key] for name in names], mark, color=colour, label=method, ms=4)
        panel.set(title=title, xlabel="parameters removed (%)", ylabel=unit)
    legend_below(figure, panels.flat[0])
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("corpora", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--student", type=Path, help="a finished streaming student of hubert-mini")
    for option, value in (("steps", 240), ("recover", 120), ("clips", 200), ("seeds", 3), ("rounds", 60)):
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--only", choices=("make",), help="checkpoints alone")
    given = parser.parse_args()
    keep_freed_memory()
    first = start(given.corpora, given.out, given.student, given.steps)
    folders = make_all(given.corpora, given.out, first, given.recover)
    if given.only == "make":
        return
    encoders = {name: load_encoder(folder) for name, folder in folders.items()}
    teacher = load_teacher("hubert-mini")
    corpus = {"ks": "arabic_speech_commands", "sid": "speechocean762"}
    tasks = [make_task(name, given.corpora / folder, 50, given.clips) for name, folder in corpus.items()]
    times = timed(encoders, given.out, given.rounds)
    cosines = faithful(folders, teacher, test_clips(tasks))
    scores = probed(encoders, teacher, tasks, given.seeds)
    points = {
        name: {
            "parameters": costs.parameters(encoder.config),
            "macs_per_s": costs.macs_per_s(encoder.config),
            "ms": times[name]["median_ms"],
            "fidelity": cosines[name],
            **{task: scores[task][name]["test"] for task in scores},
            "units": (read_json(folders[name] / "card.json").get("prune") or {}).get("units"),
        }
        for name, encoder in encoders.items()
    }
    steps = read_json(first / "card.json")["steps"]
    document = {"steps": steps, "recover": given.recover, "seeds": given.seeds, "threads": 1, "points": points}
    write("pruning_curve", document | {"times": times, "probes": scores})
    plot(points, Path(__file__).parent / "results" / "pruning_curve.svg")
    for name, point in points.items():
        numbers = ", ".join(f"{key} {point[key]:.3f}" for key in ("fidelity", "ks", "sid", "ms"))
        print(f"{name}: {point['parameters'] / 1e6:.2f} M, {point['macs_per_s'] / 1e9:.3f} GMAC/s, {numbers}")


if __name__ == "__main__":
    main()
