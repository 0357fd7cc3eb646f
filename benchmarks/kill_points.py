"""kill -9 at random points of every command that writes: what is left is whole or refused, and the next run goes on.

    python benchmarks/kill_points.py WORK [--points 40] [--commands distill,prune,...]

Each command runs as a user calls it, on tiny models, in a process that is forked from one that has everything imported
and is killed after a random share of the time that a whole run takes. Every second run replaces an older result, where
the command can. Afterwards what is there is opened as a user would, and the command is called once more.

Can be stopped and called again: points that are done are kept. Writes results/kill_points.json.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import Parts, stamp

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))

from searched import tiny_recipe

from speechpress.compressor.cli import main as cli
from speechpress.compressor.models.checkpoint import load_checkpoint, read_json
from speechpress.compressor.models.scores import NAME
from speechpress.compressor.search.rows import Rows
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.bundle import check_hashes, read_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.parts import is_part

OUT, NAME_OF_RESULTS = "out", "kill_points"
TRAIN = ["--set", "train.precision=fp32", "--set", "train.batch=2", "--set", "train.crop_s=0.5"]


@dataclass(frozen=True)
class Command:
    """Words of a call; `over` are added where there is something already, `resume` where a run can go on."""

    words: list[str]
    read: Callable[[Path], object]
    over: tuple[str, ...] = ("--overwrite",)
    resumes: Callable[[Path], bool] = lambda out: False  # whether --resume is the word for what is there

    def call(self, out: Path) -> list[str]:
        """As a user would call it now, with what is there."""
        if self.resumes(out):
            return [*self.words, "--resume"]
        return [*self.words, *(self.over if out.exists() else ())]


def commands(work: Path) -> dict[str, Command]:
    """Every command, on what `prepare` made."""
    clips, student = str(work / "clips"), str(work / "student")
    recipe = ["--recipe", "distilhubert", "--teacher", str(work / "teacher"), "--data", clips, *TRAIN]
    steps = ["--set", "train.steps=12", "--set", "train.checkpoint_every=2", "--set", "train.validate_every=4"]
    place, searched = ["--out", OUT], ["--recipe", str(work / "tiny.yaml"), "--space", str(work / "space.yaml")]
    budget = ["--budget-ms", "50", "--steps", "2", "--chunks", "5", "--trials", "2", "--train-device", "cpu"]
    return {
        "distill": Command(
            ["distill", *recipe, *steps, *place],
            load_checkpoint,
            resumes=lambda out: (out / "resume.safetensors").is_file(),
        ),
        "prune": Command(
            ["prune", student, "--sparsity", "0.2", "--data", clips, "--recover", "4", *TRAIN, *place],
            load_checkpoint,
            resumes=cut_only,
        ),
        "quantize": Command(["quantize", student, "--scheme", "int8-static", "--data", clips, *place], load_checkpoint),
        "export": Command(
            ["export", student, "--target", "host", "--offline-seconds", "0", "--allow-fallback", *place],
            lambda out: check_hashes(read_bundle(out)),
        ),
        "convert": Command(["convert", student, OUT, "--to", "transformers"], lambda out: load_teacher(str(out)), ()),
        "eval": Command(["eval", OUT, "--data", str(work / "speech"), "--tasks", "sid", "--seeds", "1"], measured, ()),
        "search": Command(
            ["search", *searched, "--data", clips, *budget, *place],
            trials,
            (),
            lambda out: (out / "search.json").is_file(),
        ),
    }


def cut_only(out: Path) -> bool:
    """Whether a pruned checkpoint was written, and its recovery was not."""
    return (out.parent / f"{out.name}-cut" / "card.json").is_file() and not (out / "card.json").is_file()


def measured(out: Path) -> None:
    """A checkpoint, with results that can be read where there are any."""
    load_checkpoint(out)
    for file in out.glob(f"{Path(NAME).stem}*.json"):
        read_json(file)


def trials(out: Path) -> None:
    """A search that has begun, whose students are whole or refused."""
    if not (out / "search.json").is_file():
        raise SpeechpressError(f"{out}: has not begun")
    Rows(out / "trials.jsonl").read()


def prepare(work: Path) -> None:
    """A teacher, a student, speech and a space to search."""
    if (work / "space.yaml").exists():
        return
    from labelled import make_labelled
    from tiny_models import save, tiny

    work.mkdir(parents=True, exist_ok=True)
    save(tiny("hubert", num_hidden_layers=4), work / "teacher", do_normalize=False)
    shutil.rmtree(work / "clips", ignore_errors=True)
    shutil.rmtree(work / "speech", ignore_errors=True)
    make_labelled(work / "speech")
    shutil.copytree(work / "speech" / "audio", work / "clips")
    recipe = ["--recipe", "distilhubert", "--teacher", str(work / "teacher"), "--data", str(work / "clips"), *TRAIN]
    words = ["distill", *recipe, "--set", "train.steps=4", "--out", str(work / "student"), "--overwrite"]
    assert forked(work, words)[0] == 0, (work / "log").read_text()
    (work / "tiny.yaml").write_text(tiny_recipe(work / "teacher"))
    (work / "space.yaml").write_text("layers: [1, 2]\nwidth: [32, 48]\nquantize: [none]\n")


def forked(folder: Path, words: list[str], kill_after_s: float | None = None) -> tuple[int | None, float]:
    """Call the command line in a forked process group; its exit code (None: it was killed), and the seconds it took."""
    started, child = time.perf_counter(), os.fork()
    if child == 0:
        _call(folder, words)
    code = None
    while code is None:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        if kill_after_s is not None and time.perf_counter() - started >= kill_after_s:
            _kill_group(child)
            os.waitpid(child, 0)
            break
        time.sleep(0.002)
    seconds = time.perf_counter() - started
    _kill_group(child)  # workers that a killed owner left
    return code, seconds


def _kill_group(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _call(folder: Path, words: list[str]) -> None:
    os.setsid()
    code = 1
    try:
        os.chdir(folder)
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = ["compress", *words]
        cli.main(words)
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def state(command: Command, folder: Path) -> str:
    """whole, refused, nothing, or what else happened, which is a fault."""
    out = folder / OUT
    if not out.exists():
        return "nothing"
    try:
        command.read(out)
    except SpeechpressError:
        return "refused"
    except Exception as error:
        return f"FAULT {error!r}"
    return "whole"


def parts_left(folder: Path) -> int:
    return sum(is_part(Path(path.name)) for path in folder.rglob(".*"))


def begin(name: str, work: Path, folder: Path) -> None:
    """An empty folder; eval has a checkpoint in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if name == "eval":
        shutil.copytree(work / "student", folder / OUT)


