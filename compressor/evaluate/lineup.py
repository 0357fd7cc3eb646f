"""What stands beside each other in an evaluation: the student, its teacher, the floors, and whatever else was named.

Shapes: B waves of one length, S samples.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from speechpress.runtime.bundle import Bundle, is_bundle, layer_words, read_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.ids import name_of
from speechpress.runtime.hub.manifest import BUNDLE, CHECKPOINT

from ..distill.objectives import load_heads
from ..models.checkpoint import CARD, CONFIG, Checkpoint, load_checkpoint
from ..models.config import SAMPLE_RATE, EncoderConfig
from ..models.torch_device import check_device
from ..tasks.task import FLOORS
from ..teachers.hub_folder import pinned, pushed
from ..teachers.load import Teacher, load_teacher
from .features import LOG_MEL, Upstream, last_layer, random_copy
from .fidelity import fidelity
from .upstreams import bundle_upstream, chunk_of, encoder_upstream, open_upstream, teacher_upstream

logger = logging.getLogger(__name__)

OWN_NAMES = ("student", "teacher", *FLOORS)


@dataclass
class Comparison:
    """What is compared, what cannot be and why; `opened` or `bundle` is the student, where it is one of the two."""

    upstreams: dict[str, Upstream]
    notes: list[str] = field(default_factory=list)
    latency: dict[str, float] | None = None
    teacher: Teacher | None = None
    bundle: Bundle | None = None
    opened: Checkpoint | None = None

    def shown(self, layers: str) -> dict[str, Upstream]:
        """All layers ("weighted"), or the last one of each ("last")."""
        return {name: last_layer(one) if layers == "last" else one for name, one in self.upstreams.items()}


def open_comparison(
    source: str | Path,
    against: Sequence[str] = (),
    teacher: str | None = None,
    chunk_ms: float | None = None,
    device: str = "cpu",
) -> Comparison:
    """Open everything that is compared; a teacher that is not at hand is a note, all else an error.

    Raises SpeechpressError for what cannot be opened, has no such chunks, or is of another sample rate.
    """
    device = check_device(device)
    comparison = _of_source(source, chunk_ms, device, teacher)
    comparison.upstreams["logmel"] = LOG_MEL
    for other in against:
        name = name_of(other)
        # Folders of the same name are told apart by their whole path.
        if name in comparison.upstreams or name in OWN_NAMES:
            name = other
        comparison.upstreams[name] = open_upstream(other, device, chunk_ms)
        if chunk_ms is not None and not comparison.upstreams[name].in_chunks:
            comparison.notes.append(f"{name} does not stream: it hears whole recordings, not chunks of {chunk_ms:g} ms")
    return comparison


def _of_source(source: str | Path, chunk_ms: float | None, device: str, teacher: str | None) -> Comparison:
    folder = pushed(source, CHECKPOINT, BUNDLE) or Path(source)
    if is_bundle(folder):
        comparison, named = _of_bundle(folder, chunk_ms)
    elif folder.is_dir() and not (folder / CONFIG).is_file():
        raise SpeechpressError(
            f"{folder}: is neither a checkpoint (it has no {CONFIG}) nor a bundle; `compress distill` makes the one, "
            "`compress export` the other"
        )
    # Without a card it names no teacher: unless one is given, it is looked at as a teacher itself.
    elif (folder / CONFIG).is_file() and ((folder / CARD).is_file() or teacher is not None):
        comparison, named = _of_checkpoint(folder, chunk_ms, device)
    else:
        return _of_teacher(str(source), chunk_ms, device, teacher)
    _add_teacher(comparison, teacher or named, str(source), device)
    return comparison


def _of_bundle(folder: Path, chunk_ms: float | None) -> tuple[Comparison, str | None]:
    bundle = read_bundle(folder)
    streams = bool(bundle.document["streams"])
    return Comparison(
        {"student": bundle_upstream(bundle, chunk_ms)},
        [f"a bundle gives {_given(bundle)} only, and keeps no shape to make a random copy of"],
        bundle.spec(chunk_ms).latency() if streams else None,
        bundle=bundle,
    ), pinned(bundle.document["lineage"].get("teacher") or {})


def _given(bundle: Bundle) -> str:
    """Which of its layers come out of a bundle."""
    layers = bundle.output_layers
    if layers == (bundle.document["features"]["layers"],):
        return "its last layer"
    return layer_words(layers)


def _of_checkpoint(folder: Path, chunk_ms: float | None, device: str) -> tuple[Comparison, str | None]:
    opened = load_checkpoint(folder)
    config, chunk = opened.encoder.config, chunk_of(opened, chunk_ms)
    upstreams = {
        "student": encoder_upstream(opened.encoder.to(device), chunk),
        # In the same chunks: what is compared are weights, not ways to hear.
        "random": _random(config, chunk, device),
    }
    latency = None if chunk is None else config.stream_spec(chunk).latency()
    return Comparison(upstreams, [], latency, opened=opened), pinned(opened.card.get("teacher") or {})


def _of_teacher(source: str, chunk_ms: float | None, device: str, teacher: str | None) -> Comparison:
    """A teacher in the student's place: everything is measured but what it kept of another one."""
    if chunk_ms is not None:
        raise SpeechpressError(f"{source}: is not a student that streams, so --chunk-ms has no meaning; leave it out")
    opened = load_teacher(source).to(device)
    comparison = Comparison({"student": teacher_upstream(opened)})
    if opened.card.encoder is not None:
        comparison.upstreams["random"] = _random(opened.card.encoder, None, device)
    else:
        comparison.notes.append(f"{source}: a {opened.card.family} has no random copy here")
    if teacher is not None:
        _add_teacher(comparison, teacher, source, device)
    else:
        comparison.notes.append(
            f"{source} is a teacher itself; what it is compared with comes from --against or --teacher"
        )
    return comparison


