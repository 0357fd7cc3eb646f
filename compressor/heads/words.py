"""A head whose vectors say which word was said: words taught by a few examples are compared by them.

Shapes: B streams, T frames, D width, H hidden width, E width of an embedding, N windows, V width of a
word's vector.

Per frame it gives an embedding and, as the last column, how much the frame counts (the logarithm of a weight). The
vector of a stretch of frames is made of those by `runtime.answers.words` on a device and by `pooled` in training.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechpress.runtime.answers.words import LOUDEST, PARTS

from .module import Head, State

PAST = "past"


class WordsHead(Head):
    """An embedding and a weight for each frame, from it and `kernel - 1` frames before it.

    Args:
        layers, width: of the student.
        embedding: E.
        hidden: H.
        kernel: frames that it sees, 20 ms each.
    """

    def __init__(self, layers: int, width: int, embedding: int = 64, hidden: int = 256, kernel: int = 9) -> None:
        super().__init__(layers, width)
        self.embedding, self.hidden, self.kernel = embedding, hidden, kernel
        self.inner = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.past = nn.Conv1d(hidden, hidden, kernel, groups=hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, embedding + 1)

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.embedding + 1,)

    def initial_state(self, batch: int = 1) -> State:
        return {PAST: torch.zeros(batch, self.kernel - 1, self.hidden)}

    def answer(self, x: Tensor, exists: Tensor, state: State) -> tuple[tuple[Tensor, ...], State]:
        """Summed layers (B, T, D), where there is audio (B, T), the last frames (B, kernel - 1, H) -> (B, T, E + 1)."""
        # Bias and norm make numbers of silence; before the first frame there are zeros, as in `past`.
        x = F.gelu(self.norm(self.inner(x))) * exists[..., None]
        heard = torch.cat([state[PAST], x], 1)
        x = x + F.gelu(self.mix(self.past(heard.transpose(1, 2)).transpose(1, 2)))
        return (self.out(x),), {PAST: heard[:, heard.shape[1] - self.kernel + 1 :]}


def pooled(outputs: Tensor, rows: Tensor, starts: Tensor, stops: Tensor) -> Tensor:
    """Outputs (B, T, E + 1); stream, first and last-but-one frame of each window (N,) -> vectors (N, V) of length 1.

    As `runtime.answers.words.vectors_of`, but differentiable.
    """
    weights = outputs[..., -1:].float().clamp(-LOUDEST, LOUDEST).exp()
    embedded = outputs[..., :-1].float()
    # Sums up to a frame: that of a window is a difference of two, however long it is. float64, because of that.
    sums = F.pad(torch.cat([weights, weights * embedded], -1).double().cumsum(1), (0, 0, 1, 0))
    sizes = stops - starts
    edges = [starts + (sizes * part + PARTS // 2) // PARTS for part in range(PARTS + 1)]
    parts = [sums[rows, stop] - sums[rows, start] for start, stop in pairwise(edges)]
    return F.normalize(torch.cat([part[:, 1:] / part[:, :1] for part in parts], 1).float(), dim=1)


def whole_vectors(outputs: Tensor, lengths: Tensor) -> Tensor:
    """Outputs (B, T, E + 1) of clips of one word each, and their frames (B,) -> vectors (B, V)."""
    return pooled(outputs, torch.arange(len(outputs), device=outputs.device), torch.zeros_like(lengths), lengths)


class SubCentreLoss(nn.Module):
    """Sub-centre ArcFace (doi:10.1007/978-3-030-58621-8_43) that also knows windows which hold no word.

    Each known word has `centres` vectors, of which the nearest counts, and is told from the others with an angular
    margin. A word must be nearer to its own than `reject`, and a window without a whole word further from all: so one
    threshold fits all words.
    """

    def __init__(
        self, words: int, width: int, centres: int = 2, scale: float = 24.0, margin: float = 0.2, reject: float = 0.35
    ) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(words, centres, width) / width**0.5)
        self.scale, self.margin, self.reject = scale, margin, reject

    def forward(self, vectors: Tensor, words: Tensor) -> Tensor:
        """Vectors (N, V) of length 1, their words (N,), -1 for none -> a number."""
        near = torch.einsum("nv,wcv->nwc", vectors, F.normalize(self.centres, dim=-1)).amax(-1)
        known = words >= 0
        own = F.one_hot(words.clamp(0), near.shape[1]).bool() & known[:, None]
        angle = near.clamp(-1 + 1e-6, 1 - 1e-6).acos()
        near = torch.where(own, (angle + self.margin).cos(), near)
        nothing = torch.full_like(near[:, :1], self.reject)
        target = torch.where(known, words, near.shape[1])
        return F.cross_entropy(self.scale * torch.cat([near, nothing], 1), target)


def pair_loss(vectors: Tensor, words: Tensor, scale: float = 16.0) -> Tensor:
    """Supervised contrastive loss (arXiv:2004.11362): those of the same word are to be near.

    Vectors of no word (-1) are only to be far. 0 when no word occurs twice.
    """
    alike = (words[:, None] == words) & (words >= 0)[:, None]
    itself = torch.eye(len(words), dtype=torch.bool, device=words.device)
    alike &= ~itself
    scores = (scale * vectors @ vectors.T).masked_fill(itself, float("-inf"))
    share = scores - scores.logsumexp(1, keepdim=True)
    count = alike.sum(1)
    found = share.masked_fill(~alike, 0).sum(1)[count > 0] / count[count > 0]
    return -found.mean() if len(found) else vectors.sum() * 0
