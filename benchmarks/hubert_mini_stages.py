"""What each stage of hubert-mini's training matches, the batches it sees, and its losses; see make_hubert_mini.py.

Shapes: B clips, S samples, T frames, D width.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import HubertModel

from speechpress.compressor.evaluate.features import MEL_WINDOW, MELS, mel_filters
from speechpress.compressor.models.checkpoint import read_tensors

RATE, HOP = 16_000, 320
HEADS = "heads.safetensors"
WHISPER_LAYERS = (1, 3, 4)
SHORT = (60, RATE)  # rows and samples of a batch of one-second clips
LONG = (20, 3 * RATE)
HEAD_BATCHES, RIDGE = 8, 1e-4
CONTRAST_WIDTH, CONTRAST_SCALE = 128, 10.0
LEAST_FRAMES = 50  # of a crop that is told apart from others: a second


@dataclass(frozen=True)
class Stage:
    """What a stage of the training matches, and on what. `pairs` is {hubert-mini layer: Whisper layer}.

    `pooled` weighs, for the pairs of Whisper's layer 1, the distance of the clip's mean: it is what tells speakers
    apart, and a frame-wise loss with noise and gain added to the input leaves most of it to chance. `spectrum` names
    layers that also predict the shape of the input's own mel spectrum, frame by frame and as the clip's mean: what
    Whisper's layers leave out of a voice is in there, and it holds for voices that were never heard in training.
    `contrast` names layers whose clip means tell clips apart: long clips come as two halves, each to be found by the
    other among all halves of the batch; what two halves have in common is the voice and the room, not the words.
    `fit_heads`: heads begin as the best linear maps from the model that they are put on, not with random weights, which
    would first undo what it has learned.
    """

    pairs: dict[int, int]
    lr: float
    warmup_steps: int
    short_share: float
    gain_decades: tuple[float, float]
    noisy_share: float
    pooled: float = 0.0
    spectrum: tuple[int, ...] = ()
    contrast: tuple[int, ...] = ()
    fit_heads: bool = False


_VOICES = Stage({1: 1, 2: 1, 4: 3, 6: 4}, 5e-4, 60, 0.25, (-0.3, 0.3), 0.05, 2.0, spectrum=(0, 1, 2), fit_heads=True)
STAGES = {
    "words": Stage({2: 1, 4: 3, 6: 4}, 1.2e-3, 150, 0.4, (-0.7, 0.3), 0.33),
    "speakers": Stage({1: 1, 2: 1, 4: 3, 6: 4}, 5e-4, 40, 0.25, (-0.15, 0.15), 0.05, pooled=2.0),
    "voices": _VOICES,
    "contrast": replace(_VOICES, contrast=(0, 1, 2)),
}


class Cached:
    """Random batches from the cache."""

    def __init__(self, work: Path, width: int, seed: int) -> None:
        index = json.loads((work / "index.json").read_text())
        self.pools = [[row for row in index if (row[1] < 1.5 * RATE) == short] for short in (True, False)]
        self.waves = np.memmap(work / "waves.i16", dtype=np.int16, mode="r")
        self.layers = np.memmap(work / "layers.f16", dtype=np.float16, mode="r").reshape(-1, len(WHISPER_LAYERS), width)
        self.random = np.random.default_rng(seed)

    def mean(self) -> Tensor:
        """(layers, width): the mean target over a sample of the frames."""
        blocks = [self.layers[at : at + 50].astype(np.float32).mean(0) for at in range(0, len(self.layers), 3000)]
        return torch.from_numpy(np.stack(blocks).mean(0))

    def batch(self, stage: Stage) -> tuple[Tensor, Tensor, Tensor]:
        """Waves (B, S), targets (B, T, pairs, width) and a mask (B, T) of frames that have a target."""
        random = self.random
        short = random.random() < stage.short_share
        pool, (rows, samples) = (self.pools[0], SHORT) if short else (self.pools[1], LONG)
        frames = samples // HOP - 1
        waves = np.zeros((rows, samples), np.float32)
        targets = np.zeros((rows, frames, *self.layers.shape[1:]), np.float32)
        mask = np.zeros((rows, frames), np.float32)
        for row, pick in enumerate(random.integers(0, len(pool), rows)):
            start, length, first, count = pool[pick]
            offset = int(random.integers(0, max(1, count - samples // HOP + 1)))
            ours = min(samples, length - offset * HOP)
            theirs = min(frames, count - offset)
            gain = 10 ** random.uniform(*stage.gain_decades)
            waves[row, :ours] = self.waves[start + offset * HOP :][:ours] / 32768 * gain
            targets[row, :theirs] = self.layers[first + offset :][:theirs]
            mask[row, :theirs] = 1
        # The target of a noisy row stays that of the clean clip.
        noisy = (random.random((rows, 1)) < stage.noisy_share) * 10 ** random.uniform(-1.75, -0.75, (rows, 1))
        level = np.sqrt(np.square(waves).mean(1, keepdims=True)) * noisy
        waves += (level * random.standard_normal(waves.shape)).astype(np.float32)
        found = torch.from_numpy(waves), torch.from_numpy(targets), torch.from_numpy(mask)
        return found if short or not stage.contrast else halved(*found)


def halved(waves: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First halves of all rows, then second halves."""
    samples = waves.shape[1] // 2
    hops = samples // HOP
    frames = slice(hops - 1), slice(hops, 2 * hops - 1)
    return (
        torch.cat([waves[:, :samples], waves[:, samples:]]),
        torch.cat([targets[:, part] for part in frames]),
        torch.cat([mask[:, part] for part in frames]),
    )


