"""Heads with random weights, of several kinds and with state, for what does not depend on how heads are trained."""

import torch
import torch.nn.functional as F
from torch import nn

from speechpress.compressor.heads.module import Head

LABELS = {
    "ctc": ("", "a", "b", "k", "l", "m", "n", "o", "p"),
    "classify": ("go", "stop", "left", "right"),
    "vad": ("silence", "speech"),
}


class Tokens(Head):
    """Logits of every frame by itself."""

    def __init__(self, layers, width, kind):
        super().__init__(layers, width)
        self.kind, self.labels = kind, LABELS[kind]
        self.classify = nn.Linear(width, len(self.labels))

    def answer(self, x, exists, state):
        return (self.classify(x),), state


class Sliding(Head):
    """Logits of the mean of the last frames, behind a convolution over time and a norm."""

    kind, labels, window = "classify", LABELS["classify"], 5

    def __init__(self, layers, width):
        super().__init__(layers, width)
        self.mix, self.norm = nn.Conv1d(width, width, 3), nn.LayerNorm(width)
        self.classify = nn.Linear(width, len(self.labels))

    def initial_state(self, batch=1):
        return {
            "past": torch.zeros(batch, 2, self.width),
            "seen": torch.zeros(batch, self.window - 1, self.width),
        }

    def answer(self, x, exists, state):
        around = torch.cat([state["past"], x], 1)
        x = F.gelu(self.norm(self.mix(around.transpose(1, 2)).transpose(1, 2))) * exists[..., None]
        seen = torch.cat([state["seen"], x], 1)
        mean = F.avg_pool1d(seen.transpose(1, 2), self.window, 1).transpose(1, 2)
        return (self.classify(mean),), {"past": around[:, -2:], "seen": seen[:, 1 - self.window :]}


class Units(Head):
    """Distances to centres, and which is the nearest."""

    kind, labels = "units", ()

    def __init__(self, layers, width, units=6):
        super().__init__(layers, width)
        self.centres = nn.Linear(width, units)

    def answer(self, x, exists, state):
        distances = self.centres(x)
        return (distances, distances.argmin(-1, keepdim=True)), state


class Voice(Head):
    """One vector for all that was heard so far."""

    kind, labels = "speaker", ()

    def __init__(self, layers, width, out=8):
        super().__init__(layers, width)
        self.project = nn.Linear(width, out)

    def initial_state(self, batch=1):
        return {"sum": torch.zeros(batch, self.width), "count": torch.zeros(batch, 1)}

    def answer(self, x, exists, state):
        new = {"sum": state["sum"] + x.sum(1), "count": state["count"] + exists.sum(1, keepdim=True).float()}
        return (self.project(new["sum"] / new["count"].clamp(min=1))[:, None],), new


def tiny_heads(config, seed=3):
    """One of each for an encoder of this config."""
    torch.manual_seed(seed)
    size = (config.num_layers + 1, config.width)
    made = {
        "phones": Tokens(*size, "ctc"),
        "vad": Tokens(*size, "vad"),
        "command": Sliding(*size),
        "units": Units(*size),
        "voice": Voice(*size),
    }
    with torch.no_grad():
        for head in made.values():
            head.sum.logits.normal_()
            head.sum.scale.uniform_(0.5, 2)
            head.sum.shift.normal_()
    return {name: head.eval() for name, head in made.items()}
