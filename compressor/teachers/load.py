"""Teachers: load a pretrained speech encoder from anywhere and read its hidden states.

Shapes: B batch, S samples, T frames, D width.

Layer k has one meaning for every source: layer 0 is the input of the first Transformer layer, layer k is the output of
layer k. A final LayerNorm, which large models have, belongs to no layer.
"""

import bisect
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechpress.runtime.bundle import is_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.ids import commit_of

from ..models.checkpoint import CARD, CONFIG, WEIGHTS, load_encoder, parameters, read_json, sha256
from ..models.config import SAMPLE_RATE, EncoderConfig
from ..models.document_schema import read_card
from ..models.encoder import Encoder
from ..models.preprocessor import say
from ..starter import TEACHER
from .backbones import Backbone, EncoderBackbone, build
from .fairseq import read_checkpoint
from .families import family_of
from .hub import read_folder
from .hub_folder import fetch
from .layer_states import CANNOT_RUN, passing_states
from .torchaudio import read_bundle
from .weights import Weights

STARTER_NAMES = ("starter", "hubert-mini")
PROBE_SAMPLES = (8_000, 14_000)  # two lengths: with one, a matrix of frames might be as wide as it is long
# 20 s, beside which the rounding at both ends vanishes.
HOP_SAMPLES = 20 * SAMPLE_RATE


@dataclass(frozen=True)
class TeacherCard:
    """What a teacher is and where it came from.

    `width` is that of its hidden states, `hop_samples` the samples from one frame to the next. `sha256` is the hash of
    the weights file (of several: the hash over their hashes; "" when there is no file). `supervised`: it was trained on
    labels or transcripts. `encoder` is the config of a student that can start from this teacher, or None when it has no
    HuBERT-like front end. `revision` is the commit of what came from the hub.
    """

    source: str
    format: str
    family: str
    depth: int
    width: int
    normalize_input: bool
    input_norm_eps: float
    hop_samples: int
    parameters: int
    sha256: str
    supervised: bool
    encoder: EncoderConfig | None
    notes: tuple[str, ...] = ()
    revision: str | None = None

    def to_dict(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        encoder = self.encoder.to_dict() if self.encoder else None
        return {**values, "encoder": encoder, "notes": list(self.notes)}


class Teacher(nn.Module):
    """A pretrained encoder that only yields hidden states: always in eval mode, never with gradients."""

    def __init__(self, card: TeacherCard, backbone: Backbone) -> None:
        super().__init__()
        self.card = card
        self.backbone = backbone
        self.min_samples = _shortest(backbone)
        self.half_dtype: torch.dtype | None = None  # in which it computes on a GPU; None: float32
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Teacher":
        # Whatever holds a teacher as a part calls train() on it too, and dropout would blur the targets.
        return super().train(False)

    def frames(self, samples: Any) -> Any:
        """Frames made from `samples`, an int or an integer tensor of lengths."""
        return self.backbone.frames(samples)

    @property
    def can_mask(self) -> bool:
        """Whether frames can be hidden from it, behind the mask vector of its own training."""
        return self.backbone.can_mask

    @torch.no_grad()
    def hidden_states(
        self,
        waves: Tensor,
        lengths: Tensor | None = None,
        layers: Sequence[int] | None = None,
        masked: Tensor | None = None,
    ) -> dict[int, Tensor]:
        """Hidden states (B, T, D) of `layers` (all when None); layers above the highest one are not computed.

        Args:
            waves: (B, S) float, 16 kHz, as the audio file has it; the teacher's own normalisation is applied inside.
            lengths: (B,) valid samples of each row, or None when no row is padded.
            layers: 0 to `card.depth`.
            masked: (B, frames), True on frames that are hidden behind the mask vector.

        Raises:
            SpeechpressError: a layer that the teacher does not have, audio too short for one frame, or frames to hide
                where there is no mask vector.
        """
        depth = self.card.depth
        wanted = set(range(depth + 1) if layers is None else layers)
        if not wanted or not wanted <= set(range(depth + 1)):
            raise SpeechpressError(
                f"layers {sorted(wanted)} were asked for, but {self.card.source} has {depth} layers "
                f"(0 = input of the first layer). Use values 0 to {depth}"
            )
        if masked is not None and not self.can_mask:
            raise SpeechpressError(
                f"{self.card.source}: has no mask vector ({self.card.family}), so no frames can be hidden from it; "
                "masking distillation needs a teacher of HuBERT's kind, or leave out match.mask_prob"
            )
        self._check_input(waves, lengths)
        if self.half_dtype is None or waves.device.type != "cuda":
            return collect(self.backbone, waves, lengths, wanted, masked)
        with torch.autocast("cuda", self.half_dtype):
            states = collect(self.backbone, waves, lengths, wanted, masked)
        return {layer: state.float() for layer, state in states.items()}

    def _check_input(self, waves: Tensor, lengths: Tensor | None) -> None:
        source = self.card.source
        if waves.ndim != 2 or not len(waves) or not waves.is_floating_point():
            raise SpeechpressError(
                f"{source}: was given {tuple(waves.shape)} of {waves.dtype}, but takes (rows, samples) of floats"
            )
        if lengths is not None and (lengths.shape != waves.shape[:1] or int(lengths.max()) > waves.shape[1]):
            raise SpeechpressError(f"{source}: lengths {lengths.tolist()} do not fit waves of {tuple(waves.shape)}")
        shortest = waves.shape[1] if lengths is None else int(lengths.min())
        if shortest < self.min_samples:
            raise SpeechpressError(
                f"{source}: was given {shortest} samples, but makes its first frame of {self.min_samples} "
                f"({1000 * self.min_samples / SAMPLE_RATE:g} ms); leave out recordings that are so short"
            )

    def hubert_weights(self) -> dict[str, Tensor]:
        """Tensors under HubertModel's names that a student may start from; empty when nothing fits."""
        if self.card.encoder is None:
            return {}
        # Only the shapes are wanted: no memory, and no random numbers drawn.
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in Encoder(self.card.encoder).state_dict().items()}
        state = self.backbone.model.state_dict()
        given = family_of(self.card.family, vars(self.backbone.model.config)).inherits
        return {
            # A student that trains must not change its teacher.
            name: tensor.clone()
            for name, tensor in state.items()
            if shapes.get(name) == tensor.shape and name.startswith(given)
        }


