"""Who speaks: for each of the tracks, which may overlap, its stretches of speech. See docs/answers.md.

Shapes: n frames, W tracks.
"""

from .activity import Activity, ended, heard, silent
from .event import Event
from .head_spec import HeadSpec
from .parts import DecoderState, Outputs, Wait, advanced, check_labels, rows, sigmoid


class SegmentDecoder:
    """See `decode.Decoder`. Logits have a column for each label, and each column is decided by itself."""

    def __init__(self, spec: HeadSpec) -> None:
        check_labels(spec, 1)
        self.spec, self.activity = spec, Activity(spec)

    def initial_state(self) -> DecoderState:
        return {"frames": 0, "number": 0, "tracks": [silent() for _ in self.spec.labels]}

    def wait(self) -> Wait:
        return self.activity.wait()

    def step(self, outputs: Outputs, first: int, state: DecoderState) -> tuple[list[Event], DecoderState]:
        logits, state = rows(self.spec, outputs, "logits"), advanced(state, first)
        return heard(self.activity, self.spec.labels, sigmoid(logits).tolist(), state), state

    def finish(self, state: DecoderState) -> list[Event]:
        return ended(self.activity, self.spec.labels, state)
