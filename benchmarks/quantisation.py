"""Schemes of quantisation beside each other: fidelity and probes on real weights, sizes and latency at full size.

    python benchmarks/quantisation.py --accuracy CORPORA OUT [--teacher hubert-mini] [--steps 240] [--more 60]
    python benchmarks/quantisation.py --reports OUT        # compress quantize --report, of the teacher and the student
    python benchmarks/quantisation.py --prepare FOLDER     # lowers full-size models with random weights: 20 minutes
    python benchmarks/quantisation.py --latency FOLDER     # times them in turn, one thread: needs a quiet machine

--accuracy: CORPORA holds the unpacked folders speechocean762 and arabic_speech_commands (audio/ and labels.tsv, whose
splits keep test speakers out of training). A streaming DistilHuBERT of TEACHER is distilled for --steps, and goes on
from there for --more steps in float32 and, rounding, in int8-static and int4: quantisation after training against
training with quantisation, at equal steps. Fidelity is the cosine of the heads to the teacher on held-out clips, probes
are linear (keywords: Arabic, unseen speakers; speakers: 50-way), all in chunks of 320 ms and on a simulation that
rounds as the program does (the reports compare the programs themselves).

--latency: programs of one method with random weights; what other processes used of the machine stands beside them.
Results go to results/quantisation.json, part by part.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Parts, alternate, compress
from export_speed import config_of

from speechpress.compressor.evaluate.features import of_model
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.lineup import Comparison, comparison_fidelity
from speechpress.compressor.evaluate.suite import score_tasks
from speechpress.compressor.evaluate.upstreams import encoder_upstream
from speechpress.compressor.models.checkpoint import Checkpoint, load_checkpoint
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.quantize.calibrate import calibrate, static_operators
from speechpress.compressor.quantize.fake_quant import kinds, simulated
from speechpress.compressor.quantize.ptq import Prepared, prepare, settle
from speechpress.compressor.quantize.scheme import Quantization, load_quantization
from speechpress.compressor.quantize.sensitivity import Yardstick
from speechpress.compressor.starter import SPEECH, TEACHER
from speechpress.compressor.study.schemes import SchemeReportOptions, lowered_alone, report
from speechpress.compressor.tasks.folder import make_task
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.engine import Program, set_threads
from speechpress.runtime.json_file import json_text

SCHEMES = ("none", "int8", "int8-linear", "int8-static", "int4", "fp16")
TRAINED = ("int8-static", "int4")
MODELS = ("distilhubert-streaming", "distilhubert", "pocket-conv")
CHUNK, ROUNDS, MAX_CLIPS = 16, 40, 1000
TRAIN = ["train.crop_s=4", "train.batch=16", "train.precision=fp32", "train.front_end_grad=1.0"]
MORE = ["train.lr=1e-4", "train.crop_s=3", "train.batch=8"]
TASKS = (("ks", "arabic_speech_commands"), ("sid", "speechocean762"))


def train(given: argparse.Namespace, out: Path, *settings: str) -> Path:
    """A run of `distilhubert-streaming`, if it is not there yet."""
    sets = [word for setting in (*TRAIN, *settings) for word in ("--set", setting)]
    data = [word for _, name in TASKS for word in ("--data", given.accuracy[0] / name)]
    if not (out / "card.json").exists():
        recipe = ("--recipe", "distilhubert-streaming", "--teacher", given.teacher)
        compress("distill", *recipe, *data, "--out", out, *sets)
    return out


def students(given: argparse.Namespace) -> dict[str, Path]:
    """The student in float32, and those that were trained with quantisation, after equal steps."""
    out = given.accuracy[1]
    base = train(
        given, out / "base", f"train.steps={given.steps}", "train.lr=5e-4", f"train.validate_every={given.steps}"
    )
    more = [f"student.init={base}", f"train.steps={given.more}", f"train.validate_every={given.more}", *MORE]
    made = {"none": train(given, out / "float", *more)}
    return made | {s: train(given, out / f"qat-{s}", *more, f"quantize.scheme={s}") for s in TRAINED}


def sides(made: dict[str, Path], data: Path) -> dict[str, tuple[Encoder, Path]]:
    """Every scheme after training, on the student in float32, and every one trained for: {side: encoder, folder}."""
    prepared = prepare(made["none"], data, needs_speech=True)
    found = {}
    for scheme in SCHEMES:
        quantization, _ = settle(prepared, scheme, print)
        encoder = prepared.encoder if scheme == "none" else simulated(prepared.encoder, quantization)
        found[f"{scheme} (after training)" if scheme != "none" else "float32"] = encoder, made["none"]
    for scheme in TRAINED:
        trained, quantization = load_checkpoint(made[scheme]).encoder, load_quantization(made[scheme])
        assert quantization is not None
        found[f"{scheme} (trained for)"] = simulated(trained, quantization), made[scheme]
    return found


def accuracy(given: argparse.Namespace) -> dict[str, Any]:
    corpora = given.accuracy[0]
    made = students(given)
    data = corpora / "speechocean762"
    found, teacher = sides(made, data), load_teacher(given.teacher)
    speech = prepare(made["none"], data, needs_speech=True).speech
    assert speech is not None
    rows: dict[str, dict[str, Any]] = {name: {} for name in found}
    for name, (encoder, folder) in found.items():
        opened = load_checkpoint(folder)
        comparison = Comparison({"student": encoder_upstream(encoder, CHUNK)}, teacher=teacher, opened=opened)
        rows[name]["heads"] = comparison_fidelity(comparison, speech.test)["fidelity"]
        print(name, rows[name]["heads"], flush=True)
    upstreams = {name: of_model(encoder, CHUNK) for name, (encoder, _) in found.items()}
    for name, corpus in TASKS:
        task = make_task(name, corpora / corpus, max_classes=50, max_clips=MAX_CLIPS)
        for side, score in score_tasks(upstreams, [task], Budget(seeds=3), listen=print).scores[name].items():
            rows[side][name] = {"test": score.test, "ci95": score.ci95}
    steps = {"steps": given.steps, "more": given.more, "teacher": str(given.teacher)}
    return {"run": steps, "sides": rows}


def reports(given: argparse.Namespace) -> dict[str, Any]:
    """`compress quantize --report` of the starter's teacher and, where --accuracy made one, of the student."""
    options = SchemeReportOptions((*SCHEMES, "mixed"), budget_db=given.budget_db)
    starter = Checkpoint(TEACHER, load_checkpoint(TEACHER).encoder, {})
    prepared = Prepared(starter, prepare(TEACHER, SPEECH, True).speech)
    found = {"hubert-mini": report(prepared, options, print)}
    # Loud white noise, which no range was measured on.
    noise = Yardstick(prepared.encoder, [0.2 * torch.randn(1, 64_000, generator=torch.Generator().manual_seed(1))])
    schemes = ("int8", "int8-static", "int4", "fp16")
    found["hubert-mini"]["noise_snr_db"] = {s: noise.snr_db(settle(prepared, s, print)[0]) for s in schemes}
    student = given.reports / "float"
    if (student / "card.json").exists():
        found["student"] = report(prepare(student, None, True), options, print)
    return found


