"""A stream of chunks as the demo's worker gives them, with the answers of one head of every kind."""

import itertools

import numpy as np

from speechpress.runtime.answers.event import Event
from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.demo.worker import Chunk

CHUNK_S, FRAME_S = 0.08, 0.02
PHONES = (
    "DH",
    "AH0",
    "K",
    "W",
    "IH1",
    "K",
    "B",
    "R",
    "AW1",
    "N",
    "F",
    "AA1",
    "K",
    "S",
    "JH",
    "OW0",
    "V",
    "ER0",
    "SH",
    "NG",
)
HEADS = (
    HeadSpec("voice", "vad", ("speech",)),
    HeadSpec("phones", "ctc", ("", *dict.fromkeys(PHONES))),
    HeadSpec("letters", "ctc", ("", *"abcdefghijklmnopqrstuvwxyz ")),
    HeadSpec("mood", "classify", ("happy", "neutral", "sad")),
    HeadSpec("turns", "segment", ("first", "second")),
    HeadSpec("units", "units"),
    HeadSpec("who", "speaker"),
    HeadSpec("wake", "words", ("computer",)),
)
LATE_S = 0.2  # from the end of what an event is about to the event


def spoken(until_s: float) -> list[Event]:
    """Everything that the heads say of so many seconds; final but for the vectors, as in a stream that goes on."""
    told = [Event("voice", "vad", k, "speech", s, min(s + 1.4, until_s), 0.9) for k, s in every(2.0, 0.3, until_s)]
    told += [Event("phones", "ctc", k, PHONES[k % len(PHONES)], s, s + 0.06, 0.8) for k, s in every(0.08, 0.3, until_s)]
    letters = "the quick brown fox jumps over the lazy dog "
    told += [
        Event("letters", "ctc", k, letters[k % len(letters)], s, s + 0.06, 0.7) for k, s in every(0.07, 0.3, until_s)
    ]
    moods = ("neutral", "happy", "sad")
    told += [Event("mood", "classify", k, moods[k % 3], s, s + 1.0, 0.61) for k, s in every(1.0, 0.0, until_s)]
    told += [
        Event("turns", "segment", k, ("first", "second")[k % 2], s, s + 1.2, 0.9) for k, s in every(0.9, 0.2, until_s)
    ]
    told += [Event("units", "units", k, str(7 * k % 50), s, s + 0.06, 1.0) for k, s in every(0.06, 0.0, until_s)]
    told += [Event("who", "speaker", k, "", 0.0, s + 1.0, 0.73, vector=(0.6, 0.8)) for k, s in every(1.0, 0.0, until_s)]
    return told + [
        Event("wake", "words", k, "computer", s, s + 0.5, 0.88) for k, s in every(2.5, 1.0, until_s - LATE_S)
    ]


def every(step_s: float, first_s: float, until_s: float) -> list[tuple[int, float]]:
    return [
        (k, first_s + k * step_s) for k in itertools.takewhile(lambda k: first_s + k * step_s < until_s, range(10**6))
    ]


def chunks(seconds: float, infer_ms: float = 3.0, heads=HEADS):
    """Chunks of CHUNK_S with colours and levels that move; each event comes LATE_S after its end, once."""
    rng = np.random.default_rng(0)
    names = {head.name for head in heads}
    said = [event for event in spoken(seconds) if event.head in names]
    waiting = sorted(said, key=lambda event: (event.end_s, event.number))
    for number in range(round(seconds / CHUNK_S)):
        t_s = CHUNK_S * (number + 1)
        levels = (-35 + 22 * np.sin(2.1 * t_s + np.arange(4) / 9)).astype(np.float32)
        hue = np.array([[np.sin(3 * t_s), np.sin(1.7 * t_s), np.sin(5 * t_s + 1)]])
        colours = np.clip(130 + 90 * hue + rng.normal(0, 9, (4, 3)), 0, 255).astype(np.uint8)
        ready = tuple(event for event in waiting if event.end_s + LATE_S <= t_s)
        waiting = waiting[len(ready) :]
        frames = np.zeros((4, 8), np.float32)
        yield Chunk(t_s, frames, levels, colours, infer_ms, 0, (), 0.0, ready, t_s)
