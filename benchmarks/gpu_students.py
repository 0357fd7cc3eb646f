"""Students of one teacher, trained side by side in one process on one GPU.

    python benchmarks/students_speech.py choose CORPORA CHOSEN
    python benchmarks/gpu_students.py train CHOSEN TEACHER WORK --seconds 500 [--only NAME ...]
    python benchmarks/gpu_students.py unpack WORK TEACHER RUNS CHOSEN
    python benchmarks/gpu_students.py check CHOSEN TEACHER

Small students leave a GPU idle: their kernels are over before the next is launched, and processes take turns on it.
Here speech and what the teacher says of it lie in the GPU's memory (`gpu_rows`); a step of a student, from picking its
rows to AdamW, is a CUDA graph; and each student has a stream of its own, so that their kernels run at the same time
(`gpu_student`). In all else it is the step of `compress distill`, of the same modules, objective and schedule: `check`
compares both on a CPU. Every student takes as many steps as fit into the time, and hears the same amount of speech.

`train` writes weights in 16 bits, as they come off a rented machine, with what was measured beside them; `unpack` makes
checkpoints of them, like any others. `--rates` trains each student at several learning rates; `--try-rates 0.5 1 2`
does so for `--try-steps`, and goes on with the best of each.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import students as compared
import torch
from common import machine, stamp
from gpu_rows import FULL_SCALE, SAMPLE_RATE, Rows, read_clips, rows_of, split
from gpu_student import MEASURED_ROWS, MOST_STEPS, SHARE_LONG, Student
from lightning_fabric import Fabric
from safetensors.torch import load_file, save_file
from side_by_side import Job
from students_speech import read_labels

from speechpress.compressor.data.audio import read_audio
from speechpress.compressor.data.batches import Batch
from speechpress.compressor.data.noise import TAPE_SAMPLES, Tapes, disturbed, pink
from speechpress.compressor.distill.distill import chunk_drawer
from speechpress.compressor.distill.plan import Plan, plan
from speechpress.compressor.distill.run import OUTPUT_S
from speechpress.compressor.distill.standardise import standardise_output
from speechpress.compressor.distill.step import Trainer, distillation_step
from speechpress.compressor.lessons.kmeans import centres_of
from speechpress.compressor.lessons.units import Centres
from speechpress.compressor.models.checkpoint import CARD, SCHEMA, save_encoder, write_json
from speechpress.compressor.models.costs import macs_per_s, parameters
from speechpress.compressor.models.describe import describe_encoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.recipe.hear import NOISES, SNR_DB
from speechpress.compressor.teachers.load import Teacher, load_teacher
from speechpress.runtime.json_file import json_text

NOISE_ROWS = 32
STREAMED_FRAMES = 32  # the longest chunks, 640 ms
TOLD_STEPS, TIMED_STEPS = 1000, 50
WARM_UP_STEPS = 16  # at least what a student takes before its graphs are captured


def kinds_of(speech: dict[str, Rows], steps: int) -> list[str]:
    """The length of the rows of each step, the same for all students."""
    draw = random.Random("lengths")
    both = len(speech) > 1
    return [("long" if draw.random() < SHARE_LONG else "short") if both else next(iter(speech)) for _ in range(steps)]


@dataclass(frozen=True)
class Taught:
    """Speech to train and to validate on, and the teacher that has said something of it."""

    teacher: Teacher
    speech: dict[str, Rows]
    valid: dict[str, Rows]


def centres_for(job: Plan, rows: Rows, known: dict[Any, Centres]) -> Centres | None:
    """Clusters of the teacher's frames, found once for all students that ask for the same."""
    asked = job.match.clusters
    if asked is None:
        return None
    key = (asked.layers, asked.count)
    if key not in known:
        picked = torch.randperm(len(rows.waves), generator=torch.Generator().manual_seed(0))[: MEASURED_ROWS // 2]
        frames = {n: rows.told[n][picked.to(rows.waves.device)].float().flatten(0, 1).cpu() for n in asked.layers}
        found = {n: torch.from_numpy(centres_of(part.numpy(), asked.count, 0)) for n, part in frames.items()}
        known[key] = Centres({n: tensor.to(rows.waves.device) for n, tensor in found.items()})
    return known[key]


def add_noise(speech: dict[str, Rows], seed: int = 0) -> None:
    """Each row once in noise; NOISE_ROWS at a time are one recording, in noise of a kind and loudness of `hear`."""
    draw, device = random.Random(f"{seed}/noise"), next(iter(speech.values())).waves.device
    white = torch.randn(TAPE_SAMPLES, generator=torch.Generator().manual_seed(seed))
    voices = next(reversed(speech.values())).heard(torch.arange(26, device=device))
    voices = (voices / voices.square().mean(1, keepdim=True).sqrt().clamp(min=1e-4)).flatten()
    tapes = Tapes({"white": white.to(device), "pink": pink(white).to(device), "babble": voices})
    for rows in speech.values():
        rows.noisy, size = torch.empty_like(rows.waves), len(rows.waves)
        mixed = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).to(device)
        for picked in mixed.split(NOISE_ROWS):
            heard = disturbed(rows.heard(picked).flatten(), draw.choice(NOISES), draw.uniform(*SNR_DB), tapes, draw)
            rows.noisy[picked] = (heard.clamp(-1, 1) * (FULL_SCALE - 1)).short().view(len(picked), -1)