def point(name: str, command: Command, work: Path, number: int, whole_s: float) -> dict[str, Any]:
    """Kill one run and call the command again; a run that was over before its kill (on a busy machine) is repeated."""
    folder, code = work / "place", 0
    replaces = bool(number % 2) and command.over == ("--overwrite",)
    share = random.Random(f"{name}/{number}").random()
    words = [*command.words, *(command.over if replaces else ())]
    while code == 0:
        begin(name, work, folder)
        if replaces:
            assert forked(folder, command.words)[0] == 0, (folder / "log").read_text()
        code, whole_s = forked(folder, words, share * whole_s)
    left, parts = state(command, folder), parts_left(folder)
    stands = name == "convert" and (folder / OUT).exists()  # it has no --overwrite, and need not be called again
    again = 0 if stands else forked(folder, command.call(folder / OUT))[0]
    after = state(command, folder)
    fine = left in ("whole", "refused", "nothing") and again == 0 and after == "whole"
    found = {"number": number, "share": share, "killed": code is None, "replaces": replaces, "left": left}
    found |= {"parts": parts, "again": again, "after": after, "parts_after": parts_left(folder), "fine": fine}
    if not fine:
        found["log"] = (folder / "log").read_text()[-2000:]
    return found


def table(document: dict[str, Any]) -> str:
    """A row for each command."""
    heads = ("command", "points", "killed", "whole", "refused", "nothing", "faults", "next run goes on", "parts after")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, found in document.items():
        rows = found["points"]
        counts = [sum(row["left"] == word for row in rows) for word in ("whole", "refused", "nothing")]
        faults = len(rows) - sum(counts)
        goes_on = sum(row["again"] == 0 and row["after"] == "whole" for row in rows)
        killed, parts = sum(row["killed"] for row in rows), sum(row["parts_after"] for row in rows)
        lines.append("| " + " | ".join(map(str, (name, len(rows), killed, *counts, faults, goes_on, parts))) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--commands", default="")
    chosen = parser.parse_args()
    work = chosen.work.resolve()
    prepare(work)
    results = Parts(NAME_OF_RESULTS)
    document = results.get("commands", {})
    for number in range(chosen.points):
        for name, command in commands(work).items():
            if not chosen.commands or name in chosen.commands.split(","):
                go_on(document.setdefault(name, {"whole_s": None, "points": []}), name, command, work, number)
                results.put(commands=document)
    print(table(document))


def go_on(found: dict[str, Any], name: str, command: Command, work: Path, number: int) -> None:
    """Add a point, if it is not there yet."""
    if number < len(found["points"]):
        return
    if found["whole_s"] is None:
        begin(name, work, work / "place")
        code, found["whole_s"] = forked(work / "place", command.words)
        assert code == 0, (work / "place" / "log").read_text()
    # With its own stamp: points may be of several runs.
    found["points"].append({**point(name, command, work, number, found["whole_s"]), "stamp": stamp()})
    print(name, found["points"][-1], flush=True)


if __name__ == "__main__":
    main()