def collect(
    backbone: Backbone, waves: Tensor, lengths: Tensor | None, wanted: set[int], masked: Tensor | None = None
) -> dict[int, Tensor]:
    """The wanted layers of a backbone, from the lowest up; what comes after the highest one is not computed.

    Foreign modules run with hooks that keep the layers and stop after the last.
    """
    if isinstance(backbone, EncoderBackbone):
        states = backbone.model.hidden_states(waves, lengths, masked=masked, last=max(wanted))
        return {layer: states[layer] for layer in sorted(wanted)}
    more = {} if masked is None else {"masked": masked}
    return passing_states(backbone.layers, lambda: backbone(waves, lengths, **more), wanted)


def load_teacher(source: str) -> Teacher:
    """Load a teacher.

    Args:
        source: "starter" (the built-in hubert-mini), a folder, a file of fairseq, unilm or s3prl, a hub id, or
            "torchaudio:NAME".

    Raises:
        SpeechpressError: the teacher cannot be found, read or trusted; the message lists what was tried.
    """
    if source in STARTER_NAMES:
        return _own(starter_folder(), source, "starter")
    if source.startswith("torchaudio:"):
        return _teacher(read_bundle(source.removeprefix("torchaudio:")), source)
    path = Path(source).expanduser()
    if path.is_file():
        if path.suffix == ".safetensors":
            raise SpeechpressError(f"{path}: holds weights only; give its folder, which must have a config.json")
        return _teacher(read_checkpoint(path), source)
    if is_bundle(path):
        raise SpeechpressError(
            f"{source}: is a bundle, whose program has no hidden states to be read; name the checkpoint that it was "
            "exported from"
        )
    folder = path if path.is_dir() else fetch(source)
    return _pinned(_of_folder(folder, source), commit_of(folder))


def _of_folder(folder: Path, source: str) -> Teacher:
    if (folder / CONFIG).is_file() and "speechpress" in read_json(folder / CONFIG):
        return _own(folder, source, "speechpress")
    return _teacher(read_folder(folder), source)


def _pinned(teacher: Teacher, commit: str | None) -> Teacher:
    teacher.card = replace(teacher.card, revision=commit)
    return teacher