def _random(config: EncoderConfig, chunk: int | None, device: str) -> Upstream:
    return encoder_upstream(random_copy(config).to(device), chunk)


def _find_teacher(named: str | None, source: str, notes: list[str], device: str = "cpu") -> Teacher | None:
    """The teacher that `source` or its user names; None, said in `notes` and as a warning, when it is not at hand."""
    if named is None:
        notes.append(f"{source}: names no teacher, so there is nothing to compare with; give one with --teacher")
    else:
        try:
            return load_teacher(named).to(device)
        except SpeechpressError as error:
            notes.append(f"the teacher {named!r} is not available, so its column is empty: {error}")
    logger.warning(notes[-1])
    return None


def _add_teacher(comparison: Comparison, named: str | None, source: str, device: str) -> None:
    comparison.teacher = _find_teacher(named, source, comparison.notes, device)
    if comparison.teacher is not None:
        comparison.upstreams["teacher"] = teacher_upstream(comparison.teacher)


class Heard:
    """An upstream as `fidelity` wants it."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def hidden_states(self, wave: Tensor) -> list[Tensor]:
        return list(self._upstream.states(wave))


def comparison_fidelity(comparison: Comparison, waves: Sequence[Tensor]) -> dict[str, Any]:
    """How near the student is to its teacher on clips of (1, S) each, as it is heard in the comparison; see `fidelity`.

    Returns:
        {"fidelity": {layer: cosine}, "fidelity_by", "fidelity_detail"}, empty where it cannot be measured, which the
        comparison's notes then say.
    """
    student, teacher = comparison.upstreams["student"], comparison.teacher
    nothing: dict[str, Any] = {"fidelity": {}, "fidelity_by": None, "fidelity_detail": {}}
    if teacher is None:
        return nothing
    # A student with a time reduction has frames that last several of the teacher's.
    factor, rest = divmod(student.hop_samples, teacher.card.hop_samples)
    if rest or not factor:
        hops = [1000 * hop / SAMPLE_RATE for hop in (student.hop_samples, teacher.card.hop_samples)]
        comparison.notes.append(
            f"fidelity: not measured, the student's frames are {hops[0]:g} ms apart and its teacher's {hops[1]:g} ms"
        )
        return nothing
    if len(waves) < 2:
        comparison.notes.append("fidelity: not measured, it needs two test clips")
        return nothing
    heads = None
    if comparison.opened is not None:
        heads = load_heads(comparison.opened.path, student.width, teacher.card.width)
    if heads is None:
        comparison.notes.append("fidelity: there are no heads, so a linear map was fitted to the student's last layer")
    detail = fidelity(Heard(student), teacher, None if heads is None else heads.to(waves[0].device), waves, factor)
    by = "linear" if heads is None else "heads"
    cosines = {layer: parts[by]["cosine"] for layer, parts in detail.items() if parts[by] is not None}
    return {"fidelity": cosines, "fidelity_by": by, "fidelity_detail": detail}
