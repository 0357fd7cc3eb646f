"""The far side without Python: `speechpress-run`, the native runner of docs/cpp.md, pushed along with the bundle.

It times every chunk itself and writes a line for each; the frames of the golden clip come back and are compared here.
"""

import json
import shlex
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..runtime.bundle import DOCUMENT, PROGRAM, Bundle
from ..runtime.errors import SpeechpressError
from ..runtime.parity import compare_layers, within
from .device import Device
from .process import Lines, TimedOut
from .workspace import check_end

RUNNER, BUILT = "speechpress-run", Path("build/android/speechpress-run")
CLIP, FRAMES = "golden.wav", "frames.f32"
TRACED_REPEATS = 2
FLOAT = 3  # the coding of a wav file
MACHINES = {62: "x86_64", 183: "arm64", 40: "arm", 3: "x86"}  # e_machine of an ELF header
SAYING = "Does its ExecuTorch fit the bundle's (docs/cpp.md)?"
Event = dict[str, Any]


def find(given: Path | None, device: Device, facts: dict[str, Any]) -> Path:
    """The runner to push; raises SpeechpressError when there is none, or it is for another processor."""
    path = given or BUILT
    if not path.is_file():
        where = f"{path} does not exist" if given else f"none was given, and there is none at {BUILT}"
        raise SpeechpressError(
            f"{device.address}: needs the native runner {RUNNER}, but {where}. Build it as docs/cpp.md says (for "
            "a phone with the Android NDK, under 'Android'), then: --runner PATH"
        )
    # Checked here: on the device it would only be "not executable" or a crash.
    built_for = machine(path)
    if facts["abi"] and built_for != facts["abi"]:
        raise SpeechpressError(
            f"{path}: is built for {built_for}, but {device.address} is {facts['abi']}; build it for that (docs/cpp.md)"
        )
    return path


def machine(path: Path) -> str:
    """The processor that a program is for; raises SpeechpressError when it is no ELF program."""
    head = path.open("rb").read(20)
    if head[:4] != b"\x7fELF" or len(head) < 20:
        raise SpeechpressError(f"{path}: is not a program for Linux or Android; build {RUNNER} as docs/cpp.md says")
    (number,) = struct.unpack_from("<H", head, 18)
    return MACHINES.get(number, f"machine {number}")


class NativeSide:
    """Runs `speechpress-run` on a device."""

    name = "native"

    def __init__(self, device: Device, runner: Path, silence_s: float) -> None:
        self.device, self.runner, self.silence_s = device, runner, silence_s
        self.bundle: Bundle | None = None

    def files(self, bundle: Bundle, folder: Path) -> list[Path]:
        if not bundle.document["streams"]:
            raise SpeechpressError(f"{bundle.path}: does not stream, and {RUNNER} runs streams only")
        self.bundle = bundle
        write_clip(folder / CLIP, bundle.golden["audio"], bundle.document["audio"]["sample_rate"])
        # A runner that links ExecuTorch as libraries does not start without them.
        libraries = sorted(self.runner.parent.glob("libexecutorch*.so*"))
        return [self.runner, *libraries, bundle.program, bundle.path / DOCUMENT, folder / CLIP]

    def events(self, folder: str, phase: str, settings: dict[str, Any]) -> "NativeEvents":
        assert self.bundle is not None
        run = NativeRun(self, self.bundle, folder, settings)
        return NativeEvents(run, {"golden": run.golden, "time": run.timing, "trace": run.trace}[phase]())


class NativeEvents:
    """Events of one phase; `stop` ends the pace that is running, and those after it."""

    def __init__(self, run: "NativeRun", events: Iterator[Event]) -> None:
        self._run, self._events = run, events

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def stop(self) -> None:
        self._run.stopped = True
        if self._run.lines is not None:
            self._run.lines.end()
        self._events = iter(())


