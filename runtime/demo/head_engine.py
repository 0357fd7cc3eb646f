"""An engine whose frames are what a head of its bundle says: what taught words are looked for in, where there is one.

Shapes: C frames of a chunk, D width of the features, W columns of the head's output.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..answers.head_spec import HeadSpec
from ..stream import Engine, State, Step

if TYPE_CHECKING:
    from ..spec import StreamSpec

KIND, OUTPUT = "words", "vectors"


class HeadEngine:
    """Runs another engine; its frames are the outputs (1, C, W) of one head, or with `beside` come after the features.

    So whatever makes examples and backgrounds of features makes them of a head's outputs, unchanged.
    """

    spec: "StreamSpec"

    def __init__(self, engine: Engine, head: HeadSpec, beside: bool = False) -> None:
        self.engine, self.head, self._beside = engine, head, beside
        self.heads: tuple[HeadSpec, ...] = heads_of(engine)
        width = sum(head.widths)
        self.spec = replace(engine.spec, width=engine.spec.width + width if beside else width)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def initial_state(self) -> State:
        return self.engine.initial_state()

    def step(self, chunk: np.ndarray, state: State) -> Step:
        found = self.engine.step(chunk, state)
        said = found.answers[self.head.name][OUTPUT]
        return found._replace(frames=np.concatenate([found.frames, said], 2) if self._beside else said)


def heads_of(engine: Engine) -> tuple[HeadSpec, ...]:
    """The heads of an engine's program; an engine of an app's own need not have any."""
    return tuple(getattr(engine, "heads", ()))


def words_head(engine: Engine) -> HeadSpec | None:
    """The head by which taught words are found; None when the bundle has none."""
    return next((head for head in heads_of(engine) if head.kind == KIND), None)