def make_heads(init: Path, stage: Stage, width: int, target_width: int) -> nn.ModuleDict:
    """One linear head per pair; those of an earlier stage go on, each with the Whisper layer that it predicts."""
    heads = nn.ModuleDict({str(layer): nn.Linear(width, target_width) for layer in stage.pairs})
    heads.update({f"spectrum_{layer}": nn.Linear(width, MELS) for layer in stage.spectrum})
    for layer in stage.contrast:
        heads[f"contrast_{layer}"] = head = nn.Linear(width, CONTRAST_WIDTH, bias=False)
        nn.init.orthogonal_(head.weight)
    if (init / HEADS).exists():
        earlier, _ = read_tensors(init / HEADS)
        first = STAGES["words"].pairs
        for layer, theirs in stage.pairs.items():
            old = layer if layer in first else next(ours for ours, other in first.items() if other == theirs)
            heads[str(layer)].load_state_dict({key: earlier[f"{old}.{key}"] for key in ("weight", "bias")})
    return heads


@torch.no_grad()
def fit_heads(model: HubertModel, heads: nn.ModuleDict, stage: Stage, data: Cached) -> None:
    """Ridge regression of every head on a few batches."""
    sums: dict[str, Tensor] = {}
    for _ in range(HEAD_BATCHES):
        waves, targets, mask = data.batch(stage)
        states = model(waves, output_hidden_states=True).hidden_states
        wanted = {str(layer): targets[:, :, WHISPER_LAYERS.index(theirs)] for layer, theirs in stage.pairs.items()}
        wanted |= {f"spectrum_{layer}": mel_shapes(waves) for layer in stage.spectrum}
        for name, target in wanted.items():
            x = states[int(name.split("_")[-1])]
            rows = mask[:, : x.shape[1]].bool()
            x = F.pad(x[rows], (0, 1), value=1.0).double()
            y = target[:, : rows.shape[1]][rows].double()
            both = torch.cat([x.T @ x, x.T @ y], 1)
            sums[name] = sums.get(name, torch.zeros_like(both)) + both
    for name, both in sums.items():
        square, product = both.split([len(both), both.shape[1] - len(both)], 1)
        weights = torch.linalg.solve(square + RIDGE * square.diag().mean() * torch.eye(len(square)), product).float()
        head = heads[name]
        head.weight.copy_(weights[:-1].T)
        head.bias.copy_(weights[-1])