class NativeRun:
    """One phase of the runner, told in the events of `runtime.measure`."""

    def __init__(self, side: NativeSide, bundle: Bundle, folder: str, settings: dict[str, Any]) -> None:
        self.side, self.device, self.bundle = side, side.device, bundle
        self.folder, self.settings = folder, settings
        self.stopped = False
        self.lines: Lines | None = None

    def golden(self) -> Iterator[Event]:
        """The frames that the device makes of the golden clip against those of the checkpoint."""
        import numpy as np

        for _ in self._run(["--out", FRAMES]):
            pass
        frames_of = f"frames_{self.bundle.stream(self.settings['chunk_ms'])['chunk_frames']}"
        with tempfile.TemporaryDirectory() as own:
            self.device.pull(f"{self.folder}/{FRAMES}", Path(own) / FRAMES)
            values = np.fromfile(Path(own) / FRAMES, np.float32)
        width, tolerance = self.bundle.document["features"]["width"], self.bundle.document["tolerance"]
        # A run that was cut short may end within a frame; parity then tells that the shape is wrong.
        whole = values[: len(values) // width * width].reshape(-1, width)
        parity = compare_layers(whole, self.bundle.golden[frames_of], len(self.bundle.output_layers))
        # Infinity is no JSON, and the record goes into a file.
        finite = {name: value if abs(value) < float("inf") else None for name, value in parity.items()}
        versions = {"runner": self.side.runner.name}
        yield {"event": "start", "phase": "golden", "versions": versions}
        yield {"event": "engine", "name": "runner", "about": f"ExecuTorch in {self.side.runner.name}, without Python"}
        ok = within(parity, tolerance)
        yield {"event": "golden", "method": self.settings["method"], **finite, "ok": ok, "tolerance": tolerance}

    def timing(self) -> Iterator[Event]:
        """Every pace is a run of its own; load, first chunk and memory are those of the first."""
        for index, pace in enumerate(self.settings["paces"]):
            if not self.stopped:
                yield from self._pace(pace, index == 0)

    def _pace(self, pace: str, first: bool) -> Iterator[Event]:
        words = ["--times", "-", "--repeat", str(self._repeats(pace))] + (["--pace"] if pace == "real" else [])
        count, summary = 0, None
        for line in self._run(words):
            if line.startswith("{"):
                summary = json.loads(line)
            elif line.startswith("chunk "):
                count += 1
                yield from self._chunk(pace, first, count, line)
        # A runner of another version may end well without it.
        if summary is None:
            raise SpeechpressError(f"{self.device.address}: {RUNNER} ended without its summary; is it of this version?")
        if first:
            yield {"event": "end", "peak_rss_bytes": summary["peak_rss_bytes"] or None, "stopped": False}

    def _chunk(self, pace: str, first: bool, count: int, line: str) -> Iterator[Event]:
        """The first line also says how long loading took; what comes before the end of the warm-up is not timed."""
        _, load_ms, start_s, ms = line.split()
        if count == 1 and first:
            yield {"event": "load", "load_ms": float(load_ms), "first_chunk_ms": float(ms), "base_rss_bytes": None}
        if count == 1:
            yield {"event": "pace", "pace": pace}
        # + 1 for the first chunk, which is told by itself.
        if count > self.settings["warmup"] + 1:
            yield {"event": "chunks", "pace": pace, "start_s": [float(start_s)], "ms": [float(ms)]}

    def trace(self) -> Iterator[Event]:
        for _ in self._run(["--etdump", self.settings["trace"], "--repeat", str(TRACED_REPEATS)]):
            pass
        yield {"event": "traced", "method": self.settings["method"], "path": self.settings["trace"]}

    def _repeats(self, pace: str) -> int:
        """How often the clip has to be heard for so many chunks; only so much of it as fills whole chunks counts."""
        clip_s = len(self.bundle.golden["audio"]) / self.bundle.document["audio"]["sample_rate"]
        chunk_s = self.settings["chunk_ms"] / 1000
        if self.settings["duration_s"] is not None:
            return max(1, round(self.settings["duration_s"] / clip_s))
        chunks = self.settings["chunks"][pace] + self.settings["warmup"] + 1
        return max(1, -(-chunks // max(1, int(clip_s / chunk_s))))

    def _run(self, words: list[str]) -> Iterator[str]:
        """The runner's lines; raises SpeechpressError when it fails, crashes, hangs or the device is lost."""
        frames = self.bundle.stream(self.settings["chunk_ms"])["chunk_frames"]
        threads = str(self.settings["threads"])
        common = ["--wav", CLIP, "--chunk-frames", str(frames), "--threads", threads, "--json"]
        command = shlex.join([f"./{self.side.runner.name}", PROGRAM, *common, *words])
        script = (
            # `exec`: the pid that the watcher kills must be the runner's, not the shell's.
            f"cd {shlex.quote(self.folder)} || exit 1; chmod +x ./{shlex.quote(self.side.runner.name)}; echo $$ > pid; "
            f"export LD_LIBRARY_PATH=$PWD${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}; exec {self._pinned()}{command}"
        )
        self.lines = self.device.start(script, self.side.silence_s)
        try:
            yield from self.lines
        except TimedOut as error:
            # It was silent for long already.
            done = self.lines.end(patience_s=1.0)
            raise self.device.explain(done) or TimedOut(
                f"{self.device.address}: {RUNNER} hangs ({error}) and was ended. {SAYING}"
            ) from error
        done = self.lines.end()
        if done.code:
            raise self.device.explain(done) or check_end(self.device, done.code, SAYING, done.words)

    def _pinned(self) -> str:
        """`taskset` with a mask is the one form that Android's and Linux' know."""
        cores = self.settings["cores"]
        return f"taskset {sum(1 << core for core in cores):x} " if cores else ""


def write_clip(path: Path, audio: Any, sample_rate: int) -> None:
    """Write samples (S,) float32 as wav, in float32: 16 bits would change them."""
    import numpy as np

    data = np.ascontiguousarray(audio, "<f4").tobytes()
    form = struct.pack("<IHHIIHH", 16, FLOAT, 1, sample_rate, 4 * sample_rate, 4, 32)
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + form + b"data" + struct.pack("<I", len(data))
    path.write_bytes(head + data)
