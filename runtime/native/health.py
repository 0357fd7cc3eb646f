"""Checks of what computes, for `compress doctor` and for `speechpress-doctor`, each with what to do when it fails."""

import platform
import signal
import subprocess
import sys
from typing import Any

from ..errors import SpeechpressError
from . import pairing
from .processor import CPUINFO, HEAD_BYTES

Check = dict[str, Any]
OLDEST_GLIBC = (2, 28)  # of the wheel, as its name says
# By one of which a processor multiplies and adds 8-bit numbers in one instruction: x86, then arm64.
DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def checks() -> list[Check]:
    """Every check as {name, ok, detail, fix}."""
    return [processor(), system_library(), versions(), engine(), golden_clip()]


def check(name: str, ok: bool, detail: str, fix: str) -> Check:
    return {"name": name, "ok": ok, "detail": detail, "fix": "" if ok else fix}


def processor() -> Check:
    """Whether int8 is as fast as it can be; never a failure, because every processor runs it somehow."""
    machine = platform.machine()
    try:
        with CPUINFO.open("rb") as file:
            words = file.read(HEAD_BYTES).decode(errors="replace").split()
    except OSError:  # a Mac, all of whose processors have them
        return check("processor", True, machine, "")
    found = [name for name in DOT_PRODUCTS if name in words]
    without = "without dot products of 8-bit numbers: int8 runs, but saves less time than elsewhere"
    return check("processor", True, f"{machine}, {', '.join(found) or without}", "")


def system_library() -> Check:
    """What the wheel's libraries are linked with on Linux."""
    if sys.platform != "linux":
        return check("C library", True, platform.platform(), "")
    name, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    ok = name == "glibc" and numbers >= OLDEST_GLIBC
    fix = "the wheel needs glibc 2.28 or newer: update the system, or build it here, from a checkout, with: "
    fix += "pip install ./runtime"
    return check("C library", ok, f"{name or 'no glibc'} {version}".strip(), fix)


def versions() -> Check:
    """Of the two distributions that share this code."""
    found = pairing.installed_pair()
    if found is None:
        return check("versions", True, "one of speechpress and speechpress-runtime alone", "")
    same = found[0] == found[1]
    detail = f"speechpress and speechpress-runtime {found[0]}" if same else pairing.words(*found)
    return check("versions", same, detail, pairing.cure(*found))


def engine() -> Check:
    """Which of the two runs bundles; in a process of its own, which a library for another processor may end."""
    # Marked, because native code may write to stdout as well; loaded, because a library runs code when it is.
    code = f"from {__package__}.choose import library; print('ENGINE', library().about)"
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = [line.removeprefix("ENGINE ") for line in tried.stdout.splitlines() if line.startswith("ENGINE ")]
    if tried.returncode == 0 and said:
        return check("engine", True, said[-1], "")
    fix = (
        "pip uninstall speechpress-runtime, or set SPEECHPRESS_ENGINE=bindings; or build it here: pip install ./runtime"
    )
    if tried.returncode == -signal.SIGILL:
        return check("engine", False, "the library needs instructions that this processor lacks", fix)
    reason = (tried.stderr.strip().splitlines() or [f"ended with code {tried.returncode}"])[-1]
    return check("engine", False, f"cannot be loaded: {reason}", fix)


def golden_clip() -> Check:
    """Whether this machine computes what the checkpoint of the shipped bundle did; run in a process of its own."""
    from ..choice import SHIPPED
    from ..verify import verify

    fix = "reinstall the package, and what the checks above name"
    try:
        # None is a check that was not made, which is no failure.
        wrong = [found for found in verify(SHIPPED)["checks"] if found["ok"] is False]
    except SpeechpressError as error:
        return check("golden clip", False, str(error), fix)
    detail = "; ".join(f"{found['name']}: {found['detail']}" for found in wrong)
    return check("golden clip", not wrong, detail or "the built-in bundle gives the expected outputs", fix)
