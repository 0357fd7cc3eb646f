"""The students of `gpu_students`, one at a time on a processor: what the teacher says of all rows lies in files.

    python benchmarks/students_speech.py choose CORPORA CHOSEN
    python benchmarks/cpu_students.py teach CHOSEN TEACHER ROWS --orders 1
    python benchmarks/cpu_students.py train ROWS TEACHER WORK --only pocket-conv-frames-0 --steps 2700   # 15 h
    python benchmarks/cpu_students.py teach CHOSEN TEACHER PLAIN --orders 1 --speeds 1
    python benchmarks/cpu_students.py train PLAIN TEACHER WORK --only five-both-20-0 --steps 900    # 5 h
    python benchmarks/gpu_students.py unpack WORK TEACHER RUNS

The steps are those of `gpu_student`, without graphs and in bfloat16, which pays off on processors with AMX. A run that
is interrupted goes on at its last state, written every STATE_STEPS steps.
"""

import argparse
import time
from pathlib import Path

import gpu_students as shared
import numpy as np
import students as compared
import torch
from common import machine, stamp
from gpu_rows import ORDERS, SPEEDS, Rows, cut_joined, cut_words, read_clips, split
from gpu_student import Student

from speechpress.compressor.distill.process import keep_freed_memory
from speechpress.compressor.teachers.load import Teacher, load_teacher
from speechpress.runtime.atomic import atomic

TAUGHT_S = 40.0  # at a time
STATE_STEPS, TOLD_STEPS = 250, 50


def told_file(folder: Path, name: str, layer: int) -> Path:
    return folder / f"{name}.{layer}.npy"


def keep(folder: Path, name: str, waves: np.ndarray, teacher: Teacher) -> None:
    """Rows (N, S) and what each layer of the teacher says of them, (N, T, E) in float16."""
    rows, size = torch.from_numpy(waves), max(1, int(TAUGHT_S * 16_000 / waves.shape[1]))
    layers = range(1, teacher.card.depth + 1)
    shape = (len(rows), int(teacher.frames(rows.shape[1])), teacher.card.width)
    np.save(folder / f"{name}.waves.npy", waves)
    told = {n: np.lib.format.open_memmap(told_file(folder, name, n), "w+", np.float16, shape) for n in layers}
    for start in range(0, len(rows), size):
        heard = rows[start : start + size].float() / shared.FULL_SCALE
        with torch.autocast("cpu", torch.bfloat16):
            states = teacher.hidden_states(heard, layers=layers)
        for layer, state in states.items():
            told[layer][start : start + size] = state.half().numpy()
        shared.tell(f"{name}: {start} of {len(rows)} rows")


def teach(given: argparse.Namespace) -> None:
    clips, held_out = split(read_clips(given.chosen))
    teacher = load_teacher(given.teacher)
    given.rows.mkdir(parents=True, exist_ok=True)
    keep(given.rows, "valid", cut_joined(held_out, (1.0,), 1), teacher)
    keep(given.rows, "short", cut_words(clips, given.speeds), teacher)
    keep(given.rows, "long", cut_joined(clips, given.speeds, given.orders), teacher)


def kept(folder: Path, name: str) -> Rows:
    """Rows whose answers stay on disk: several runs read them from the same pages of memory."""
    places = {int(path.suffixes[0][1:]): path for path in folder.glob(f"{name}.[0-9]*.npy")}
    told = {n: torch.from_numpy(np.load(path, mmap_mode="c")) for n, path in places.items()}
    return Rows(torch.from_numpy(np.load(folder / f"{name}.waves.npy")), told)


def state_of(student: Student) -> dict[str, object]:
    counters = {"at": student.at, "losses": student.losses, **{f"turn {name}": n for name, n in student.turns.items()}}
    return {"module": student.module.state_dict(), "optimizer": student.optimizer.state_dict(), "counters": counters}


def restore(student: Student, path: Path) -> int:
    """The step at which a state was written; 0 without one."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    student.module.load_state_dict(state["module"])
    student.optimizer.load_state_dict(state["optimizer"])
    for group in student.optimizer.param_groups:
        group["lr"] = student.rate  # which each step writes to
    student.at.copy_(state["counters"]["at"])
    student.losses.copy_(state["counters"]["losses"])
    for name, turn in student.turns.items():
        turn.copy_(state["counters"][f"turn {name}"])
    return int(student.at)


def train(given: argparse.Namespace) -> None:
    keep_freed_memory()
    teacher = load_teacher(given.teacher)
    speech, valid = {name: kept(given.rows, name) for name in ("short", "long")}, {"long": kept(given.rows, "valid")}
    given.work.mkdir(parents=True, exist_ok=True)
    known = compared.jobs(given.steps, students=compared.ALL_STUDENTS)
    if unknown := set(given.only) - {job.name for job in known}:
        raise SystemExit(f"students.py knows no {', '.join(sorted(unknown))}")
    for job in (job for job in known if job.name in given.only):
        (student,) = shared.students_of([job], teacher, speech, shared.HALVES[given.precision])
        student.restart(given.steps)
        kinds, place = shared.kinds_of(speech, given.steps), given.work / f"{job.name}.state"
        first, began = restore(student, place), time.monotonic()
        for step in range(first, given.steps):
            student.step(kinds[step])
            told = step + 1
            if told % TOLD_STEPS == 0:
                loss, pace = float(student.losses[told - TOLD_STEPS : told].mean()), time.monotonic() - began
                shared.tell(f"{job.name}: step {told}, loss {loss:.3f}, {pace / (told - first):.2f} s each")
            if told % STATE_STEPS == 0:
                with atomic(place) as unfinished:
                    torch.save(state_of(student), unfinished)
        train_s = time.monotonic() - began if first == 0 else None  # of an interrupted run it is not known
        done = {"steps": given.steps, "train_s": train_s, "students": 1}
        done |= {"torch": torch.__version__, "precision": given.precision, **stamp(), "device": machine()["cpu"]}
        shared.write(given.work, job, student, {**done, "valid": student.validate(valid)})
        place.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(required=True)
    teacher, trainer = what.add_parser("teach"), what.add_parser("train")
    teacher.add_argument("chosen", type=Path)
    trainer.add_argument("rows", type=Path)
    for one in (teacher, trainer):
        one.add_argument("teacher")
    teacher.add_argument("rows", type=Path)
    teacher.add_argument("--orders", type=int, default=ORDERS, help="in which the clips of a speaker are joined")
    teacher.add_argument("--speeds", type=float, nargs="+", default=SPEEDS, choices=SPEEDS, help="of playing")
    teacher.set_defaults(do=teach)
    trainer.add_argument("work", type=Path)
    trainer.add_argument("--only", nargs="+", required=True, help="students of students.py, with their seed")
    trainer.add_argument("--steps", type=int, required=True)
    trainer.add_argument("--precision", choices=tuple(shared.HALVES), default="bf16")
    trainer.set_defaults(do=train)
    given = parser.parse_args()
    given.do(given)


if __name__ == "__main__":
    main()
