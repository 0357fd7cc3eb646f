"""A newcomer's first steps: from `pip install` to the first student, the first bundle and the first live frame.

    python benchmarks/first_steps.py WORK [--python python3.11] [--first "pip install torch --index-url URL"]

WORK gets a clone of this commit and a fresh virtual environment. The commands are those of the page Start, word by
word; one that fails ends the run. `--first` is a command before the install, such as for a CPU-only torch. The first
live frame is the first line of `compress demo --json` with the new bundle, from the start of that process. pip may take
packages from its cache, and downloads depend on the network, so the install is given beside the rest. Writes
results/first_steps.json.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import ROOT, write

PAGE = ROOT / "docs" / "index.md"
COMMENT = re.compile(r"\s{2,}#.*$")


def commands() -> list[str]:
    """The lines of the shell blocks of Start, without their comments."""
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return [COMMENT.sub("", line) for block in blocks for line in block.splitlines() if line.strip()]


def timed(command: str, folder: Path, env: dict[str, str]) -> dict[str, Any]:
    print(f"$ {command}", flush=True)
    started = time.perf_counter()
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, check=False)
    if done.returncode:
        sys.exit(f"stopped at: {command} (exit code {done.returncode})")
    return {"command": command, "seconds": time.perf_counter() - started}


def first_frame(folder: Path, env: dict[str, str], wav: str) -> float:
    """Seconds from the start of the demo to its first line with frames."""
    command = ["compress", "demo", "bundles/first", "--wav", wav, "--json"]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - started
        process.communicate()
    if not line.startswith("{") or process.returncode:
        sys.exit(f"the demo ended with exit code {process.returncode} and {line!r}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--first", help="a command in the new environment before the install")
    given = parser.parse_args()
    folder = given.work.resolve() / "speechpress"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    make, *rest = commands()
    assert make.startswith("python3 -m venv venv"), make
    subprocess.run([given.python, "-m", "venv", str(folder / "venv")], check=True)
    env = {**os.environ, "PATH": f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": str(folder / "venv")}
    rows = [timed(command, folder, env) for command in ([given.first] if given.first else []) + rest]
    install = sum(row["seconds"] for row in rows if "pip install" in row["command"])
    named = {row["command"].split()[1]: row["seconds"] for row in rows if row["command"].startswith("compress ")}
    (demo,) = [row["command"] for row in rows if row["command"].startswith("compress demo")]
    wav = re.search(r"--wav (\S+)", demo)
    assert wav is not None
    found = {
        "install_s": install,
        "first_student_s": named["distill"],
        "first_bundle_s": named["export"],
        "first_live_frame_s": first_frame(folder, env, wav[1]),
    }
    write("first_steps", {"commands": rows, **found})


if __name__ == "__main__":
    main()
