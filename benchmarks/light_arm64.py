"""The light runtime on arm64, emulated: its wheel, cross-built, in Debian's own Python for arm64 under QEMU.

    python benchmarks/light_arm64.py [--cpu cortex-a76 ...] [--scratch FOLDER] [--bundle FOLDER ...]

Needs g++-aarch64-linux-gnu, qemu-user-static and apt-get (nothing is installed: packages are unpacked into the scratch
folder). Each processor runs the golden clip of each bundle (the shipped one, int8, unless others are named), held
against the checkpoint's frames as `compress verify` does, and against what this machine computes. Emulated times say
nothing of a board. QEMU 7.2 computes SME wrongly, which its default processor has: name one without, or add ",sme=off".
Writes results/light_arm64.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from common import ROOT, write

PACKAGES = (
    *("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "zlib1g", "libssl3", "libexpat1"),
    *("libffi8", "libbz2-1.0", "liblzma5", "libc6", "libstdc++6", "libgcc-s1", "libuuid1", "libcrypt1"),
)
CPUS = ("cortex-a53", "cortex-a76", "max,sme=off")
WHEELS = ("numpy", "soxr")
PROGRAM = """
import json, platform, sys
import numpy as np
from {package}program_checks import against_golden, far, heard
from {package}parity import within
from {package}engine import PteEngine
folder, out = sys.argv[1:]
engine = PteEngine(folder, threads=1)
said = heard(engine, engine.bundle.golden["audio"])
found = against_golden(engine.bundle, engine._method, said)
np.save(out, said.frames)
ok = within(found.frames, engine.bundle.document["tolerance"]) and not far(engine.bundle, found)
print(json.dumps({{"machine": platform.machine(), "python": platform.python_version(), "frames": len(said.frames),
    "engine": engine.program.library.about, "golden": found.frames, "ok": bool(ok), "method": engine._method,
    "torch": "torch" in sys.modules}}))
"""


def run(*words: object, **more: Any) -> str:
    return subprocess.run([*map(str, words)], check=True, stdout=subprocess.PIPE, text=True, **more).stdout


def debian(folder: Path) -> Path:
    """Root of an unpacked Python for arm64."""
    root, state, cache = folder / "root", folder / "state", folder / "cache"
    if (root / "usr" / "bin" / "python3.11").exists():
        return root
    for path in (root, state / "lists" / "partial", cache / "archives" / "partial"):
        path.mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    settings = ("APT::Architecture=arm64", "APT::Architectures=arm64", f"Dir::State={state}", f"Dir::Cache={cache}")
    apt = [
        "apt-get",
        "-qq",
        *(part for one in (*settings, f"Dir::State::status={folder}/status") for part in ("-o", one)),
    ]
    run(*apt, "update")
    run(*apt, "download", *PACKAGES, cwd=cache)
    for path in cache.glob("*.deb"):
        run("dpkg", "-x", path, root)
    return root


def site(folder: Path) -> tuple[Path, str]:
    """Where the wheels for arm64 are unpacked, and our wheel's name."""
    place, wheels = folder / "site", folder / "wheels"
    place.mkdir(exist_ok=True)
    compiler = ("--compiler", "aarch64-linux-gnu-g++")
    named = os.environ.get("SPEECHPRESS_ARM64_EXECUTORCH")
    package = ("--executorch", named) if named else ()
    built = run(sys.executable, ROOT / "runtime/wheel/backend.py", wheels, "--arch", "aarch64", *compiler, *package)
    kind = [word for one in ("2_28", "2_27") for word in ("--platform", f"manylinux_{one}_aarch64")]
    pip = (sys.executable, "-m", "pip", "-q", "download", "--no-deps", "--only-binary=:all:", *kind)
    run(*pip, "--python-version", "311", "-d", wheels, *WHEELS)
    for path in wheels.glob("*.whl"):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(place)
    return place, Path(built.strip()).name


def emulated(root: Path, place: Path, cpu: str) -> list[object]:
    libraries = ":".join(str(root / part / "aarch64-linux-gnu") for part in ("usr/lib", "lib"))
    settings = {
        "PYTHONPATH": place,
        "PYTHONHOME": root / "usr",
        "LD_LIBRARY_PATH": libraries,
        "OPENBLAS_NUM_THREADS": 1,
    }
    given = [word for name, value in settings.items() for word in ("-E", f"{name}={value}")]
    return ["qemu-aarch64-static", "-L", root, "-cpu", cpu, *given, root / "usr" / "bin" / "python3.11"]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--cpu", action="append", help="as QEMU knows them; a53, a76 and one with SVE unless named")
    words.add_argument("--scratch", type=Path, help="kept, and used again")
    words.add_argument("--bundle", type=Path, action="append")
    given = words.parse_args()
    import numpy as np

    from speechpress.runtime.choice import SHIPPED
    from speechpress.runtime.parity import compare

    document: dict[str, Any] = {"qemu": run("qemu-aarch64-static", "--version").splitlines()[0], "runs": []}
    with tempfile.TemporaryDirectory() as own:
        folder = (given.scratch or Path(own)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        root, (place, document["wheel"]) = debian(folder), site(folder)
        for bundle in given.bundle or [SHIPPED]:
            here = PROGRAM.format(package="speechpress.runtime.")
            run(sys.executable, "-c", here, bundle, folder / "here.npy")
            for cpu in given.cpu or CPUS:
                started, code = time.perf_counter(), PROGRAM.format(package="speechpress_runtime.runtime.")
                found = json.loads(run(*emulated(root, place, cpu), "-c", code, bundle, folder / "there.npy"))
                ours, theirs = np.load(folder / "here.npy"), np.load(folder / "there.npy")
                found |= {"bundle": bundle.name, "cpu": cpu, "against_host": compare(theirs, ours)}
                document["runs"].append({**found, "emulated_s": round(time.perf_counter() - started, 1)})
                print(document["runs"][-1])
    write("light_arm64", document)


if __name__ == "__main__":
    main()
