"""A real sound server whose microphone plays what a test gives it; PulseAudio in a folder of its own."""

import os
import shutil
import subprocess
import time
from pathlib import Path

NEEDS = ("pulseaudio", "paplay", "pactl")
MODULES = ("module-native-protocol-unix", "module-null-sink sink_name=virtual rate=16000 channels=1")


def missing() -> str:
    """Why there can be no virtual microphone here, or nothing."""
    absent = [name for name in NEEDS if shutil.which(name) is None]
    plugins = list(Path("/usr/lib").glob("**/libasound_module_pcm_pulse.so"))
    if absent or not plugins:
        return f"a virtual microphone needs {', '.join(absent) or 'libasound2-plugins'}"
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError) as error:
        return f"PortAudio cannot be loaded: {error}"
    return ""


class SoundServer:
    """`env` makes a program hear it as the microphone "pulse".

    With `pipe` the microphone hears the raw samples (16 kHz, s16le) that are written into that named pipe, as they
    come, instead of what is played; a null sink delays its sound by as much as half a second.
    """

    def __init__(self, folder: Path, pipe: Path | None = None) -> None:
        folder.mkdir(mode=0o700)
        self.env = {"XDG_RUNTIME_DIR": str(folder), "HOME": str(folder), "PULSE_RUNTIME_PATH": str(folder / "pulse")}
        flags = ["-n", "--exit-idle-time=-1", "--daemonize=no", "--disallow-exit"]
        source = f"module-pipe-source source_name=virtual file={pipe} format=s16le rate=16000 channels=1"
        for module in MODULES if pipe is None else (MODULES[0], source):
            flags += ["-L", module]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            ["pulseaudio", *flags], env={**os.environ, **self.env}, stdout=quiet, stderr=quiet
        )
        for _ in range(200):
            if self._run("pactl", "info").returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError("PulseAudio did not start")

    def play(self, wav: Path) -> subprocess.Popen:
        """Into the microphone; not waited for."""
        return subprocess.Popen(["paplay", "--device=virtual", str(wav)], env={**os.environ, **self.env})

    def _run(self, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(words, env={**os.environ, **self.env}, capture_output=True, check=False)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)
