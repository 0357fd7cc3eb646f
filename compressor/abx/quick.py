"""What `compress eval` measures without a suite: `voices` on the speech in the package, else probes of labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechpress.runtime.errors import SpeechpressError

from ..models.events import OnText
from .asked import UNTRAINED, VOICES

if TYPE_CHECKING:
    from ..models.encoder import Encoder

PROBES = "ks,sid"


def quick_tasks(tasks: str | None, data: Path | None) -> tuple[bool, Sequence[str]]:
    """Whether `voices` is asked for, and the other tasks; by default it alone, with a labelled folder ks and sid.

    Raises SpeechpressError for a task that is not known, and for `voices` on other speech.
    """
    from ..tasks.suites import quick_names

    asked = (VOICES if data is None else PROBES) if tasks is None else tasks
    names = quick_names(asked.split(","), [VOICES])
    if VOICES in names and data is not None:
        raise SpeechpressError(
            f"eval: the task {VOICES!r} is made of the speech in the package; leave out --data, or choose {PROBES}"
        )
    return VOICES in names, [name for name in names if name != VOICES]


def quick(source: str | Path, data: Path | None, tasks: str | None, **settings: Any) -> dict[str, Any]:
    """The document of `evaluate.quick.evaluate`, with `voices` where it is asked for. Raises as that does."""
    wanted, rest = quick_tasks(tasks, data)
    from ..evaluate.quick import evaluate
    from .voices import voices

    return evaluate(source, data, rest, measures={VOICES: voices} if wanted else {}, **settings)


def compared(source: str | Path, untrained: "Encoder | None", device: str, listen: OnText) -> dict[str, Any]:
    """`voices` alone, of a run that has just ended, also of its student before the first step, where that is given.

    What a student had from its teacher's weights before any training must not look like something that it has learned.

    Raises SpeechpressError for what cannot be opened or heard.
    """
    from ..evaluate.lineup import open_comparison
    from ..evaluate.upstreams import encoder_upstream
    from .voices import voices

    comparison = open_comparison(source, device=device)
    if untrained is not None:
        comparison.upstreams[UNTRAINED] = encoder_upstream(untrained.to(device))
    return voices(comparison, device, listen)
