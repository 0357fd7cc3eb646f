"""Teachers: load a pretrained speech encoder from anywhere and read its hidden states.

Shapes: B batch, S samples, T frames, D width.

Layer k has one meaning for every source: layer 0 is the input of the first Transformer layer, layer k is the output of
layer k. A final LayerNorm, which large models have, belongs to no layer.
"""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError

from .backbones import Backbone, EncoderBackbone, FeatureBackbone, build
from .bundles import read_bundle
from .checkpoint import CARD, CONFIG, WEIGHTS, load_encoder, parameters, read_json, sha256
from .config import SAMPLE_RATE, EncoderConfig
from .document_schema import read_card
from .encoder import Encoder
from .fairseq import read_checkpoint
from .hub import fetch, read_folder
from .starter import TEACHER
from .weights import Weights

STARTER_NAMES = ("starter", "hubert-mini")


@dataclass(frozen=True)
class TeacherCard:
    """What a teacher is and where it came from.

    `width` is that of its hidden states, `hop_samples` the samples from one frame to the next. `sha256` is the hash of
    the weights file (of several: the hash over their hashes; "" when there is no file). `supervised`: it was trained on
    labels or transcripts. `encoder` is the config of a student that can start from this teacher, or None when it has no
    HuBERT-like front end.
    """

    source: str
    format: str
    family: str
    depth: int
    width: int
    normalize_input: bool
    hop_samples: int
    parameters: int
    sha256: str
    supervised: bool
    encoder: EncoderConfig | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        encoder = self.encoder.to_dict() if self.encoder else None
        return {**values, "encoder": encoder, "notes": list(self.notes)}


class _EnoughLayersError(Exception):
    """Raised by a hook to leave a forward pass after the last layer that was asked for."""


class Teacher(nn.Module):
    """A pretrained encoder that only yields hidden states: always in eval mode, never with gradients."""

    def __init__(self, card: TeacherCard, backbone: Backbone) -> None:
        super().__init__()
        self.card = card
        self.backbone = backbone
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Teacher":
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
            SpeechpressError: a layer that the teacher does not have, or frames to hide where there is no mask vector.
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
        return collect(self.backbone, waves, lengths, wanted, masked)

    def hubert_weights(self) -> dict[str, Tensor]:
        """Tensors under HubertModel's names that a student may start from; empty when nothing fits."""
        if self.card.encoder is None:
            return {}
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in Encoder(self.card.encoder).state_dict().items()}
        state = self.backbone.model.state_dict()
        return {name: tensor.clone() for name, tensor in state.items() if shapes.get(name) == tensor.shape}


def collect(
    backbone: Backbone, waves: Tensor, lengths: Tensor | None, wanted: set[int], masked: Tensor | None = None
) -> dict[int, Tensor]:
    """The wanted layers of a backbone, from the lowest up; what comes after the highest one is not computed.

    Foreign modules run with hooks that keep the layers and stop after the last.
    """
    last = max(wanted)
    if isinstance(backbone, EncoderBackbone):
        states = backbone.model.hidden_states(waves, lengths, masked=masked, last=last)
        return {layer: states[layer] for layer in sorted(wanted)}
    kept: dict[int, Tensor] = {}
    more = {} if masked is None else {"masked": masked}

    def keep(index: int, value: Any) -> None:
        kept[index] = value[0] if isinstance(value, tuple) else value
        if index == last:
            raise _EnoughLayersError

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(0, args[0] if args else kwargs["hidden_states"])

    with ExitStack() as stack:
        if 0 in wanted:
            stack.callback(backbone.layers[0].register_forward_pre_hook(before, with_kwargs=True).remove)
        for index in sorted(wanted - {0}):
            hook = backbone.layers[index - 1].register_forward_hook(lambda m, a, out, k=index: keep(k, out))
            stack.callback(hook.remove)
        try:
            backbone(waves, lengths, **more)
        except _EnoughLayersError:
            return kept
    raise AssertionError("the highest wanted layer never ran")


def load_teacher(source: str) -> Teacher:
    """Load a teacher.

    Args:
        source: "starter" (the built-in hubert-mini), a folder, a file of fairseq, unilm or s3prl, a hub id, or
            "torchaudio:NAME".

    Raises:
        SpeechpressError: it cannot be found, read or trusted; says what was tried.
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
    folder = path if path.is_dir() else fetch(source)
    if (folder / CONFIG).is_file() and "speechpress" in read_json(folder / CONFIG):
        return _own(folder, source, "speechpress")
    return _teacher(read_folder(folder), source)


def starter_folder() -> Path:
    """The folder of hubert-mini inside the package; raises SpeechpressError when the installation lacks it."""
    folder = TEACHER
    if not (folder / CONFIG).is_file():
        raise SpeechpressError(f"{folder}: the built-in teacher is not in this installation; install speechpress again")
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
        files=(folder / WEIGHTS,),
        supervised=bool(card.get("supervised", False)),
    )
    backbone = EncoderBackbone(encoder)
    return Teacher(_card(backbone, encoder.config, weights, (), source), backbone)


def _teacher(weights: Weights, source: str) -> Teacher:
    backbone, config, notes = build(weights)
    backbone.eval()
    return Teacher(_card(backbone, config, weights, notes, source), backbone)


def _card(
    backbone: Backbone, config: EncoderConfig | None, weights: Weights, notes: tuple[str, ...], source: str
) -> TeacherCard:
    width, hop = (config.width, config.hop_samples) if config else _probe(backbone, source)
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
        hop_samples=hop,
        parameters=parameters(backbone.model),
        sha256=hashes[0],
        supervised=weights.supervised,
        encoder=config,
        notes=weights.notes + notes,
    )


@torch.no_grad()
def _probe(backbone: Backbone, source: str) -> tuple[int, int]:
    """Width and hop in samples, measured with one and three seconds of noise.

    Raises SpeechpressError when the layers are no frames over time.
    """
    wanted = {0, len(backbone.layers)}
    shapes = []
    for seconds in (1, 3):
        noise = torch.randn(1, seconds * SAMPLE_RATE, generator=torch.Generator().manual_seed(0)) * 0.1
        try:
            shapes.append([tuple(state.shape) for state in collect(backbone, noise, None, wanted).values()])
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
            raise SpeechpressError(f"{source}: cannot be run on a waveform ({str(error)[:200]})") from error
    (first, *others), (longer, *_) = shapes
    if len(first) != 3 or any(shape != first for shape in others) or longer[1] <= first[1]:
        raise SpeechpressError(f"{source}: its layers yield {first}, which are no frames over time (B, T, D)")
    hop = round(2 * SAMPLE_RATE / (longer[1] - first[1]))
    if isinstance(backbone, FeatureBackbone):
        backbone.hop_samples = hop
    return first[2], hop
