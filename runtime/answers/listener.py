"""One head of one live stream: from the program's outputs, chunk by chunk, to events.

Shapes: C frames of a chunk, n of them that exist, W columns of an output.
"""

from collections.abc import Mapping

import numpy as np

from ..errors import SpeechpressError
from .decode import decoder_of
from .event import Event
from .head_spec import HeadSpec


class Listener:
    """A decoder and its state.

    Args:
        spec: of the head.

    Raises:
        SpeechpressError: see `decode.decoder_of`.
    """

    def __init__(self, spec: HeadSpec) -> None:
        self.spec, self.decoder = spec, decoder_of(spec)
        self.reset()

    def reset(self) -> None:
        """Forget everything that was heard."""
        self.state = self.decoder.initial_state()

    def hear(self, answers: Mapping[str, Mapping[str, np.ndarray]], kept: slice, first: int) -> list[Event]:
        """The outputs (1, C, W) or (1, 1, W) of a chunk, of which the frames `kept` exist, from number `first` on."""
        if self.spec.name not in answers:
            raise SpeechpressError(
                f"the engine gives no outputs of head {self.spec.name!r}, only of {', '.join(answers) or 'none'}"
            )
        frames = max(0, kept.stop - kept.start)
        if not frames:
            return []
        found, whole = answers[self.spec.name], "chunk" in self.spec.outputs.values()
        outputs = {name: x[0] if self.spec.outputs.get(name) == "chunk" else x[0, kept] for name, x in found.items()}
        events, self.state = self.decoder.step(outputs, first + frames if whole else first, self.state)
        return events

    def finish(self) -> list[Event]:
        """The stream has ended."""
        return self.decoder.finish(self.state)

    def latency(self, frame_ms: float) -> dict[str, float]:
        """How late its events are at worst; `frame_ms`: how late a frame is after the end of its hop."""
        late = frame_ms + self.spec.delay_ms
        return {name: late + wait for name, wait in self.decoder.wait()._asdict().items()}