def students_of(
    jobs: Sequence[Job],
    teacher: Teacher,
    speech: dict[str, Rows],
    half: torch.dtype | None,
    most_steps: int = MOST_STEPS,
) -> list[Student]:
    known: dict[Any, Centres] = {}
    device = next(iter(speech.values())).waves.device
    made = []
    for one in jobs:
        job = plan(load_recipe(one.recipe, [*one.settings, f"teacher={teacher.card.source}"]), teacher)
        job.centres = centres_for(job, next(reversed(speech.values())), known)
        made.append(Student(one.name, job, speech, device, half, whole_first=one.whole_first, most_steps=most_steps))
    return made


def capture(students: Sequence[Student]) -> None:
    for student in students:
        if student.stream is not None:
            student.capture()
    tell(f"{len(students)} captured")


def run(students: Sequence[Student], speech: dict[str, Rows], steps: int) -> dict[str, Any]:
    """Train all of them, the same steps each; what was done."""
    if steps < 1:
        raise SystemExit("there is no time left for a step; give more --seconds")
    for student in students:
        student.restart(steps)
    kinds = kinds_of(speech, steps)
    train_s = 0.0
    for start in range(0, steps, TOLD_STEPS):
        end = min(steps, start + TOLD_STEPS)
        train_s += timed(students, kinds[start:end])
        tell(f"step {end}: { ({one.name: round(float(one.losses[start:end].mean()), 3) for one in students}) }")
    return {"steps": steps, "train_s": train_s, "students": len(students)}


