"""Checks of an installation, each with what to do when it fails."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.native import health
from speechpress.runtime.native.health import Check

from .. import starter
from ..targets import BACKENDS, EXECUTORCH

CACHE_GB, TEMPORARY_GB = 1.0, 0.5  # a base teacher in the hub cache, and a bundle


def examine() -> list[Check]:
    """Every check as {name, ok, detail, fix}."""
    return [
        python(),
        torch(),
        executorch(),
        *health.checks(),
        torchaudio(),
        on_path(),
        starter_files(),
        microphones(),
        adb(),
        ssh(),
        *cache_folders(),
    ]


def python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    # The same range as in pyproject.toml.
    ok = (3, 11) <= sys.version_info[:2] < (3, 14)
    return health.check("python", ok, found, "use Python 3.11 to 3.13")


def torch() -> Check:
    try:
        found = version("torch")
    except PackageNotFoundError:
        return health.check("torch", False, "not installed", "pip install 'torch>=2.13,<2.14'")
    return health.check(
        "torch", found.startswith("2.13."), found, "pip install 'torch>=2.13,<2.14' (ExecuTorch 1.5's range)"
    )


def executorch() -> Check:
    """It must be imported and know its CPU backend; a torch of another version makes its library unloadable."""
    from speechpress.runtime.engine import BACKENDS as registered

    fix = "pip install 'executorch>=1.5.1,<1.6' 'torch>=2.13,<2.14'"
    code = "from speechpress.runtime.native.choose import bindings; print(bindings().backends())"
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        return health.check("executorch", False, f"cannot be imported: {reason}", fix)
    # Others are lowered here and run on the device, so that they need not be registered.
    here = [name for name, backend in BACKENDS.items() if backend.runs_here and backend.runtime == EXECUTORCH]
    lacking = [name for name in here if registered[name] not in tried.stdout]
    detail = f"lacks {', '.join(lacking)}" if lacking else f"{version('executorch')}, runs {', '.join(here)}"
    return health.check("executorch", not lacking, detail, fix)


def torchaudio() -> Check:
    """torchaudio is optional, but one that cannot be imported breaks other libraries that try to."""
    # Found, not imported: see below what an import may do.
    if find_spec("torchaudio") is None:
        return health.check("torchaudio", True, "not installed (only needed for torchaudio:NAME teachers)", "")
    tried = subprocess.run([sys.executable, "-c", "import torchaudio"], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return health.check("torchaudio", True, version("torchaudio"), "")
    # A library that is missing may end the process without a word.
    reason = (tried.stderr.strip().splitlines() or [f"its import ended with code {tried.returncode}"])[-1]
    fix = "pip uninstall torchaudio, or install the build that fits your torch"
    return health.check("torchaudio", False, f"cannot be imported: {reason}", fix)


def on_path() -> Check:
    """`compress` is also an old Unix utility."""
    found = shutil.which("compress")
    # By its text: an entry point is a few lines that import us, the Unix tool is a binary.
    ours = found is not None and "speechpress" in Path(found).read_text(encoding="utf-8", errors="replace")[:2000]
    return health.check(
        "compress on PATH", ours, str(found), "call it `speechpress`, or put this environment's bin first on PATH"
    )


def starter_files() -> Check:
    missing = [str(path) for path in (starter.TEACHER, starter.SPEECH) if not path.is_dir()]
    detail = f"missing: {', '.join(missing)}" if missing else str(starter.HERE)
    return health.check("starter", not missing, detail, "reinstall the package")


def microphones() -> Check:
    """The demo needs PortAudio and a microphone; nothing else does, so that their absence is no failure."""
    if find_spec("sounddevice") is None:
        return health.check("microphones", True, "sounddevice is not installed (only needed for a live microphone)", "")
    # In another process, which keeps what ALSA and PortAudio write to stderr from people.
    code = (
        "import sounddevice as s; print(*[d['name'] for d in s.query_devices() if d['max_input_channels']], sep=', ')"
    )
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        fix = "install PortAudio: sudo apt-get install libportaudio2, or brew install portaudio"
        return health.check("microphones", True, f"no live microphone ({reason}), recordings can be used; {fix}", "")
    return health.check("microphones", True, tried.stdout.strip() or "none is connected; recordings can be used", "")


def adb() -> Check:
    """Phones are reached through adb; without phones it is not missed."""
    from speechpress.devices.adb import INSTALL, connected

    if shutil.which("adb") is None:
        return health.check("adb", True, f"not installed (only needed for phones); {INSTALL}", "")
    try:
        phones = connected()
    except SpeechpressError as error:
        return health.check("adb", False, str(error), "adb kill-server, then adb devices")
    wrong = [f"{phone['address']} {phone['fix']}" for phone in phones if phone["fix"]]
    if wrong:
        return health.check("adb", False, "; ".join(wrong), "then: adb devices")
    return health.check("adb", True, ", ".join(phone["address"] for phone in phones) or "no phone is connected", "")


def ssh() -> Check:
    missing = [name for name in ("ssh", "scp") if shutil.which(name) is None]
    detail = f"{', '.join(missing)} not installed (only needed for boards)" if missing else str(shutil.which("ssh"))
    # Never a failure: without boards it is not missed.
    return health.check("ssh", True, detail, "")


def cache_folders() -> list[Check]:
    """Where weights are downloaded to, and where temporary files go."""
    # As huggingface_hub looks for it, without its import.
    hub, temporary = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"), Path(gettempdir())
    return [space("cache", hub, CACHE_GB, "HF_HOME"), space("temporary files", temporary, TEMPORARY_GB, "TMPDIR")]


def space(name: str, folder: Path, wanted_gb: float, variable: str) -> Check:
    """Whether a folder, or what would hold it, can be written and has room."""
    # The folder may not be there yet; its disk is that of the nearest one above.
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free_gb = shutil.disk_usage(there).free / 1e9
    if not os.access(there, os.W_OK):
        return health.check(name, False, f"{folder} cannot be written", f"set {variable} to a folder that can")
    fix = f"free some space, or set {variable} to another folder ({wanted_gb:g} GB needed)"
    return health.check(name, free_gb >= wanted_gb, f"{folder}, {free_gb:.1f} GB free", fix)
