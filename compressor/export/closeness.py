"""How close a program is to its checkpoint: what the checkpoint makes of the golden clip, and both on noise.

Shapes: S samples, T frames, D width, W columns of a head's output.
"""

from pathlib import Path

import numpy as np
import torch

from speechpress.runtime.answers.golden import Figures, compare_answers, golden_name
from speechpress.runtime.engine import PteEngine, PteModel
from speechpress.runtime.parity import compare_layers, worst
from speechpress.runtime.program_checks import Golden, Heard, heard

from ..data.golden import golden_clip
from ..models.answering import Answers, hear, specs_of
from ..models.config import SAMPLE_RATE
from ..models.encoder import Encoder
from ..models.streaming import StreamingEncoder
from ..quantize.fake_quant import simulated
from .answers import together
from .document import ExportPlan, min_samples

# Seconds. RANDOM_S is no whole number of usual chunks, so that the last one has to be filled up.
GOLDEN_S, RANDOM_S = 2.0, 1.3
EXACT = ("none", "fp16")  # whose answers to noise are asked for: what 8 bits make of it says little of speech


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    """(1, S)."""
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def loud_and_soft(samples: int) -> torch.Tensor:
    """(S,) noise whose loudness comes and goes."""
    # From 0.2 to 2.2 and back in 1.2 s, so that whatever scales by loudness has something to follow.
    return noise(samples, seed=1)[0] * (1.2 + torch.sin(torch.arange(samples) / 3000))


@torch.inference_mode()
def golden(planned: ExportPlan) -> dict[str, torch.Tensor]:
    """The clip, and what the checkpoint itself makes of it."""
    audio, encoder, layers = torch.from_numpy(golden_clip(GOLDEN_S)), planned.encoder, planned.layers
    found = {"audio": audio}

    def take(of: str, wave: torch.Tensor, chunk: int | None = None) -> None:
        frames, answers = hear(encoder, wave[None], chunk, layers)
        found[f"frames_{of}"] = frames[0]
        for head, outputs in answers.items():
            found.update({golden_name(head, output, of): rows[0] for output, rows in outputs.items()})

    if planned.max_samples:
        take("offline", audio)
    for chunk in planned.chunks:
        take(str(chunk), audio, chunk)
    if planned.window_samples:
        take("window", audio[-planned.window_samples :])
    return found


@torch.inference_mode()
def on_noise(planned: ExportPlan, folder: Path) -> dict[str, Golden]:
    """The program against the checkpoint on noise: chunk by chunk, and the shortest and the longest recording.

    Noise lies beyond ranges that were measured on speech; a program that has such is held against a simulation of it.
    """
    encoder, found = planned.encoder, {}
    audio = loud_and_soft(round(RANDOM_S * SAMPLE_RATE))
    if any(operator.how == "static" for operator in planned.quantization.operators.values()):
        encoder = simulated(encoder, planned.quantization)
    for chunk in planned.chunks:
        engine = PteEngine(folder, encoder.config.stream_spec(chunk).chunk_ms)
        found[f"step_{chunk}"] = _held(planned, encoder, heard(engine, audio.numpy()), audio, chunk)
    model = PteModel(folder)
    if planned.max_samples:
        # The ends too: a size may have become fixed on the way, which no compiler says.
        lengths = (min_samples(planned), len(audio), planned.max_samples)
        waves = [loud_and_soft(samples) for samples in lengths]
        each = [_held(planned, encoder, Heard(*model.hear_offline(wave.numpy())), wave) for wave in waves]
        found["offline"] = Golden(worst([one.frames for one in each]), together(*[one.answers for one in each]))
    if planned.window_samples:
        wave = loud_and_soft(planned.window_samples)
        found["window"] = _held(planned, encoder, Heard(*model.hear_window(wave.numpy())), wave)
    return found


def _held(planned: ExportPlan, encoder: Encoder, said: Heard, wave: torch.Tensor, chunk: int | None = None) -> Golden:
    """What a program said of a wave (S,), held against an encoder and its heads."""
    frames, answers = hear(encoder, wave[None], chunk, planned.layers)
    parity = compare_layers(said.frames, frames[0].numpy(), len(planned.layers))
    found = compare_answers(said.answers, rows(answers), specs_of(encoder)) if planned.scheme in EXACT else {}
    return Golden(parity, {name: {key: _numbers(f) for key, f in outputs.items()} for name, outputs in found.items()})


def rows(answers: Answers) -> dict[str, dict[str, np.ndarray]]:
    """Of one recording: (1, T, W) -> (T, W)."""
    return {name: {output: x[0].numpy() for output, x in outputs.items()} for name, outputs in answers.items()}


def _numbers(figures: Figures) -> Figures:
    """Without `agreement`: to noise no answer is right, and two may be as good."""
    return {name: value for name, value in figures.items() if name != "agreement"}


def inputs(planned: ExportPlan) -> dict[str, list[np.ndarray]]:
    """What each method is timed with."""
    found = {}
    for chunk in planned.chunks:
        step = StreamingEncoder(planned.encoder, chunk)
        state = [tensor.numpy() for tensor in step.initial_state().values()]
        found[f"step_{chunk}"] = [noise(step.spec.chunk_samples).numpy(), *state]
    if planned.max_samples:
        found["offline"] = [noise(32_000).numpy()]
    if planned.window_samples:
        found["window"] = [noise(planned.window_samples).numpy()]
    return found
