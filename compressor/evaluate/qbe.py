"""Query by example, without training: the live demo's search, scored as SUPERB scores it.

Shapes: T frames, L layers, D width, Q queries, N recordings.
"""

from typing import Any

import numpy as np

from speechpress.runtime.demo.dtw import Space, search

from ..data.sounds import identity
from ..tasks.kinds import holds
from ..tasks.metrics import RESAMPLES, interval, max_twv
from ..tasks.task import Task
from .store import FeatureStore

SPACE_CLIPS = 60


def solve_search(task: Task, store: FeatureStore) -> dict[str, Any]:
    """The fields of a `solve.TaskScore`: the layer is chosen on val, and `layer_weights` has a 1 there.

    A query's costs are brought to zero mean and unit deviation over the recordings, so that one threshold serves all
    queries, as in SUPERB. The interval draws queries anew.
    """
    # One sound tells for all: an upstream gives every sound the same layers.
    layers = store.frames(identity(task.items[0].sound)).shape[1]
    values = [max_twv(*scored(task, store, "val", layer)) for layer in range(layers)]
    best = int(np.argmax(values))
    scores, targets = scored(task, store, "test", best)
    value = max_twv(scores, targets)
    draws = _draws(scores, targets)
    return {
        "test": value,
        "val": values[best],
        "ci95": interval(draws),
        "draws": tuple(draws.tolist()),
        "seeds": (value,),
        "layer_weights": tuple(float(layer == best) for layer in range(layers)),
    }


def scored(task: Task, store: FeatureStore, split: str, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores (Q, N) of every query of a split in every other recording of it, and whether the word is in it."""
    items = task.part(split)
    queries, others = [item for item in items if item.query], [item for item in items if not item.query]

    def frames(sound: Any) -> np.ndarray:
        return np.asarray(store.frames(identity(sound))[:, layer], np.float32)

    space = Space.of(np.concatenate([frames(item.sound) for item in others[:SPACE_CLIPS]]))
    examples = [space.unit(frames(query.sound)) for query in queries]
    costs = [search(examples, space.unit(frames(item.sound)))[0].min(0) for item in others]
    # Costs are small for what is alike, scores large.
    raw = -np.stack(costs, 1)
    scores = (raw - raw.mean(1, keepdims=True)) / (raw.std(1, keepdims=True) + 1e-9)
    targets = np.array([[holds(item, query) for item in others] for query in queries])
    return scores, targets


def _draws(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    draw, values = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = draw.integers(len(scores), size=len(scores))
        values.append(max_twv(scores[rows], targets[rows]))
    return np.array(values)