def objective(
    heads: nn.ModuleDict, stage: Stage, states: tuple[Tensor, ...], targets: Tensor, mask: Tensor, mean: Tensor
) -> tuple[Tensor, list[float]]:
    """DistilHuBERT's distance on each pair of layers, over the frames that have a target."""
    loss, cosines = torch.zeros(()), []
    for layer, theirs in stage.pairs.items():
        column = WHISPER_LAYERS.index(theirs)
        prediction = heads[str(layer)](states[layer].float())
        target, valid = targets[:, : prediction.shape[1], column], mask[:, : prediction.shape[1]]
        cosine = F.cosine_similarity(prediction, target, dim=-1)
        per_frame = (prediction - target).abs().mean(-1) - F.logsigmoid(cosine)
        loss = loss + (per_frame * valid).sum() / valid.sum()
        if stage.pooled and theirs == 1:
            loss = loss + stage.pooled * pooled_distance(prediction, target, valid, mean[column])
        cosines.append(float((cosine * valid).sum().detach() / valid.sum()))
    return loss, cosines


def pooled_distance(prediction: Tensor, target: Tensor, valid: Tensor, mean: Tensor) -> Tensor:
    """The distance of each clip's mean (B, T, width) -> (B, width), seen from the mean of all clips."""
    count = valid.sum(1, keepdim=True).clamp(min=1)
    ours, theirs = ((x * valid[..., None]).sum(1) / count - mean for x in (prediction, target))
    # A mean over frames differs a third as much from clip to clip as a frame does from the next.
    distance = 3 * (ours - theirs).abs().mean(-1) - F.logsigmoid(F.cosine_similarity(ours, theirs, dim=-1))
    return distance.mean()


def spectrum_distance(
    heads: nn.ModuleDict, stage: Stage, states: tuple[Tensor, ...], waves: Tensor, mask: Tensor
) -> Tensor:
    """How far the heads of `stage.spectrum` are from the mel spectra of the waves (B, S), by frame and by clip."""
    target = mel_shapes(waves)
    valid = mask[:, : target.shape[1], None]
    count = valid.sum(1).clamp(min=1)
    mean = (target * valid).sum(1) / count
    loss = torch.zeros(())
    for layer in stage.spectrum:
        prediction = heads[f"spectrum_{layer}"](states[layer].float())
        frames = ((prediction - target).abs() * valid).mean(-1).sum() / valid.sum()
        clips = ((prediction * valid).sum(1) / count - mean).abs().mean()
        loss = loss + frames + stage.pooled * clips
    return loss


def contrast_loss(heads: nn.ModuleDict, stage: Stage, states: tuple[Tensor, ...], mask: Tensor) -> Tensor:
    """NT-Xent (arXiv:2002.05709, eq. 1) between the clip means of first and second halves, as `halved` lays them.

    Rows of which a half has too little speech are left out.
    """
    rows = (mask.view(2, -1, mask.shape[1]).sum(2) > LEAST_FRAMES).all(0)
    count = int(rows.sum())
    partner = torch.arange(2 * count).roll(count)
    itself = torch.eye(2 * count, dtype=torch.bool)
    loss = torch.zeros(())
    for layer in stage.contrast:
        x, valid = states[layer].float(), mask[:, : states[layer].shape[1], None]
        means = ((x * valid).sum(1) / valid.sum(1).clamp(min=1))[rows.repeat(2)]
        z = F.normalize(heads[f"contrast_{layer}"](means - means.mean(0)), dim=-1)
        loss = loss + F.cross_entropy((CONTRAST_SCALE * z @ z.T).masked_fill(itself, -1e4), partner)
    return loss


def mel_shapes(waves: Tensor) -> Tensor:
    """(B, S) -> (B, T, 80) on the encoder's frames: log mel spectra without their level.

    The level is gone after the LayerNorm that follows the first convolution, so it cannot be asked for.
    """
    window = torch.hann_window(MEL_WINDOW)
    spectrum = torch.stft(waves, MEL_WINDOW, HOP, window=window, center=False, return_complex=True).abs().square()
    levels = (mel_filters() @ spectrum).clamp_min(1e-8).log().transpose(1, 2)
    return (levels - levels.mean(-1, keepdim=True)) / 2  # of about unit variance
