"""Heads on disk: heads/NAME.safetensors in a checkpoint's folder, and what card.json says of them.

A file is whole by itself: its metadata holds the kind, the labels, how to decode, and the hash of the weights that it
was trained on, because on other weights its answers would be wrong without anybody noticing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.atomic import write_json
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.fetch import local_folder
from speechpress.runtime.hub.manifest import CHECKPOINT
from speechpress.runtime.json_file import json_text, read_json
from speechpress.runtime.schema import Anything, Fields, Items, Kind, Maybe, Real, Table, Text, Unfit, Whole, require

from ..models.checkpoint import CARD, WEIGHTS, read_config, read_shapes, read_tensors, sha256, write_tensors
from ..models.config import SAMPLE_RATE, EncoderConfig
from ..models.kept_heads import ENDING, KEY, check_fresh, head_document, head_names, head_path
from .kinds import KINDS, MOST_LABELS
from .module import Head

SCHEMA = 1
NAME = r"[a-z0-9][a-z0-9_-]{0,39}"
RESERVED = ("features", "frames", "all", "none")  # words that stand beside names of heads in `export --heads`

_METADATA: dict[str, Kind] = {
    "schema": Whole(1, SCHEMA),
    "kind": Text(choices=tuple(KINDS)),
    "layers": Whole(1, 1000),
    "width": Whole(1, 65_536),
    "arguments": Table(Whole()),
    "labels": Items(Text(200), most=MOST_LABELS),
    "decoder": Table(Anything(), 100),
    "threshold": Maybe(Real()),
    "delay_ms": Real(0, 60_000),
    "student_sha256": Text(pattern="[0-9a-f]{64}"),
    "card": Table(Anything(), 100),
}


@dataclass(frozen=True)
class KeptHead:
    """A head with all that is known of it.

    Attributes:
        name: its own within the checkpoint.
        kind: a key of `kinds.KINDS`.
        module: in eval mode.
        labels: of the columns of its logits; ctc: the first is the blank, "".
        decoder: parameters of its decoder.
        threshold: the score from which on it answers; None where it always does.
        delay_ms: how much later than its frame an answer is certain, beside the latency of the stream.
        student_sha256: of the model.safetensors that it was trained on.
        card: what card.json says of it: task, metric, data, seeds.
    """

    name: str
    kind: str
    module: Head
    labels: tuple[str, ...] = ()
    decoder: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    delay_ms: float = 0.0
    student_sha256: str = ""
    card: Mapping[str, Any] = field(default_factory=dict)

    def spec(self, config: EncoderConfig) -> HeadSpec:
        """What a bundle says of it."""
        return HeadSpec(
            name=self.name,
            kind=self.kind,
            labels=self.labels,
            widths=self.module.widths,
            hop_samples=config.hop_samples,
            receptive_samples=config.receptive_samples,
            sample_rate=SAMPLE_RATE,
            decoder=dict(self.decoder),
            threshold=self.threshold,
            delay_ms=self.delay_ms,
        )


def checked_name(name: str) -> str:
    """The name; raises SpeechpressError for what cannot be the name of a head."""
    try:
        require(name, Text(pattern=NAME))
    except Unfit:
        raise SpeechpressError(
            f"{name!r:.60} is not a name for a head: it has 1 to 40 small letters, digits, - and _, and begins with a "
            "letter or a digit"
        ) from None
    if name in RESERVED:
        raise SpeechpressError(f"{name!r} is not a name for a head: the word means something else in --heads")
    return name


def save_head(folder: Path, head: KeptHead) -> None:
    """Write a head into a checkpoint's folder, in the place of one of its name, and tell the card of it.

    The card comes second: a head without its line there is whole, a line without its head would be a lie.
    """
    checked_name(head.name)
    document = {
        "schema": SCHEMA,
        "kind": head.kind,
        "layers": head.module.layers,
        "width": head.module.width,
        "arguments": KINDS[head.kind].arguments_of(head.module),
        "labels": list(head.labels),
        "decoder": dict(head.decoder),
        "threshold": head.threshold,
        "delay_ms": head.delay_ms,
        "student_sha256": head.student_sha256,
        "card": dict(head.card),
    }
    path = head_path(folder, head.name)
    # What could not be read back must not be written.
    _check_document(document, str(path))
    write_tensors(path, head.module.state_dict(), {KEY: json_text(document)})
    write_card(folder, {head.name: head.card})


def write_card(folder: Path, heads: Mapping[str, Mapping[str, Any]]) -> None:
    """Put these heads' lines into card.json, beside those of other heads that still have a file."""
    path = folder / CARD
    card = read_json(path) if path.is_file() else {}
    told = card.get("heads") if isinstance(card.get("heads"), dict) else {}
    lines = {**(told or {}), **{name: dict(line) for name, line in heads.items()}}
    there = set(head_names(folder))
    write_json(path, {**card, "heads": {name: line for name, line in lines.items() if name in there}})