def starter_folder() -> Path:
    """The folder of hubert-mini inside the package; raises SpeechpressError when the installation lacks it."""
    folder = TEACHER
    if not (folder / CONFIG).is_file():
        raise SpeechpressError(f"{folder}: the built-in teacher is not in this installation; reinstall speechpress")
    return folder


def _own(folder: Path, source: str, form: str) -> Teacher:
    """A checkpoint of this project, or the built-in teacher, which may be a plain HubertModel folder."""
    encoder = load_encoder(folder)
    card = read_card(folder / CARD) if (folder / CARD).is_file() else {}
    weights = Weights(
        format=form,
        family="hubert",
        config={},
        tensors={},
        normalize_input=encoder.config.input_norm == "utterance",
        eps=encoder.config.input_norm_eps,
        files=(folder / WEIGHTS,),
        supervised=bool(card.get("supervised", False)),
    )
    backbone = EncoderBackbone(encoder)
    return Teacher(_card(backbone, encoder.config, weights, (), source), backbone)


def _teacher(weights: Weights, source: str) -> Teacher:
    backbone, config, notes = build(weights)
    backbone.eval()
    doubts = weights.doubts if backbone.hears_waves else ()  # an extractor of its own knows what it does
    say(source, doubts)
    return Teacher(_card(backbone, config, weights, (*doubts, *notes), source), backbone)


def _card(
    backbone: Backbone, config: EncoderConfig | None, weights: Weights, notes: tuple[str, ...], source: str
) -> TeacherCard:
    width = config.width if config else None
    if not isinstance(backbone, EncoderBackbone):
        width = check_states(backbone, width, source)
    assert width is not None
    hashes = [sha256(file) for file in weights.files]
    if len(hashes) != 1:
        hashes = [hashlib.sha256("".join(hashes).encode()).hexdigest() if hashes else ""]
    return TeacherCard(
        source=source,
        format=weights.format,
        family=weights.family,
        depth=len(backbone.layers),
        width=width,
        normalize_input=weights.normalize_input,
        input_norm_eps=weights.eps,
        hop_samples=config.hop_samples if config else _hop_samples(backbone),
        parameters=parameters(backbone.model),
        sha256=hashes[0],
        supervised=weights.supervised,
        encoder=config,
        notes=weights.notes + notes,
    )


def check_states(backbone: Backbone, width: int | None, source: str) -> int:
    """Run a model on short noise and compare all of its layers with frames x width; the width that was found.

    Raises SpeechpressError when it cannot be run, or a layer yields anything but (B, T, D).
    """
    wanted = set(range(len(backbone.layers) + 1))
    counts = []
    for samples in PROBE_SAMPLES:
        # With a generator of its own, so that loading a teacher does not shift the seeds of a run.
        noise = torch.randn(1, samples, generator=torch.Generator().manual_seed(0)) * 0.1
        try:
            states = collect(backbone, noise, None, wanted)
            frames = backbone.frames(samples)
        except CANNOT_RUN as error:
            raise SpeechpressError(f"{source}: cannot be run on a waveform ({str(error)[:200]})") from error
        width = width or states[0].shape[-1]
        for layer, state in sorted(states.items()):
            if state.shape != (1, frames, width):
                raise SpeechpressError(
                    f"{source}: layer {layer} yields {tuple(state.shape)} for {samples} samples, which are no frames "
                    f"over time; {(1, frames, width)} was expected, so these are not its Transformer layers"
                )
        counts.append(frames)
    if counts[1] <= counts[0]:
        raise SpeechpressError(
            f"{source}: its layers yield {counts[0]} frames of any recording, which are no frames over time"
        )
    assert width is not None
    return width


def _hop_samples(backbone: Backbone) -> int:
    """Samples from one frame to the next, told by the frames of a long recording."""
    more = backbone.frames(SAMPLE_RATE + HOP_SAMPLES) - backbone.frames(SAMPLE_RATE)
    return round(HOP_SAMPLES / more)


def _shortest(backbone: Backbone) -> int:
    """The fewest samples that give a frame."""
    # More samples never give fewer frames, so some 14 counts do; nothing needs more than a second.
    return bisect.bisect_left(range(SAMPLE_RATE), 1, key=backbone.frames)
