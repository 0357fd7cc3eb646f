"""Whether this processor can run what was installed; for one that cannot, the system ends the process without a word.

Tried under QEMU: our library and ExecuTorch's run on every x86-64 processor, numpy's wheels of 2025's end and later on
those with SSE 4.2 only (x86-64-v2, since 2009).
"""

import os
from pathlib import Path

CPUINFO, HEAD_BYTES = Path("/proc/cpuinfo"), 8192  # of the first core; a server has hundreds
NUMPY_NEEDS = "sse4_2"


def check_processor() -> None:
    """Raises ImportError with what to do; to be called before numpy is imported."""
    if os.uname().machine != "x86_64":
        return
    try:
        with CPUINFO.open("rb") as file:
            text = file.read(HEAD_BYTES).decode(errors="replace")
    except OSError:  # a Mac, or a sandbox
        return
    if not fits(text):
        raise ImportError(
            "this processor has no SSE 4.2, which newer wheels of numpy need; install an older one: "
            "pip install 'numpy<2.3'"
        )


def fits(cpuinfo: str) -> bool:
    """Whether the first core has what numpy needs, or an older numpy is there; true where nothing is told."""
    flags = next((line.split() for line in cpuinfo.splitlines() if line.startswith("flags")), None)
    return flags is None or NUMPY_NEEDS in flags or _old_numpy()


def _old_numpy() -> bool:
    # Only here: asking for versions takes time.
    from importlib.metadata import version

    return tuple(map(int, version("numpy").split(".")[:2])) < (2, 3)
