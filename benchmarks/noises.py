"""Noise, rooms and telephones: what taught words are tested in, and what a words head is trained in.

`speechpress[benchmarks]` brings pyroomacoustics, for the rooms. Shapes: S samples at 16 kHz.

A level in dB is of the speech above the noise, both over the stretch where there is speech; for a room it is that of
the direct sound above everything that comes later.
"""

from collections.abc import Callable, Sequence

import numpy as np
import soxr

RATE = 16_000
DIRECT_S = 0.003  # of a room's response that counts as direct, after its peak
NOISES = ("pink", "babble", "hum", "reverberation")
Draw = np.random.Generator


def pink(count: int, draw: Draw) -> np.ndarray:
    """(S,) with 3 dB less per octave, from 20 Hz on."""
    spectrum = np.fft.rfft(draw.standard_normal(count))
    frequency_hz = np.fft.rfftfreq(count, 1 / RATE)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency_hz, 20)), count).astype(np.float32)


def hum(count: int, draw: Draw) -> np.ndarray:
    """(S,) of mains at 50 or 60 Hz with its harmonics."""
    mains_hz, at_s = draw.choice([50.0, 60.0]), np.arange(count) / RATE
    parts = [
        np.sin(2 * np.pi * (mains_hz * k * at_s + draw.random())) / k ** draw.uniform(0.3, 1.2) for k in range(1, 20)
    ]
    return np.sum(parts, axis=0).astype(np.float32)


def babble(count: int, speech: Sequence[np.ndarray], draw: Draw, voices: int = 6) -> np.ndarray:
    """(S,) of several voices at once, each with the same power."""
    mixed = np.zeros(count, np.float32)
    for _ in range(voices):
        voice = np.zeros(0, np.float32)
        while len(voice) < count:
            voice = np.concatenate([voice, speech[draw.integers(len(speech))]])
        start = draw.integers(len(voice) - count + 1)
        mixed += voice[start : start + count] / (rms(voice) + 1e-9)
    return mixed


def rooms(number: int, seed: int) -> list[np.ndarray]:
    """Responses of shoebox rooms of random sizes and walls, with the talker one to four metres away."""
    import pyroomacoustics

    draw, found = np.random.default_rng(seed), []
    while len(found) < number:
        size = draw.uniform([3, 3, 2.4], [9, 7, 3.5])
        absorption, order = pyroomacoustics.inverse_sabine(draw.uniform(0.25, 0.8), size)
        room = pyroomacoustics.ShoeBox(
            size, fs=RATE, materials=pyroomacoustics.Material(absorption), max_order=min(order, 25)
        )
        room.add_source(draw.uniform(0.5, size - 0.5))
        room.add_microphone(draw.uniform(0.5, size - 0.5))
        room.compute_rir()
        found.append(np.asarray(room.rir[0][0], np.float32))
    return found


def reverberant(wave: np.ndarray, response: np.ndarray, level_db: float | None = None) -> np.ndarray:
    """The wave (S,) in a room; `level_db` sets its direct sound above the rest, None leaves that as the room has it."""
    first = int(np.abs(response).argmax())
    response = response[max(0, first - 16) :].copy()
    direct = slice(0, 16 + round(DIRECT_S * RATE))
    if level_db is not None:
        later = response.copy()
        later[direct] = 0
        share = np.sqrt(np.square(response[direct]).sum() / (np.square(later).sum() + 1e-12)) / 10 ** (level_db / 20)
        response = response + (share - 1) * later
    size = 1 << (len(wave) + len(response) - 1).bit_length()
    heard = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(response, size), size)[: len(wave)]
    return (heard * rms(wave) / (rms(heard) + 1e-9)).astype(np.float32)


def mixed(wave: np.ndarray, noise: np.ndarray, level_db: float, speech: np.ndarray | None = None) -> np.ndarray:
    """The wave (S,) under noise (S,), `level_db` above it; its power is taken over `speech`, a part of it."""
    power = rms(wave if speech is None else speech)
    return (wave + noise * power / (rms(noise) + 1e-9) / 10 ** (level_db / 20)).astype(np.float32)


def narrow(wave: np.ndarray) -> np.ndarray:
    """The same as if recorded at 8 kHz."""
    return soxr.resample(soxr.resample(wave, RATE, RATE // 2), RATE // 2, RATE)[: len(wave)]


def telephone(wave: np.ndarray, draw: Draw) -> np.ndarray:
    """Through a telephone: 300 to 3400 Hz, G.711's mu-law in 8 bits at 8 kHz."""
    low = soxr.resample(wave, RATE, RATE // 2)
    spectrum, frequency_hz = np.fft.rfft(low), np.fft.rfftfreq(len(low), 2 / RATE)
    edges = 1 / (1 + (draw.uniform(150, 350) / np.maximum(frequency_hz, 1)) ** 6) / (1 + (frequency_hz / 3500) ** 30)
    low = np.fft.irfft(spectrum * edges, len(low))
    scale = max(1e-9, float(np.abs(low).max())) * draw.uniform(1, 4)
    coded = np.round(np.sign(low) * np.log1p(255 * np.abs(low / scale)) / np.log(256) * 127) / 127
    heard = np.sign(coded) * (256 ** np.abs(coded) - 1) / 255 * scale
    wide = soxr.resample(heard, RATE // 2, RATE).astype(np.float32)[: len(wave)]
    return np.pad(wide, (0, len(wave) - len(wide)))


def rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.square(wave, dtype=np.float64).mean()))


def noisy(
    noise: str, level_db: float, speech: Sequence[np.ndarray], responses: Sequence[np.ndarray]
) -> Callable[[np.ndarray, np.ndarray, Draw], np.ndarray]:
    """A function (wave, its speech, draw) -> the wave in one of `NOISES`, with babble from `speech`."""

    def change(wave: np.ndarray, spoken: np.ndarray, draw: Draw) -> np.ndarray:
        if noise == "reverberation":
            return reverberant(wave, responses[draw.integers(len(responses))], level_db)
        made = {"pink": pink, "hum": hum}.get(noise)
        sound = babble(len(wave), speech, draw) if made is None else made(len(wave), draw)
        return mixed(wave, sound, level_db, spoken)

    return change
