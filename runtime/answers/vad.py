"""Speech or not: stretches of speech, told when they begin (partial) and when they end (final). See docs/answers.md.

Shapes: n frames.
"""

from ..errors import SpeechpressError
from .activity import Activity, ended, heard, silent
from .event import Event
from .head_spec import HeadSpec
from .parts import DecoderState, Outputs, Wait, advanced, rows, sigmoid, softmax

LABELS = ("speech",)


class VadDecoder:
    """See `decode.Decoder`. Logits have one column, of speech, or two, of silence and speech."""

    def __init__(self, spec: HeadSpec) -> None:
        if spec.widths and spec.widths[0] not in (1, 2):
            raise SpeechpressError(
                f"head {spec.name} (vad): has {spec.widths[0]} columns, but must have one (speech) or two (silence, "
                "speech); export it again"
            )
        self.spec, self.activity = spec, Activity(spec)

    def initial_state(self) -> DecoderState:
        return {"frames": 0, "number": 0, "tracks": [silent()]}

    def wait(self) -> Wait:
        return self.activity.wait()

    def step(self, outputs: Outputs, first: int, state: DecoderState) -> tuple[list[Event], DecoderState]:
        logits, state = rows(self.spec, outputs, "logits"), advanced(state, first)
        speech = sigmoid(logits) if logits.shape[1] == 1 else softmax(logits)[:, 1:]
        return heard(self.activity, LABELS, speech.tolist(), state), state

    def finish(self, state: DecoderState) -> list[Event]:
        return ended(self.activity, LABELS, state)
