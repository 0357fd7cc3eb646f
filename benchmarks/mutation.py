"""Mutants of the code whose wrong values nobody would see, and which of them the tests kill.

    pip install -e '.[test,mutation]'
    python benchmarks/mutation.py WORK [--sample 40,parity=50] [--seed 0] [--modules quantize,parity,...]

The mutants are cosmic-ray's, of a copy of the package in WORK: each is written into its file there, and the tests named
below run in a process forked from one that has the libraries imported. Mutants are drawn place by place: none of a
module's places has a second mutant before each has one. Left out are those that cannot change a value: in annotations
and in types named with `|`, in what is logged, said or raised, in the options of a dataclass, and in what only a type
checker reads; and those that are no Python (`**` of an unpacking taken for a power).

Can be stopped and called again: what is killed stays killed while its module is the same, survivors are tried anew.
Survivors that are known to be no change are in equivalent_mutants.yaml, each with its reason. Writes
results/mutation.json.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from common import write
from mutants import ROOT, Mutant, drawn, mutants

from speechpress.runtime.json_file import json_text

# Of the processor's time, many times what the tests of any module take, and of waiting: a mutant that takes longer is
# killed. Not of waiting alone, which other processes lengthen.
LIMIT_S, WAIT_S = 60, 600.0
SLOW = ("test_an_objective_is_added", "test_export_takes_its_ranges", "test_a_bundle_is_refused")
QUANTIZE = "fake_quant", "scheme", "sensitivity", "calibrate", "quantize"
# The tests of a module first: of the others most mutants never hear.
TESTS = {
    "compressor/distill/objectives.py": ["distill/test_objectives", "distill/test_step", "distill/test_validation"],
    "compressor/distill/step.py": [f"distill/test_{name}" for name in ("step", "processes", "loop", "gates", "resume")],
    "compressor/distill/loop.py": [f"distill/test_{name}" for name in ("loop", "step", "processes", "resume", "gates")],
    "compressor/quantize/calibrate.py": ["quantize/test_calibrate", "quantize/test_quantize"],
    "compressor/quantize/fake_quant.py": [f"quantize/test_{name}" for name in QUANTIZE],
    "compressor/quantize/ptq.py": ["quantize/test_quantize"],
    "compressor/quantize/scheme.py": [f"quantize/test_{name}" for name in ("scheme", "fake_quant", "quantize")],
    "compressor/quantize/sensitivity.py": ["quantize/test_sensitivity", "quantize/test_quantize"],
    "runtime/parity.py": ["runtime/test_parity", "quantize/test_sensitivity"],
    "runtime/stream.py": ["runtime/test_stream", "quantize/test_calibrate"],
    "compressor/tasks/metrics.py": ["tasks/test_metrics", "tasks/test_kinds"],
    "compressor/evaluate/similarity.py": ["evaluate/test_similarity", "evaluate/test_fidelity"],
    "compressor/evaluate/fidelity.py": ["evaluate/test_fidelity"],
}


def copied(work: Path) -> Path:
    """The package and its tests in WORK, as an installation would lay them out; -> what goes onto the path."""
    tree, packages = work / "tree", work / "packages" / "speechpress"
    shutil.rmtree(work / "packages", ignore_errors=True)
    shutil.rmtree(tree, ignore_errors=True)
    packages.mkdir(parents=True)
    for name in ("compressor", "runtime", "devices", "recipes", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        if name != "tests":
            (packages / name).symlink_to(tree / name)
    for path in (tree / "compressor" / "api").iterdir():
        (packages / path.name).symlink_to(path)
    shutil.copy(ROOT / "pyproject.toml", tree)
    return packages.parent


def tested(work: Path, module: str, source: str) -> str:
    """Run a module's tests on what its source becomes: survived, killed by a test, by its import, or by the clock."""
    path = work / "tree" / module
    kept = path.read_text()
    changed = source != kept
    if changed:  # the file as it was copied keeps its time, by which bytecode is known
        path.write_text(source)
    first, *others = TESTS[module]
    try:
        fate = _fate(work, [first], changed)
        return _fate(work, others, changed) if fate == "survived" and others else fate
    finally:
        if changed:
            path.write_text(kept)


def _fate(work: Path, files: list[str], changed: bool) -> str:
    started, child = time.monotonic(), os.fork()
    if child == 0:
        _run_tests(work, files, changed)
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return {0: "survived", 1: "killed", -signal.SIGXCPU: "timeout"}.get(code, "import")
        if time.monotonic() - started > WAIT_S:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "timeout"
        time.sleep(0.005)