def full_size(name: str) -> tuple[Encoder, dict[str, Quantization]]:
    """A model with random weights, and every scheme that it can have; ranges are those of noise."""
    torch.manual_seed(0)
    encoder = Encoder(config_of(name)).eval()
    encoder.measure_statistics(torch.randn(1, 32_000) * 0.1)
    noise = [torch.randn(1, 32_000) * 0.1]
    ranges = static_operators(encoder, calibrate(encoder, noise, () if encoder.config.blockers else (CHUNK,), print))
    found = {scheme: Quantization(scheme).settled(kinds(encoder)) for scheme in SCHEMES if scheme != "int8-static"}
    return encoder, found | {"int8-static": Quantization("int8-static", ranges)}


def prepare_programs(folder: Path) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    for name in MODELS:
        encoder, schemes = full_size(name)
        for scheme, quantization in schemes.items():
            path = folder / name / f"{scheme}.pte"
            if not path.exists():
                lowered, method = lowered_alone(encoder, quantization)
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez(folder / name / "inputs.npz", *[tensor.numpy() for tensor in method.example])
                path.write_bytes(lowered.program)
            sizes.setdefault(name, {})[scheme] = path.stat().st_size
            print(name, scheme, f"{sizes[name][scheme] / 1e6:.1f} MB", flush=True)
    return sizes


def latency(folder: Path) -> dict[str, Any]:
    """Milliseconds of a chunk of 320 ms (a second, where it does not stream), every scheme in turn, one thread."""
    set_threads(1)
    results = {}
    for name in MODELS:
        loaded = np.load(folder / name / "inputs.npz")
        arrays = [loaded[key] for key in loaded.files]
        arrays[0] = (np.random.default_rng(0).standard_normal(arrays[0].shape) * 0.1).astype(np.float32)
        calls = {}
        for scheme in SCHEMES:
            program = Program(folder / name / f"{scheme}.pte")
            method = next(word for word in program.method_names if word.startswith(("step", "window")))
            calls[scheme] = partial(program.run, method, *arrays)
        results[name] = alternate(calls, ROUNDS, warmup=3)
        base = results[name]["none"]["median_ms"]
        for scheme in SCHEMES:
            row = results[name][scheme]
            row["speed_up"] = base / row["median_ms"]
            print(f"{name:24} {scheme:12} {row['median_ms']:7.2f} ms  {row['speed_up']:.2f}x", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracy", nargs=2, type=Path, metavar=("CORPORA", "OUT"))
    parser.add_argument("--reports", type=Path, metavar="OUT")
    parser.add_argument("--prepare", type=Path, metavar="FOLDER")
    parser.add_argument("--latency", type=Path, metavar="FOLDER")
    parser.add_argument("--teacher", default="hubert-mini")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--more", type=int, default=60)
    parser.add_argument("--budget-db", type=float, default=36.0)
    given = parser.parse_args()
    document = Parts("quantisation")
    if given.accuracy:
        document.put(students=accuracy(given))
    if given.reports:
        document.put(reports=reports(given))
    if given.prepare:
        document.put(full_size_bytes=prepare_programs(given.prepare))
    if given.latency:
        document.put(latency=latency(given.latency))
    print(json_text({key: list(value) for key, value in document.items()}))


if __name__ == "__main__":
    main()
