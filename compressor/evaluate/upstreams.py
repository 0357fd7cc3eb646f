"""What can be compared: checkpoints, bundles and teachers, all as upstreams with frozen layers.

Shapes: B waves of one length, S samples, T frames, D width.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechpress.runtime.bundle import Bundle, is_bundle, read_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.manifest import BUNDLE, CHECKPOINT
from speechpress.runtime.stream import StreamingExtractor

from ..models.answering import layers_of
from ..models.checkpoint import CARD, Checkpoint, load_checkpoint, parameters
from ..models.config import SAMPLE_RATE
from ..models.encoder import Encoder
from ..models.streaming import chunk_frames_of
from ..teachers.hub_folder import pushed
from ..teachers.load import Teacher, load_teacher
from .features import Upstream, of_model
from .store import weights_key

FLOAT_BYTES = 4


def encoder_upstream(encoder: Encoder, chunk_frames: int | None = None) -> Upstream:
    """An encoder of this project, as it is in PyTorch; with `chunk_frames` it hears its audio in chunks.

    Its last layer is what it is on a device: after the final norm, where it has one.
    """
    config, every = encoder.config, of_model(encoder, chunk_frames)

    # The chunks belong to the key: the same weights give other features. So does the final norm, which features that
    # older versions have kept are without.
    final = ("final norm",) if config.pre_norm else ()
    return replace(
        every,
        states=lambda waves: layers_of(encoder.encoder, every.states(waves)),
        key=weights_key(encoder, "encoder", sorted(config.to_dict().items()), chunk_frames, *final),
        layers=config.num_layers + 1,
        width=config.width,
        hop_samples=config.hop_samples,
        receptive_samples=config.receptive_samples,
        size_bytes=FLOAT_BYTES * parameters(encoder),
    ).on_time(config.lag_frames)


def teacher_upstream(teacher: Teacher) -> Upstream:
    """A teacher of any kind."""
    card = teacher.card
    receptive = card.encoder.receptive_samples if card.encoder else card.hop_samples
    return replace(
        of_model(teacher),
        # What stands in no tensor but changes what comes out.
        key=weights_key(teacher, "teacher", card.family, card.normalize_input and card.input_norm_eps, card.depth),
        layers=card.depth + 1,
        width=card.width,
        hop_samples=card.hop_samples,
        receptive_samples=receptive,
        size_bytes=FLOAT_BYTES * card.parameters,
    )


def bundle_upstream(bundle: Bundle, chunk_ms: float | None = None) -> Upstream:
    """A bundle as it runs on a device: the layers that it gives; in chunks from start to end, where it streams.

    Raises SpeechpressError when it cannot run here, has no such chunks, or is of another sample rate.
    """
    from speechpress.runtime.engine import PteEngine, PteModel

    audio = bundle.document["audio"]
    if audio["sample_rate"] != SAMPLE_RATE:
        raise SpeechpressError(
            f"{bundle.path}: hears {audio['sample_rate']} Hz, but tasks are read at {SAMPLE_RATE} Hz; "
            "export the checkpoint again"
        )
    streams = bool(bundle.document["streams"])
    if streams:
        engine = PteEngine(bundle, chunk_ms)
        chunk: Any = engine.spec.chunk_frames
        # A new stream for each clip, so that nothing of the last one is remembered.
        run = lambda wave: _streamed(StreamingExtractor(engine), wave)  # noqa: E731  one of two, chosen here
    else:
        if chunk_ms is not None:
            bundle.stream(chunk_ms)  # says that it does not stream
        chunk, run = None, PteModel(bundle).offline

    layers, lag_frames = len(bundle.output_layers), engine.spec.lag_frames if streams else 0

    def states(waves: Tensor) -> Sequence[Tensor]:
        # A program takes one recording at a time.
        frames = [run(wave) for wave in waves.cpu().numpy()]
        # Its layers lie side by side in the width.
        return torch.from_numpy(np.stack(frames)).chunk(layers, -1)

    return Upstream(
        states,
        key=f"bundle-{bundle.document['digest'][:32]}-{chunk}",
        layers=layers,
        width=bundle.document["features"]["width"] // layers,
        hop_samples=audio["hop_samples"],
        receptive_samples=audio["receptive_samples"] if streams else bundle.document["offline"]["min_samples"],
        size_bytes=bundle.program.stat().st_size,
        limit_s=None if streams else bundle.document["offline"]["max_s"],
        in_chunks=streams,
    ).on_time(lag_frames)


def _streamed(stream: StreamingExtractor, wave: np.ndarray) -> np.ndarray:
    """(S,) -> (T, D), as the device does it: pushed, then flushed."""
    heard, rest = stream.push(wave), stream.flush()
    return np.concatenate([heard.frames, rest.frames])


def chunk_of(opened: Checkpoint, chunk_ms: float | None) -> int | None:
    """Frames of a chunk; raises SpeechpressError when chunks are asked of a checkpoint that does not stream."""
    config = opened.encoder.config
    if chunk_ms is None:
        return None
    if config.blockers:
        raise SpeechpressError(f"{opened.path}: does not stream, so it has no chunks: {'; '.join(config.blockers)}")
    return chunk_frames_of(config, chunk_ms)


def open_upstream(source: str | Path, device: str = "cpu", chunk_ms: float | None = None) -> Upstream:
    """A bundle in its own chunks, a checkpoint folder, or any teacher (see `teachers.load.load_teacher`).

    A checkpoint that streams hears chunks of `chunk_ms`, where that is given; all else hears whole recordings.

    Raises SpeechpressError when it is none of these.
    """
    folder = pushed(source, CHECKPOINT, BUNDLE) or Path(source)
    if is_bundle(folder):
        return bundle_upstream(read_bundle(folder))
    if (folder / CARD).is_file():
        opened = load_checkpoint(folder)
        chunk = None if opened.encoder.config.blockers else chunk_of(opened, chunk_ms)
        return encoder_upstream(opened.encoder.to(device), chunk)
    return teacher_upstream(load_teacher(str(source)).to(device))
