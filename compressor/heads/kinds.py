"""The kinds of head, a row each: its module, what that is made from, and what its labels must be.

A new kind is a file with a `Head`, a row here, and its outputs in `runtime.answers.head_spec.KINDS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.schema import Kind, Whole, unfit

from .classify import Classify
from .ctc import Ctc
from .module import Head
from .segment import Segment
from .speaker import Speaker
from .units import Units
from .vad import Vad
from .words import WordsHead

MOST_LABELS = 65_536

Labels = tuple[str, ...]


def no_labels(labels: Labels, arguments: Mapping[str, int]) -> None:
    """For kinds that number their answers, or give vectors."""
    if labels:
        raise unfit("labels", list(labels), "empty for this kind")


def fixed(*names: str) -> Callable[[Labels, Mapping[str, int]], None]:
    """For kinds whose labels are the same in every head."""

    def check(labels: Labels, arguments: Mapping[str, int]) -> None:
        if labels != names:
            raise unfit("labels", list(labels), f"{list(names)}")

    return check


def classes(labels: Labels, arguments: Mapping[str, int]) -> None:
    """Two or more, each once, none empty."""
    _distinct(labels, 2, arguments["classes"])
    if "" in labels:
        raise unfit("labels", list(labels), "names of classes, none of them empty")


def tokens(labels: Labels, arguments: Mapping[str, int]) -> None:
    """The blank "" first, and an alphabet after it."""
    if len(labels) < 2:
        raise unfit("labels", list(labels), 'the blank "" and an alphabet of at least one label')
    _distinct(labels, 2, arguments["tokens"])
    if labels[0] or "" in labels[1:]:
        raise unfit("labels", list(labels), 'the blank "" first, and no other empty label')


def hidden_or_none(layers: int, arguments: Mapping[str, int]) -> None:
    """A convolution has channels, and a head without one has none."""
    if (arguments["kernel"] > 1) != (arguments["hidden"] > 0):
        raise unfit("arguments.hidden", arguments["hidden"], "above 0 with a kernel above 1, and 0 with kernel 1")


def one_layer(layers: int, arguments: Mapping[str, int]) -> None:
    """It is there."""
    if arguments["layer"] >= layers:
        raise unfit("arguments.layer", arguments["layer"], f"a layer from 0 to {layers - 1}")


def _distinct(labels: Labels, least: int, count: int) -> None:
    if len(labels) < least or len(labels) != count or len(set(labels)) < count:
        raise unfit("labels", list(labels), f"{count} different labels, at least {least}")


@dataclass(frozen=True)
class HeadKind:
    """A kind of head.

    Attributes:
        make: (layers, width, **arguments) -> the module; it has attributes of the arguments' names.
        arguments: what each of them may be.
        check_shape: raises `schema.Unfit` for arguments that contradict each other, given the number of layers.
        check_labels: raises `schema.Unfit` for labels that do not go with the arguments.
        decoder: parameters of its decoder, unless something else is asked for.
        labels: of every head of the kind, where they are always the same.
    """

    make: Callable[..., Head]
    arguments: Mapping[str, Kind]
    check_labels: Callable[[Labels, Mapping[str, int]], None] = no_labels
    decoder: Mapping[str, Any] = field(default_factory=dict)
    check_shape: Callable[[int, Mapping[str, int]], None] = lambda layers, arguments: None
    labels: Labels = ()

    def arguments_of(self, head: Head) -> dict[str, int]:
        """What `make` needs to make this one again, beside its layers and width."""
        return {name: getattr(head, name) for name in self.arguments}


_HIDDEN, _KERNEL = Whole(1, 8192), Whole(1, 255)
KINDS: dict[str, HeadKind] = {
    "classify": HeadKind(Classify, {"classes": Whole(2, MOST_LABELS)}, classes, {"window_s": 1.0}),
    "ctc": HeadKind(
        Ctc,
        {"tokens": Whole(2, MOST_LABELS), "kernel": _KERNEL, "hidden": Whole(0, 8192)},
        tokens,
        check_shape=hidden_or_none,
    ),
    "units": HeadKind(Units, {"units": Whole(1, MOST_LABELS), "layer": Whole(0, 1000)}, check_shape=one_layer),
    "speaker": HeadKind(Speaker, {"hidden": _HIDDEN, "embedding": _HIDDEN}),
    "vad": HeadKind(Vad, {"hidden": _HIDDEN, "kernel": _KERNEL}, fixed("speech"), labels=("speech",)),
    "segment": HeadKind(
        Segment,
        {"hidden": _HIDDEN, "kernel": _KERNEL, "depth": Whole(1, 10)},
        fixed("speaker 1", "speaker 2"),
        labels=("speaker 1", "speaker 2"),
    ),
    "words": HeadKind(WordsHead, {"embedding": _HIDDEN, "hidden": _HIDDEN, "kernel": Whole(2, 255)}),
}


def read_label_list(text: str) -> tuple[str, ...]:
    """Labels separated by commas, or the lines of a file.

    Raises SpeechpressError for none, or one that stands twice.
    """
    path = Path(text)
    try:
        words = path.read_text(encoding="utf-8").splitlines() if path.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise SpeechpressError(f"--labels {text}: cannot be read ({error})") from error
    labels = tuple(word if word == " " else word.strip() for word in words if word == " " or word.strip())
    if not labels:
        raise SpeechpressError("--labels: is empty, so there would be nothing to answer")
    if len(set(labels)) < len(labels):
        twice = next(name for name in labels if labels.count(name) > 1)
        raise SpeechpressError(f"--labels: {twice!r} stands twice")
    return labels
