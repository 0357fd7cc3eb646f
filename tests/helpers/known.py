"""Features whose truth is known, in a store, so that tasks are solved without any audio."""

import numpy as np
import torch

from speechpress.compressor.data.sounds import clip, identity
from speechpress.compressor.evaluate.store import FeatureStore
from speechpress.compressor.tasks.kinds import Item

HOP = 320  # 50 frames per second
SPLITS = ("train", "val", "test")


def item(name, split, target, speaker="", query=False):
    return Item(clip(f"known/{name}.wav"), split, target, speaker, query)


def one_hot(numbers, width=6, noise=0.05, seed=0):
    """Frames (T, 1, D) that point to a number each; -1 is silence."""
    frames = torch.zeros(len(numbers), 1, width)
    for row, number in enumerate(numbers):
        if number >= 0:
            frames[row, 0, number] = 1.0
    return frames + noise * torch.randn(frames.shape, generator=torch.Generator().manual_seed(seed))


def store_of(folder, frames):
    """A store with the frames of items, and their means."""
    store = FeatureStore(folder, "known")
    for one, rows in frames.items():
        store.shelves["frames"].put(identity(one.sound), rows)
        store.shelves["means"].put(identity(one.sound), rows.mean(0))
    store.flush()
    return store


def texts(count, letters="abc", length=4, seed=0):
    draw = np.random.default_rng(seed)
    return [tuple(draw.choice(list(letters), length)) for _ in range(count)]
