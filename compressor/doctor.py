"""Checks of an installation, each with what to do when it fails."""

import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import starter

Check = dict[str, Any]


def examine() -> list[Check]:
    """Every check as {name, ok, detail, fix}."""
    return [python(), torch(), executorch(), torchaudio(), on_path(), starter_files()]


def python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    ok = (3, 11) <= sys.version_info[:2] < (3, 14)
    return _check("python", ok, found, "use Python 3.11 to 3.13")


def torch() -> Check:
    try:
        found = version("torch")
    except PackageNotFoundError:
        return _check("torch", False, "not installed", "pip install 'torch>=2.13,<2.14'")
    return _check("torch", found.startswith("2.13."), found, "pip install 'torch>=2.13,<2.14' (ExecuTorch 1.5's range)")


def executorch() -> Check:
    """It must be imported and know its CPU backend; a torch of another version makes its library unloadable."""
    fix = "pip install 'executorch>=1.5.1,<1.6' 'torch>=2.13,<2.14'"
    code = "from speechpress.runtime.engine import import_executorch as i; print(i()._get_registered_backend_names())"
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or ["no word of why"])[-1]
        return _check("executorch", False, f"cannot be imported: {reason}", fix)
    detail = f"{version('executorch')}, runs XNNPACK"
    return _check("executorch", "XnnpackBackend" in tried.stdout, detail, fix)


def torchaudio() -> Check:
    """torchaudio is optional, but one that cannot be imported breaks other libraries that try to."""
    if find_spec("torchaudio") is None:
        return _check("torchaudio", True, "not installed (only needed for torchaudio:NAME teachers)", "")
    tried = subprocess.run([sys.executable, "-c", "import torchaudio"], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return _check("torchaudio", True, version("torchaudio"), "")
    reason = tried.stderr.strip().splitlines()[-1]
    fix = "pip uninstall torchaudio, or install the build that fits your torch"
    return _check("torchaudio", False, f"cannot be imported: {reason}", fix)


def on_path() -> Check:
    """`compress` is also an old Unix utility."""
    found = shutil.which("compress")
    ours = found is not None and "speechpress" in Path(found).read_text(encoding="utf-8", errors="replace")[:2000]
    return _check(
        "compress on PATH", ours, str(found), "call it `speechpress`, or put this environment's bin first on PATH"
    )


def starter_files() -> Check:
    missing = [str(path) for path in (starter.TEACHER, starter.SPEECH) if not path.is_dir()]
    detail = f"missing: {', '.join(missing)}" if missing else str(starter.HERE)
    return _check("starter", not missing, detail, "install the package again")


def _check(name: str, ok: bool, detail: str, fix: str) -> Check:
    return {"name": name, "ok": ok, "detail": detail, "fix": "" if ok else fix}
