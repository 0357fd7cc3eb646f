"""The microphone, through PortAudio. Its callback only queues; whoever reads does the work.

Shapes: S samples of one block.
"""

import queue
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..engine import quiet
from ..errors import SpeechpressError
from .sources import BLOCK_S, Block

QUEUE_S = 2.0  # so much waits for a busy worker; more is dropped, because nobody wants to see the past
SILENT_S = 2.0  # a microphone that gives nothing for so long is gone
HOW_TO_INSTALL = "install it with: apt install libportaudio2 (Linux), or: pip install --force-reinstall sounddevice"


@dataclass(frozen=True)
class InputDevice:
    """A microphone as PortAudio numbers it; `rate` in Hz is the one that it likes best."""

    index: int
    name: str
    channels: int
    rate: int
    default: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def import_sounddevice() -> Any:
    """The library; raises SpeechpressError when it or PortAudio is missing."""
    try:
        with quiet():  # ALSA complains on stderr of every kind of device that it does not find
            import sounddevice
    except ModuleNotFoundError as error:
        raise SpeechpressError("microphones need sounddevice; install it with: pip install sounddevice") from error
    except (ImportError, OSError) as error:
        raise SpeechpressError(f"microphones need PortAudio, which cannot be loaded ({error}); {HOW_TO_INSTALL}") from (
            error
        )
    return sounddevice


def microphones() -> list[InputDevice]:
    """What can record here; empty when nothing can. Raises SpeechpressError when PortAudio is missing."""
    library = import_sounddevice()
    default = library.default.device[0]
    return [
        InputDevice(
            index, found["name"], found["max_input_channels"], round(found["default_samplerate"]), index == default
        )
        for index, found in enumerate(library.query_devices())
        if found["max_input_channels"] > 0
    ]


def choose(wanted: int | str | None = None) -> InputDevice:
    """A microphone by its number or a part of its name; the system's default one when None.

    Raises SpeechpressError when there is none, with those that there are.
    """
    found = microphones()
    if not found:
        raise SpeechpressError(
            "there is no microphone on this machine; plug one in, show a recording with --wav FILE, "
            "or use the browser's with --web"
        )
    if wanted is None:
        # Some systems have microphones and no default one.
        return next((device for device in found if device.default), found[0])
    named = str(wanted).lower()
    # A number is never part of a name: "1" would fit half of all names.
    fits = [device for device in found if named == str(device.index)] or [
        device for device in found if not named.isdigit() and named in device.name.lower()
    ]
    if not fits:
        listed = "; ".join(f"{device.index} {device.name}" for device in found)
        raise SpeechpressError(f"--mic {wanted}: there is no such microphone. There are: {listed}")
    return fits[0]


class Microphone:
    """An open microphone, as a `sources.Source`.

    Args:
        device: from `choose`.
        sample_rate: in Hz; None takes 16 kHz if the device offers it, else its own rate.
        block_s: length of a block.

    Raises:
        SpeechpressError: the device refuses the rate, or is used by another program.
    """

    def __init__(self, device: InputDevice, sample_rate: int | None = None, block_s: float = BLOCK_S) -> None:
        self._library = import_sounddevice()
        self.name, self.device, self.dropped, self.overruns = device.name, device, 0, 0
        self.sample_rate = _rate(self._library, device, sample_rate)
        # Bounded: a worker that stands still must not fill the memory.
        self._blocks: queue.Queue[Block] = queue.Queue(maxsize=max(1, round(QUEUE_S / block_s)))
        self._last_s = time.perf_counter()
        try:
            self._stream = self._library.InputStream(
                samplerate=self.sample_rate,
                blocksize=round(block_s * self.sample_rate),
                device=device.index,
                channels=1,
                dtype="float32",
                # PortAudio's default is safe against gaps rather than quick; gaps are counted here.
                latency="low",
                callback=self._queue,
            )
            self._stream.start()
        except self._library.PortAudioError as error:
            raise SpeechpressError(
                f"{device.name}: cannot be opened ({_reason(error)}); does another program use it? "
                "Choose another one of compress demo --list-mics with --mic"
            ) from error

    def _queue(self, samples: np.ndarray, frames: int, times: Any, status: Any) -> None:
        """Called by PortAudio in its own thread: no work, no waiting."""
        self.overruns += bool(status.input_overflow)
        self._last_s = time.perf_counter()
        try:
            # A copy: PortAudio uses its buffer again after the callback.
            self._blocks.put_nowait(Block(samples[:, 0].copy(), self.sample_rate, self._last_s))
        except queue.Full:
            self.dropped += 1

    def read(self, timeout_s: float) -> Block | None:
        """See `sources.Source`; raises SpeechpressError when the microphone has fallen silent for good."""
        try:
            return self._blocks.get(timeout=timeout_s)
        except queue.Empty:
            gone_s = time.perf_counter() - self._last_s
            # Unplugged devices often give no error, they just stop calling back.
            if gone_s > SILENT_S or not self._stream.active:
                raise SpeechpressError(
                    f"{self.name}: the microphone stopped giving audio; was it unplugged? "
                    "Plug it in and start again, or choose another one with --mic"
                ) from None
            return None

    def discard(self) -> None:
        """Forget what waits; another source is listened to."""
        while not self._blocks.empty():
            self._blocks.get_nowait()

    def close(self) -> None:
        # `abort`, because `stop` waits for a device that may be gone.
        self._stream.abort(ignore_errors=True)
        self._stream.close(ignore_errors=True)


def _rate(library: Any, device: InputDevice, wanted: int | None) -> int:
    # 16 kHz first, because it needs no resampler, whose delay adds to the latency.
    for rate in [wanted] if wanted else [16_000, device.rate]:
        try:
            library.check_input_settings(device=device.index, channels=1, dtype="float32", samplerate=rate)
        except (library.PortAudioError, ValueError) as error:
            reason = _reason(error)
        else:
            return rate
    if wanted:
        raise SpeechpressError(
            f"{device.name}: refuses {wanted} Hz ({reason}); leave --rate out, or try --rate {device.rate}"
        )
    raise SpeechpressError(f"{device.name}: cannot record ({reason}); does another program use it?")


def _reason(error: Exception) -> str:
    # PortAudio appends its own number in brackets, which helps nobody.
    return str(error).splitlines()[0].split(" [")[0]