def read_heads(folder: str | Path, names: Iterable[str] | None = None) -> dict[str, KeptHead]:
    """The heads of a checkpoint folder that were named, in that order, or all of them.

    Raises:
        SpeechpressError: a head is not there, damaged, of a student of another width or depth, or its student's weights
            have changed since it was trained.
    """
    folder = local_folder(folder, CHECKPOINT)
    there = head_names(folder)
    chosen = there if names is None else list(dict.fromkeys(names))
    for name in chosen:
        if name not in there:
            raise SpeechpressError(
                f"{folder}: has no head {name!r}; it has {', '.join(there) or 'none, `compress head` trains one'}"
            )
    if not chosen:
        return {}
    config, weights = read_config(folder), sha256(folder / WEIGHTS)
    return {name: _fitting(read_head(head_path(folder, name)), folder, config, weights) for name in chosen}


def read_head(path: Path) -> KeptHead:
    """One file, whatever student it lies beside; raises SpeechpressError when it is damaged."""
    document = head_document(path)
    _check_document(document, str(path))
    shapes = read_shapes(path)
    module = _made(document)
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    if wanted != shapes:
        wrong = sorted(name for name in {*wanted, *shapes} if wanted.get(name) != shapes.get(name))[0]
        raise SpeechpressError(
            f"{path}: does not fit its own metadata: tensor {wrong!a:.80} is {shapes.get(wrong, 'missing')}, but must "
            f"be {wanted.get(wrong, 'absent')}"
        )
    tensors, _ = read_tensors(path)
    _check_numbers(tensors, path)
    module.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
    return KeptHead(
        name=path.name.removesuffix(ENDING),
        kind=document["kind"],
        module=module.eval().requires_grad_(False),
        labels=tuple(document["labels"]),
        decoder=document["decoder"],
        threshold=document["threshold"],
        delay_ms=document["delay_ms"],
        student_sha256=document["student_sha256"],
        card=document["card"],
    )


def _made(document: Mapping[str, Any]) -> Head:
    """The module without its numbers: metadata that ask for too much must not take the memory."""
    with torch.device("meta"):
        return KINDS[document["kind"]].make(document["layers"], document["width"], **document["arguments"])


def _check_document(document: dict[str, Any], shown: str) -> None:
    try:
        require(document, Fields(_METADATA, closed=True))
        kind = KINDS[document["kind"]]
        require(document, Fields({"arguments": Fields(kind.arguments, closed=True)}))
        kind.check_shape(document["layers"], document["arguments"])
        kind.check_labels(tuple(document["labels"]), document["arguments"])
    except Unfit as error:
        raise SpeechpressError(f"{shown}: is damaged, or of a newer version: {error}") from None


def _check_numbers(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, value in tensors.items():
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            raise SpeechpressError(
                f"{path}: tensor {name!a:.80} holds what is not a finite number; train the head again"
            )


def _fitting(head: KeptHead, folder: Path, config: EncoderConfig, weights: str) -> KeptHead:
    """The head; raises SpeechpressError unless it is of this student, with these weights."""
    path, layers = head_path(folder, head.name), config.num_layers + 1
    checked_name(head.name)
    if (head.module.layers, head.module.width) != (layers, config.width):
        raise SpeechpressError(
            f"{path}: is the head of another student: it hears {head.module.layers} layers of width "
            f"{head.module.width}, this one has {layers} of width {config.width}; train it again with `compress head`"
        )
    check_fresh(path, head.student_sha256, weights)
    return head
