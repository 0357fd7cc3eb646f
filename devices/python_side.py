"""The far side where Python with an engine is: our `runtime` in a zip, and its measuring program.

The engine there is speechpress-runtime's native one, or else ExecuTorch's Python bindings with torch.
"""

import json
import shlex
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from .. import runtime
from ..runtime.bundle import DOCUMENT, GOLDEN, PROGRAM, Bundle
from ..runtime.errors import SpeechpressError
from ..runtime.json_file import json_text
from .device import Device
from .process import Lines, TimedOut
from .workspace import check_end

ZIP = "speechpress-runtime.zip"
LIGHT, NEEDED = "speechpress_runtime", ("numpy", "torch", "executorch")
# find_spec and not an import: importing torch is slow on a board.
LOOK = (
    f"import sys, importlib.util as u; n = ['numpy'] if u.find_spec({LIGHT!r}) else {NEEDED!r}; "
    "print('.'.join(map(str, sys.version_info[:2])), *[m for m in n if u.find_spec(m) is None])"
)
SAYING = "If it happens again, try --threads 1, and run `compress verify` on the bundle here"


def missing(device: Device) -> str | None:
    """What the device's Python lacks, as words; None when it has everything."""
    python = shlex.quote(device.python or "python3")
    done = device.shell(f"{python} -c {shlex.quote(LOOK)}", timeout_s=60)
    if done.code:
        return f"{device.python} does not run there ({done.words})"
    version, *packages = done.out.split()
    if tuple(map(int, version.split("."))) < (3, 11):
        return f"{device.python} there is Python {version}, and 3.11 or newer is needed"
    return f"{device.python} there has no {', '.join(packages)}" if packages else None


def pack(folder: Path) -> Path:
    """Our `runtime` as a zip that Python imports from; its path."""
    path = folder / ZIP
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("speechpress/__init__.py", "")  # without it the zip holds no package of this name
        core = resources.files(runtime.__name__)  # under which this package is installed: speechpress or its light half
        for inside in ("", "answers/", "hub/", "native/", "students/"):
            for file in sorted(core.joinpath(inside).iterdir(), key=lambda item: item.name):
                # The core only: the demo beside it needs libraries that no board has.
                if file.name.endswith(".py"):
                    archive.writestr(f"speechpress/runtime/{inside}{file.name}", file.read_bytes())
    return path


class PythonSide:
    """Runs `speechpress.runtime.measure` on a device."""

    name = "python"

    def __init__(self, device: Device, silence_s: float) -> None:
        self.device, self.silence_s = device, silence_s

    def files(self, bundle: Bundle, folder: Path) -> list[Path]:
        return [pack(folder), *(bundle.path / name for name in (DOCUMENT, PROGRAM, GOLDEN))]

    def events(self, folder: str, phase: str, settings: dict[str, Any]) -> "Events":
        """Start one phase in that folder, whose events are then heard."""
        # ASCII, because the device's locale may know nothing else.
        text, there = shlex.quote(json_text(settings, ascii=True)), shlex.quote(folder)
        script = (
            f"cd {there} || exit 1; printf %s {text} > settings.json; echo $$ > pid; "
            # -u: lines must come at once, or a lost connection loses what was measured.
            # What PYTHONPATH held stays: `missing` looked there as well.
            f"PYTHONPATH={there}/{ZIP}${{PYTHONPATH:+:$PYTHONPATH}} "
            f"exec {shlex.quote(self.device.python or 'python3')} -u "
            f"-m speechpress.runtime.measure {phase} settings.json"
        )
        return Events(self.device, self.device.start(script, self.silence_s))


class Events:
    """What the far side says, one dict at a time."""

    def __init__(self, device: Device, lines: Lines) -> None:
        self.device, self.lines = device, lines

    def stop(self) -> None:
        """Let it end soon; its last events are still to be heard."""
        self.lines.stop()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Raises SpeechpressError when it fails, crashes, hangs or the device is lost."""
        failure = None
        try:
            for line in self.lines:
                event = _event(line)
                if event.get("event") == "error":
                    # Raised at the end, when it is known that the process is gone.
                    failure = SpeechpressError(f"{self.device.address}: {event['message']}")
                elif event:
                    yield event
        except TimedOut as error:
            done = self.lines.end(patience_s=1.0)
            raise self.device.explain(done) or TimedOut(
                f"{self.device.address}: the program hangs ({error}) and was ended. A slow device may need a larger "
                f"--timeout. {SAYING}"
            ) from error
        done = self.lines.end()
        if failure is not None:
            raise failure
        if done.code:
            raise self.device.explain(done) or check_end(self.device, done.code, SAYING, done.words)


def _event(line: str) -> dict[str, Any]:
    """Other programs may write to the same output: what is no event is not ours."""
    if not line.startswith("{"):
        return {}
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) and "event" in value else {}
