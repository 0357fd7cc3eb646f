"""`speechpress-demo`: a bundle on a recording, a pipe or a microphone, in plain text."""

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .runtime.errors import SpeechpressError

if TYPE_CHECKING:
    from .runtime.demo.sources import Source


def main(words: list[str] | None = None) -> int:
    """Exit code 0, or 1 with what was wrong on stderr."""
    given = parser().parse_args(words)
    try:
        return listed() if given.list_mics else run(given)
    except SpeechpressError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except BrokenPipeError:
        # A reader that had enough, such as `head`; Python would complain when it writes the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser("speechpress-demo", description="What a bundle hears, live, in plain text.")
    found.add_argument(
        "bundle", nargs="?", type=Path, help="its folder, or USER/NAME on the Hub; else the one in the package"
    )
    source = found.add_mutually_exclusive_group()
    source.add_argument("--wav", type=Path, help="hear a file: plain WAV; with soundfile, of any format")
    source.add_argument("--mic", help="number or name of a microphone, see --list-mics; needs sounddevice")
    source.add_argument("--stdin", action="store_true", help="hear raw samples of one channel from a pipe")
    found.add_argument("--rate", type=int, help="sample rate of --mic or --stdin (16000 there), in Hz")
    found.add_argument("--format", default="s16le", help="samples of --stdin: s16le or f32le")
    found.add_argument("--chunk-ms", type=float, help="one of the bundle's chunk sizes; else its first")
    found.add_argument("--threads", type=int, default=1, help="threads to compute with (1)")
    found.add_argument("--list-mics", action="store_true", help="list the microphones, and leave")
    found.add_argument("--json", action="store_true", help="one JSON object per chunk on stdout")
    return found


def run(given: argparse.Namespace) -> int:
    from .runtime.choice import SHIPPED
    from .runtime.demo.view_lines import show_json, show_lines
    from .runtime.demo.worker import Stats, listen
    from .runtime.engine import PteEngine
    from .runtime.hub.fetch import local_folder
    from .runtime.hub.manifest import BUNDLE

    # The model before the source: audio that comes while it loads would be dropped.
    engine = PteEngine(local_folder(given.bundle or SHIPPED, BUNDLE), given.chunk_ms, given.threads)
    sys.stderr.write(f"{engine.bundle.name}, {engine.spec.chunk_ms:g} ms, {engine.program.library.about}\n")
    stats = Stats(engine.spec.chunk_ms)
    with contextlib.closing(opened(given)) as source:
        chunks = listen(source, engine)
        if given.json:
            show_json(chunks, sys.stdout)
        else:
            show_lines(chunks, stats, sys.stdout, engine.heads)
    sys.stdout.flush()
    return 0


def opened(given: argparse.Namespace) -> "Source":
    from .runtime.demo.sources import PcmSource, WavSource

    if given.wav is not None:
        if given.rate is not None:
            raise SpeechpressError("--rate is for --mic and --stdin; an audio file states its own rate")
        return WavSource(given.wav)
    if given.stdin:
        return PcmSource(sys.stdin.buffer, given.rate or 16_000, given.format)
    # Only here: a file or a pipe needs no PortAudio.
    from .runtime.demo.microphone import Microphone, choose

    return Microphone(choose(given.mic), given.rate)


def listed() -> int:
    from .runtime.demo.microphone import microphones

    found = microphones()
    lines = [f"{'*' if device.default else ' '} {device.index:3d}  {device.name}, {device.rate} Hz" for device in found]
    sys.stdout.write("\n".join(lines or ["there is no microphone on this machine; hear a recording with --wav"]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
