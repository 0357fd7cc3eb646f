"""From a probability per frame to stretches: hysteresis, minimum durations, hangover. Of `vad` and `segment`."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..schema import Kind, Real
from .event import Event
from .head_spec import HeadSpec
from .parts import DecoderState, Wait, check_threshold, event, options, to_frames, to_ms

FIELDS: dict[str, Kind] = {
    "hysteresis": Real(0, 1),
    "min_speech_s": Real(0, 60),
    "min_silence_s": Real(0, 60),
    "hangover_s": Real(0, 60),
}


@dataclass(frozen=True)
class Options:
    """Parameters of the decoder; the threshold is the head's own, 0.5 where it has none.

    Attributes:
        hysteresis: how far below the threshold the probability must fall to end speech, 0 to 1.
        min_speech_s: seconds, 0 to 60; what is shorter is not told.
        min_silence_s: seconds, 0 to 60; what is shorter does not end speech.
        hangover_s: seconds of the silence after it that belong to speech, 0 to 60 and at most that silence.
    """

    hysteresis: float = 0.15
    min_speech_s: float = 0.1
    min_silence_s: float = 0.2
    hangover_s: float = 0.1


class Activity:
    """The machine of one track. Its state is a list: [told, number, first, last, sum, count, rest, rest count], first
    -1 in silence; `sum` is of the probabilities from the first to the last frame at or above the lower threshold,
    `rest` of those after it.
    """

    def __init__(self, spec: HeadSpec) -> None:
        check_threshold(spec)
        self.spec, self.options = spec, Options(**options(spec, FIELDS))
        self.on = 0.5 if spec.threshold is None else spec.threshold
        self.off = self.on - self.options.hysteresis
        self.min_speech = to_frames(spec, self.options.min_speech_s, 1)
        self.min_silence = to_frames(spec, self.options.min_silence_s, 1)
        self.hangover = to_frames(spec, self.options.hangover_s)

    def wait(self) -> Wait:
        return Wait(to_ms(self.spec, self.min_speech - 1), to_ms(self.spec, self.min_silence))

    def hear(self, track: list, label: str, probability: float, state: DecoderState) -> list[Event]:
        """The next frame of a track, whose state is changed; the head's `frames` is the number of this frame."""
        frame, first = state["frames"], track[2]
        if first < 0:
            if probability < self.on:
                return []
            track[:] = [False, -1, frame, frame, probability, 1, 0.0, 0]
        elif probability >= self.off:
            total, count = track[4] + track[6] + probability, track[5] + track[7] + 1
            track[3:] = [frame, total, count, 0.0, 0]
        else:
            track[6:] = [track[6] + probability, track[7] + 1]
            if not track[0]:
                track[:] = silent()
                return []
            return self.close(track, label, state) if track[7] >= self.min_silence else []
        if track[0] or frame - track[2] + 1 < self.min_speech:
            return []
        track[:2] = [True, state["number"]]
        state["number"] += 1
        return [event(self.spec, track[1], label, (track[2], frame), track[4] / track[5], final=False)]

    def close(self, track: list, label: str, state: DecoderState) -> list[Event]:
        """The end of speech, if it was told; the hangover ends at the last frame that was heard."""
        told, number, first, last, total, count, _, rest = track
        track[:] = silent()
        if not told:
            return []
        return [event(self.spec, number, label, (first, last + min(self.hangover, rest)), total / count)]


def silent() -> list:
    return [False, -1, -1, -1, 0.0, 0, 0.0, 0]


def heard(
    activity: Activity, labels: Sequence[str], rows: Sequence[Sequence[float]], state: DecoderState
) -> list[Event]:
    """Rows of probabilities, one for each track -> events; the state is changed."""
    events: list[Event] = []
    state["tracks"] = [list(track) for track in state["tracks"]]
    for row in rows:
        for track, label, probability in zip(state["tracks"], labels, row, strict=True):
            events += activity.hear(track, label, probability, state)
        state["frames"] += 1
    return events


def ended(activity: Activity, labels: Sequence[str], state: DecoderState) -> list[Event]:
    """What is left at the end of the stream."""
    pairs = zip(state["tracks"], labels, strict=True)
    return [found for track, label in pairs for found in activity.close(list(track), label, state)]