def _run_tests(work: Path, files: list[str], changed: bool) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S + 5))
    code = 9
    try:
        log = os.open(work / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(work / "tree")
        for name in [name for name in sys.modules if name.split(".")[0] == "speechpress"]:
            del sys.modules[name]
        sys.path.insert(0, str(work / "packages"))
        os.environ |= {"PYTHONPATH": str(work / "packages"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        sys.dont_write_bytecode = changed  # two mutants of one second would have the same
        import hypothesis
        import pytest

        phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # to shrink what fails takes long
        hypothesis.settings.register_profile("mutants", phases=phases, derandomize=True, database=None)
        hypothesis.settings.load_profile("mutants")
        words = ["-x", "-q", "-p", "no:cacheprovider", "-k", " and ".join(f"not {name}" for name in SLOW)]
        code = int(pytest.main([*words, *(f"tests/{file}.py" for file in files)]))
        (work / "imported").write_text("\n".join(sorted(filter(_is_foreign, sys.modules))))
    finally:
        sys.stdout.flush()
        os._exit(code)


def _is_foreign(name: str) -> bool:
    """Whether a module is of a library; those of speechpress and its tests must not be there before a mutant is."""
    file = getattr(sys.modules[name], "__file__", None)
    return file is not None and "site-packages" in file and "speechpress" not in file


def import_libraries(work: Path) -> None:
    """What the tests before imported of libraries, so that the tests of mutants need not."""
    for name in (work / "imported").read_text().split():
        with suppress(Exception):
            import_module(name)


Reasons = dict[tuple[str, str, str], str]  # by module, line, and what it becomes


def judge(
    work: Path, module: str, chosen: list[Mutant], known: dict[str, str], reasons: Reasons
) -> Iterator[tuple[Mutant, str]]:
    """What becomes of each mutant; what is known to be killed, or to survive as no change, is not run again."""
    source = (ROOT / module).read_text()
    begun = False
    digest = hashlib.sha256(source.encode()).hexdigest()
    for mutant in chosen:
        key = f"{digest}/{mutant.operator}/{mutant.occurrence}"
        final = key in known and (known[key] != "survived" or (module, *mutant.change()) in reasons)
        if not final and not begun:
            assert tested(work, module, source) == "survived", (work / "log").read_text()
            import_libraries(work)
            begun = True
        if not final:
            known[key] = tested(work, module, mutant.source())
            (work / "known.json").write_text(json_text(known))
            print(known[key], f"{module}:{mutant.line}", mutant.operator, "|", mutant.change()[1], flush=True)
        yield mutant, known[key]


def row(module: str, judged: list[tuple[Mutant, str]], reasons: Reasons) -> dict[str, Any]:
    """A module's figures, and its survivors one by one."""
    everything = mutants(module)
    counts = Counter(fate for _, fate in judged)
    survivors = [
        {**asdict(mutant), "change": mutant.change(), "equivalent": reasons.get((module, *mutant.change()))}
        for mutant, fate in judged
        if fate == "survived"
    ]
    equivalent = sum(survivor["equivalent"] is not None for survivor in survivors)
    return {
        "possible": len(everything),
        "places": len({(mutant.line, mutant.column) for mutant in everything}),
        "drawn": len(judged),
        "killed": len(judged) - counts["survived"],
        "killed_by_import": counts["import"],
        "killed_by_the_clock": counts["timeout"],
        "survived": counts["survived"],
        "equivalent": equivalent,
        "tests": TESTS[module],
        "survivors": survivors,
    }


def shares(rows: dict[str, Any]) -> dict[str, Any]:
    """Killed of all, and killed of those that are a change."""
    drawn, killed, equivalent = (
        sum(found[name] for found in rows.values()) for name in ("drawn", "killed", "equivalent")
    )
    named = {"drawn": drawn, "killed": killed, "equivalent": equivalent}
    return {**named, "killed_share": killed / drawn, "killed_share_without_equivalent": killed / (drawn - equivalent)}


def table(rows: dict[str, Any]) -> str:
    """A row for each module."""
    heads = ("module", "possible", "places", "drawn", "killed", "survived", "equivalent")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for module, found in rows.items():
        lines.append("| " + " | ".join([module, *(str(found[name]) for name in heads[1:])]) + " |")
    return "\n".join(lines)


def sample_of(module: str, words: str) -> int:
    """How many mutants of a module: "40,parity=50" is 40, and of modules with that name 50."""
    most, *others = words.split(",")
    named = dict(word.split("=") for word in others)
    return int(named.get(Path(module).stem, most))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--sample", default="40")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modules", default="")
    chosen = parser.parse_args()
    work = chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    copied(work)
    listed = yaml.safe_load((Path(__file__).parent / "equivalent_mutants.yaml").read_text())
    reasons = {(one["module"], one["was"], one["becomes"]): one["why"] for one in listed}
    known = json.loads((work / "known.json").read_text()) if (work / "known.json").exists() else {}
    rows = {}
    for module in TESTS:
        if any(word in module for word in chosen.modules.split(",")):
            wanted = drawn(module, sample_of(module, chosen.sample), chosen.seed)
            judged = list(judge(work, module, wanted, known, reasons))
            rows[module] = row(module, judged, reasons)
    if set(rows) == set(TESTS):
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        tool = {"tool": "cosmic-ray", "version": version("cosmic-ray")}
        facts = {"commit": commit.stdout.strip(), "date": datetime.now(UTC).date().isoformat(), **tool}
        write("mutation", {**facts, "sample": chosen.sample, "seed": chosen.seed, **shares(rows), "modules": rows})
    print(table(rows))
    print(shares(rows))


if __name__ == "__main__":
    main()
