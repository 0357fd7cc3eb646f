"""What a stranger adds, each in at most three files of a copy of the package: here a backend.

An objective is added in tests/distill/test_objectives.py, a kind of task in tests/tasks/test_kinds.py.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
from pathlib import Path
from speechpress.compressor.export import export as exporting
from speechpress.compressor.export.source import open_source
from speechpress.compressor.targets import Target
from speechpress.runtime.verify import verify

out = Path(sys.argv[2])
target = Target("board", "a board whose accelerator multiplies matrices", "linear-only", "none", (320.0,))
plan = exporting.plan(open_source(sys.argv[1]), target, offline_s=0)
document = exporting.export(plan, out, allow_fallback=True)
checks = {check["name"]: check["ok"] for check in verify(out)["checks"]}
assert all(ok is not False for ok in checks.values()), checks
print(document["target"], document["parity"]["max_abs"])
"""


def edited(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path}: {old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_backend_is_added_in_three_files(small_checkpoint, tmp_path):
    package = tmp_path / "site" / "speechpress"
    for folder in ("compressor", "runtime", "devices", "recipes"):
        shutil.copytree(ROOT / folder, package / folder, ignore=shutil.ignore_patterns("__pycache__", "android", "cpp"))
    (package / "__init__.py").touch()
    edited(
        package / "compressor/targets.py",
        'BACKENDS = {"xnnpack"',
        'BACKENDS = {"linear-only": Backend(("none",), runs_here=True), "xnnpack"',
    )
    edited(
        package / "compressor/export/backends.py",
        'PARTITIONERS: dict[str, Callable[[], Any]] = {"xnnpack"',
        "def _linear_only() -> Any:\n"
        "    from executorch.backends.xnnpack.partition.config.gemm_configs import LinearConfig\n"
        "    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner\n\n"
        "    return XnnpackPartitioner(configs=[LinearConfig])\n\n\n"
        'PARTITIONERS: dict[str, Callable[[], Any]] = {"linear-only": _linear_only, "xnnpack"',
    )
    edited(
        package / "runtime/engine.py", 'BACKENDS = {"xnnpack"', 'BACKENDS = {"linear-only": "XnnpackBackend", "xnnpack"'
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(small_checkpoint), str(tmp_path / "bundle")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    target, max_abs = done.stdout.splitlines()[-1].split()
    assert target == "board" and float(max_abs) < 1e-4