def steps_until(until: float, students: Sequence[Student], speech: dict[str, Rows]) -> int:
    """How many steps of all of them fit in before a time, of time.monotonic."""
    trial = kinds_of(speech, TIMED_STEPS)
    timed(students, trial[: TIMED_STEPS // 10])  # the first launch of a graph is slow
    seconds = timed(students, trial) / len(trial)
    steps = min(MOST_STEPS, int(0.97 * (until - time.monotonic()) / seconds))
    tell(f"{seconds:.4f} s for a step of all; {steps} steps")
    return steps


def timed(students: Sequence[Student], kinds: Sequence[str]) -> float:
    started = time.monotonic()
    for kind in kinds:
        for student in students:
            student.advance(kind)
    if students[0].stream is not None:
        torch.cuda.synchronize()
    return time.monotonic() - started


HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": None}


def jobs_of(given: argparse.Namespace) -> list[Job]:
    asked = compared.ALL_STUDENTS if given.only else compared.STUDENTS
    jobs = [job for job in compared.jobs(MOST_STEPS, students=asked) if not given.only or job.name in given.only]
    return [at_rate(job, rate) for job in jobs for rate in given.rates] if given.rates else jobs


def at_rate(job: Job, rate: str | float) -> Job:
    return replace(job, name=f"{job.name}@{rate}", settings=(*job.settings, f"train.lr={rate}"))


def kind_of(job: Job) -> str:
    """Its name without the seed, which all seeds of a student share."""
    return job.name.split("@")[0].rpartition("-")[0]


def rate_of(job: Job) -> float:
    said = [setting.removeprefix("train.lr=") for setting in job.settings if setting.startswith("train.lr=")]
    return float(said[-1])


Cosines = dict[str, dict[str, float]]  # {"whole" or "chunked": {layer: cosine}}


def mean_cosine(valid: Cosines) -> float:
    """Of what a student does on a device: in chunks where it streams."""
    return statistics.fmean(valid.get("chunked", valid["whole"]).values())


def tried(jobs: Sequence[Job], given: argparse.Namespace, taught: Taught) -> dict[str, dict[float, float]]:
    """{student without its seed: {rate: cosine}} of the first seed of each after short runs at several rates."""
    firsts = [job for job in jobs if job.name.endswith("-0")]
    trials = [at_rate(job, factor * rate_of(job)) for job in firsts for factor in given.try_rates]
    students = students_of(
        trials, taught.teacher, taught.speech, HALVES[given.precision], given.try_steps + WARM_UP_STEPS
    )
    capture(students)
    run(students, taught.speech, given.try_steps)
    found: dict[str, dict[float, float]] = {}
    for job, student in zip(trials, students, strict=True):
        found.setdefault(kind_of(job), {})[rate_of(job)] = mean_cosine(student.validate(taught.valid))
    tell(f"rates: {found}")
    return found


def at_best(jobs: Sequence[Job], found: dict[str, dict[float, float]]) -> list[Job]:
    """All seeds at the rate that was best for the first."""
    best = {name: (f"train.lr={max(rates, key=rates.__getitem__)}",) for name, rates in found.items()}
    return [replace(job, settings=(*job.settings, *best.get(kind_of(job), ()))) for job in jobs]


def train(given: argparse.Namespace) -> None:
    began, device = time.monotonic(), torch.device(given.device)
    # TF32 where float32 is asked for, and convolutions by the kernels that are fastest here.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    jobs, teacher = jobs_of(given), load_teacher(given.teacher).to(device)
    teacher.half_dtype = torch.float16
    clips, held_out = split(read_clips(given.chosen))
    tell(f"{len(clips)} clips read, {time.monotonic() - began:.0f} s")
    layers = range(1, teacher.card.depth + 1)
    speech = rows_of(clips, teacher, layers, device)
    taught = Taught(teacher, speech, rows_of(held_out, teacher, layers, device, plain=True))
    hours = {name: len(rows.waves) * rows.row_s / 3600 for name, rows in speech.items()}
    tell(f"taught {hours} h, {time.monotonic() - began:.0f} s")
    rates = tried(jobs, given, taught) if given.try_rates else {}
    jobs = at_best(jobs, rates) if rates else jobs
    students = students_of(jobs, teacher, speech, HALVES[given.precision])
    if any(student.static.noises for student in students):
        add_noise(speech)
    tell(f"{len(students)} students made, {time.monotonic() - began:.0f} s")
    capture(students)
    fitting = steps_until(began + given.seconds, students, speech)
    done = run(students, speech, min(fitting, given.steps) if given.steps else fitting)
    done |= {"rows_h": hours, "torch": torch.__version__, "precision": given.precision, **stamp()}
    done["device"] = torch.cuda.get_device_name() if device.type == "cuda" else machine()["cpu"]
    given.work.mkdir(parents=True, exist_ok=True)
    for job, student in zip(jobs, students, strict=True):
        tried_rates = {f"{rate:g}": cosine for rate, cosine in rates.get(kind_of(job), {}).items()}
        write(given.work, job, student, {**done, "tried": tried_rates, "valid": student.validate(taught.valid)})
    if device.type == "cuda":
        tell(f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB at most; {time.monotonic() - began:.0f} s in all")


def write(work: Path, job: Job, student: Student, done: dict[str, Any]) -> None:
    config, steps = student.job.student.config, done["steps"]
    said = {**done, "recipe": job.recipe, "settings": [*job.settings, f"train.steps={steps}"]}
    said |= {"parameters": parameters(config), "macs_per_s": macs_per_s(config)}
    said["audio_h"] = student.heard_s(kinds_of(student.speech, steps)) / 3600
    said["losses"] = [round(float(loss), 4) for loss in student.losses[:steps][:: max(1, steps // 50)]]
    tell(f"{job.name}: {done['valid']} {said['losses'][::10]}")
    (work / f"{job.name}.json").write_text(json_text(said))
    halves = {key: tensor.half().cpu().contiguous() for key, tensor in student.job.student.state_dict().items()}
    save_file(halves, work / f"{job.name}.safetensors")


def unpack(given: argparse.Namespace) -> None:
    """Checkpoints as `compress distill` writes them, less their heads; outputs are standardised by CHOSEN as there."""
    teacher = load_teacher(given.teacher)
    for path in sorted(given.work.glob("*.json")):
        said = json.loads(path.read_text())
        recipe = load_recipe(said["recipe"], [*said["settings"], f"teacher={given.teacher}"])
        job = plan(recipe, teacher)
        tensors = load_file(path.with_suffix(".safetensors"))
        job.student.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
        if job.output_norm_free:
            standardise_output(job.student, some_speech(given.chosen, OUTPUT_S), STREAMED_FRAMES)
        folder = given.runs / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        save_encoder(folder, job.student)
        write_json(folder / CARD, card_of(job, said))
        tell(f"{folder}: {said['steps']} steps, {said['audio_h']:.1f} h")


def some_speech(chosen: Path, most_s: float) -> Iterator[torch.Tensor]:
    """(1, S) of clips from all over the speech that was trained on."""
    rows, heard_s = read_labels(chosen), 0.0
    random.Random("output").shuffle(rows)
    for place, _ in rows:
        if heard_s >= most_s:
            return
        wave = read_audio(chosen / place)
        heard_s += len(wave) / SAMPLE_RATE
        yield torch.from_numpy(wave)[None]


def card_of(job: Plan, said: dict[str, Any]) -> dict[str, Any]:
    teacher, own = job.teacher.card, ("steps", "audio_h", "train_s", "parameters", "macs_per_s")
    script = "gpu_students.py" if "rows_h" in said else "cpu_students.py"
    return {
        "schema": SCHEMA,
        "kind": "student",
        "finished": True,
        "supervised": teacher.supervised,
        "recipe": job.recipe.to_dict(),
        "teacher": teacher.to_dict(),
        "match": asdict(job.match),
        "parents": job.parents,
        "notes": [
            *job.notes,
            f"trained by benchmarks/{script} on {said['device']}; weights were kept in 16 bits",
        ],
        **{key: said[key] for key in own},
        **({"tried": said["tried"]} if said.get("tried") else {}),
        "streaming": describe_encoder(job.student.config)["streaming"],
        "valid": {
            "end": as_valid(said["valid"].get("whole", {})),
            "end_chunked": as_valid(said["valid"].get("chunked", {})),
        },
        "versions": {"torch": said["torch"]},
    }


def as_valid(cosines: dict[str, float]) -> dict[str, dict[str, float]]:
    return {layer: {"cosine": cosine} for layer, cosine in cosines.items()}


def check(given: argparse.Namespace) -> None:
    """The loss and the weights after some steps, beside those of `distillation_step` on the same rows."""
    device = torch.device("cpu")
    teacher = load_teacher(given.teacher)
    clips, _ = split(read_clips(given.chosen))
    speech = rows_of(clips, teacher, range(1, teacher.card.depth + 1), device)
    for job in jobs_of(given):
        ours, theirs = students_of([job, job], teacher, speech, None)
        kinds = kinds_of(speech, given.steps)
        for student in (ours, theirs):
            student.restart(given.steps)
        losses = []
        for number, kind in enumerate(kinds):
            turn = int(ours.turns[kind])
            losses.append(plain_step(theirs, speech[kind], ours.static.orders[kind][turn], number, given.steps))
            ours.step(kind)
        pairs = zip(ours.module.parameters(), theirs.module.parameters(), strict=True)
        apart = max(float((a - b).abs().max()) for a, b in pairs)
        tell(f"{job.name}: losses {ours.losses[: given.steps].tolist()} and {losses}; weights {apart:.2g} apart")


def plain_step(student: Student, rows: Rows, picked: torch.Tensor, number: int, steps: int) -> float:
    """`distillation_step` on the same rows, with targets of the teacher itself."""
    job, waves = student.job, rows.heard(picked)
    fabric = Fabric(accelerator="cpu", devices=1)
    trainer = Trainer(
        fabric=fabric,
        teacher=job.teacher,
        distiller=student.module,
        optimizer=student.optimizer,
        match=job.match,
        train=replace(job.recipe.train, steps=steps, accumulate=1),
        draw_chunk=chunk_drawer(job),
        standard=student.module.standard,
        centres=job.centres,
        lag_frames=job.lag_frames,
    )
    batch = Batch(waves, [""] * len(waves), 0, number, waves.numel() / SAMPLE_RATE, len(waves))
    return float(distillation_step(trainer, batch, number).loss)


def tell(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True)
    trainer, checker = what.add_parser("train"), what.add_parser("check")
    for one in (trainer, checker):
        one.add_argument("chosen", type=Path)
        one.add_argument("teacher")
        one.add_argument("--only", nargs="*", default=[])
        one.add_argument("--rates", nargs="*", default=[])
    trainer.add_argument("work", type=Path)
    trainer.add_argument("--seconds", type=float, default=500)
    trainer.add_argument("--steps", type=int, help="at most, so that students of several runs have heard as much")
    trainer.add_argument("--try-rates", nargs="*", type=float, default=[], help="factors of each student's own")
    trainer.add_argument("--try-steps", type=int, default=2000)
    trainer.add_argument("--device", default="cuda")
    trainer.add_argument("--precision", choices=tuple(HALVES), default="fp16")
    trainer.set_defaults(do=train)
    checker.add_argument("--steps", type=int, default=3)
    checker.set_defaults(do=check)
    unpacker = what.add_parser("unpack")
    for name in ("work", "teacher", "runs", "chosen"):
        unpacker.add_argument(name, type=str if name == "teacher" else Path)
    unpacker.set_defaults(do=unpack)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
