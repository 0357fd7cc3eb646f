"""What hears the recordings: a checkpoint, a teacher, or a bundle as it runs on a device.

Shapes: B recordings, S samples, T frames, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechpress.runtime.bundle import Bundle, is_bundle, read_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.ids import name_of
from speechpress.runtime.hub.manifest import BUNDLE, CHECKPOINT
from speechpress.runtime.stream import Engine, StreamingExtractor

from ..evaluate.store import weights_key
from ..evaluate.upstreams import chunk_of
from ..models.checkpoint import CARD, CONFIG, STATE, WEIGHTS, check_whole, load_checkpoint
from ..models.config import SAMPLE_RATE
from ..models.encoder import Encoder
from ..models.streaming import folded
from ..models.torch_device import check_device
from ..teachers.backbones import EncoderBackbone
from ..teachers.hub_folder import looks_like_hub_id, pushed
from ..teachers.load import STARTER_NAMES, Teacher, load_teacher

# Waves (B, S), the samples of each row or None where all are full, numbers of layers -> those layers, each (B, T, D).
Hear = Callable[[Tensor, Tensor | None, Sequence[int]], list[Tensor]]


@dataclass(frozen=True)
class Listener:
    """Something that hears recordings.

    Attributes:
        key: a hash of everything that decides what comes out, beside the layers that are asked for.
        layers: the numbers of the layers that it has.
        min_samples: the shortest recording that gives a frame.
        max_samples: the longest that it can hear, None for any that memory suffices for.
        frames: samples to frames, where a frame is the same when silence fills up its batch; else None.
        threads: whether several threads can hear at once.
        streams: whether it hears piece by piece, so that memory sets no limit.
        encoder: where it is one of our own, for inference; `engine`: of a bundle that streams.
    """

    name: str
    key: str
    layers: tuple[int, ...]
    width: int
    hop_samples: int
    hear: Hear
    min_samples: int
    device: str = "cpu"
    max_samples: int | None = None
    frames: Callable[[int], int] | None = None
    threads: bool = True
    streams: bool = False
    encoder: Encoder | None = None
    engine: Engine | None = None


def open_listener(source: str, device: str = "cpu", chunk_ms: float | None = None, offline: bool = False) -> Listener:
    """A bundle, a checkpoint folder, or any teacher.

    Raises SpeechpressError when it is none of these, or cannot be heard with in this way.
    """
    folder = pushed(source, CHECKPOINT, BUNDLE) or Path(source)
    if is_bundle(folder):
        if device not in ("cpu", "auto"):
            raise SpeechpressError(f"--device {device}: a bundle runs where its program was made for; leave it out")
        return _of_bundle(read_bundle(folder), chunk_ms, offline, torch.get_num_threads())
    device = check_device(device)
    if offline:
        raise SpeechpressError(f"--offline: is for bundles; {source} is none, and hears all at once without --chunk-ms")
    if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file() and (folder / CARD).is_file():
        opened = load_checkpoint(folder)
        return _of_encoder(opened.encoder, name_of(folder), device, chunk_of(opened, chunk_ms))
    teacher = _teacher(source)
    if chunk_ms is not None:
        raise SpeechpressError(f"--chunk-ms: {source} is a teacher, which hears whole recordings; leave it out")
    if isinstance(teacher.backbone, EncoderBackbone):
        return _of_encoder(teacher.backbone.model, source, device, None)
    return _of_teacher(teacher, source, device)


def _teacher(source: str) -> Teacher:
    folder = Path(source)
    if (folder / STATE).is_file() or ((folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()):
        check_whole(folder)  # a student whose training was stopped
    known = folder.exists() or source in STARTER_NAMES or ":" in source
    # A bare word could be a hub id too, but is more likely mistyped, and nothing is downloaded for that.
    if not known and not ("/" in source and looks_like_hub_id(source)):
        raise SpeechpressError(
            f"{source}: there is no such file or folder. Name a checkpoint, a bundle or a teacher; "
            "`compress distill` makes a checkpoint, under ./runs unless --out says otherwise"
        )
    return load_teacher(source)


def _of_encoder(encoder: Encoder, name: str, device: str, chunk_frames: int | None) -> Listener:
    config = encoder.config
    # Before it is folded: the same weights must have the same key, however they are run.
    key = weights_key(encoder, "encoder", sorted(config.to_dict().items()), chunk_frames)
    plain = folded(encoder).to(device)

    def hear(waves: Tensor, lengths: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        states = plain.hidden_states(waves, lengths, chunk_frames, last=max(layers))
        return [states[layer] for layer in layers]

    return Listener(
        name=name,
        key=key,
        layers=tuple(range(config.num_layers + 1)),
        width=config.width,
        hop_samples=config.hop_samples,
        hear=hear,
        min_samples=config.receptive_samples,
        device=device,
        encoder=plain,
        # A GroupNorm's statistics are those of all frames, the padding's included.
        frames=config.frames if config.conv_norm != "group" else None,
    )


def _of_teacher(teacher: Teacher, name: str, device: str) -> Listener:
    card = teacher.card
    teacher = teacher.to(device)

    def hear(waves: Tensor, lengths: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        states = teacher.hidden_states(waves, lengths, layers)
        return [states[layer] for layer in layers]

    return Listener(
        name=name,
        key=weights_key(teacher, "teacher", card.family, card.normalize_input and card.input_norm_eps, card.depth),
        layers=tuple(range(card.depth + 1)),
        width=card.width,
        hop_samples=card.hop_samples,
        hear=hear,
        min_samples=teacher.min_samples,
        device=device,
        # Its layers are found by hooks on the module, which two threads would take from each other.
        threads=False,
    )


def _of_bundle(bundle: Bundle, chunk_ms: float | None, offline: bool, threads: int) -> Listener:
    from speechpress.runtime.engine import PteEngine, PteModel

    audio = bundle.document["audio"]
    if audio["sample_rate"] != SAMPLE_RATE:
        raise SpeechpressError(
            f"{bundle.path}: hears {audio['sample_rate']} Hz, but a corpus is read at {SAMPLE_RATE} Hz; export the "
            "checkpoint again"
        )
    limits = bundle.document["offline"]
    run: Callable[[np.ndarray], np.ndarray]
    streaming: Engine | None = None
    if offline or not bundle.document["streams"]:
        if chunk_ms is not None:
            bundle.stream(chunk_ms)  # says so where it does not stream
            raise SpeechpressError("--offline and --chunk-ms contradict each other; use one of them")
        if not limits["max_samples"]:
            raise SpeechpressError(
                f"{bundle.path}: was exported without whole recordings; export it with --offline-seconds"
            )
        run, way = PteModel(bundle, threads).offline, "offline"
        streams, least, limit = False, limits["min_samples"], limits["max_samples"]
    else:
        engine = PteEngine(bundle, chunk_ms, threads)
        streaming = engine
        run, way = (lambda wave: _streamed(engine, wave)), f"{engine.spec.chunk_frames} frames"
        streams, least, limit = True, audio["receptive_samples"], None
    there = bundle.output_layers

    def hear(waves: Tensor, lengths: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        frames = torch.from_numpy(np.stack([run(wave) for wave in waves.numpy()]))
        parts = dict(zip(there, frames.chunk(len(there), -1), strict=True))
        return [parts[layer] for layer in layers]

    return Listener(
        name=bundle.name,
        key=f"bundle-{bundle.document['digest']}-{way}",
        layers=there,
        width=bundle.document["features"]["width"] // len(there),
        hop_samples=audio["hop_samples"],
        hear=hear,
        min_samples=least,
        max_samples=limit,
        # ExecuTorch holds Python's lock while it computes, with threads of its own.
        threads=False,
        streams=streams,
        engine=streaming,
    )


def _streamed(engine: Engine, wave: np.ndarray) -> np.ndarray:
    """(S,) -> (T, D), as the device does it: pushed, then flushed; a new stream for each recording."""
    stream = StreamingExtractor(engine)
    heard, rest = stream.push(wave), stream.flush()
    return np.concatenate([heard.frames, rest.frames])
