"""The section `match.clusters`: a student that says which of the teacher's units each frame is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from speechpress.runtime.errors import SpeechpressError

from .strict_yaml import key

if TYPE_CHECKING:
    from .schema import Recipe


@dataclass(frozen=True)
class Clusters:
    """k-means units of teacher layers, told by the student's last layer as HuBERT tells its own (DiceHuBERT).

    The score of a unit is the cosine between a projection of the frame and the unit's own vector, divided by the
    temperature (arXiv:2106.07447, eq. 3). `masked` and `unmasked` weigh frames that are hidden from the student and
    those that are not; the sum is divided by all frames.
    """

    layers: tuple[int, ...] = key((), low=0, high=1000, doc="teacher layers whose frames are clustered, such as [9]")
    count: int = key(500, low=2, high=65_536, doc="units of each of these layers")
    weight: float = key(1.0, above=0, high=1e9, doc="weight of the cross-entropy, mean over these layers")
    temperature: float = key(0.1, above=0, high=100, doc="by which cosines are divided")
    width: int = key(256, low=1, high=65_536, doc="of the space in which frames and units are compared")
    masked: float = key(1.0, low=0, high=1e9, doc="weight of frames that are hidden from the student")
    unmasked: float = key(1.0, low=0, high=1e9, doc="weight of frames that are not")
    minutes: float = key(30.0, above=0, high=1e6, doc="of training speech on which the units are found")


def check_clusters(recipe: "Recipe") -> None:
    """Raises SpeechpressError for a section that names no layer, one twice, or nothing to learn."""
    asked = recipe.match.clusters
    if asked is None:
        return
    where = recipe.where("match.clusters.layers", "match.clusters")
    if not asked.layers:
        raise SpeechpressError(f"{where}: match.clusters.layers is missing: name teacher layers, such as [9]")
    if len(set(asked.layers)) != len(asked.layers):
        raise SpeechpressError(f"{where}: match.clusters.layers lists a layer twice: {list(asked.layers)}")
    depth = recipe.match.depth
    if depth is not None and max(asked.layers) > depth:
        raise SpeechpressError(
            f"{where}: match.clusters.layers has {max(asked.layers)}, but match.depth says that they are layers of "
            f"{depth}. Use values 0–{depth}, or leave match.depth out"
        )
    if not asked.masked and not asked.unmasked:
        raise SpeechpressError(
            f"{recipe.where('match.clusters.unmasked', 'match.clusters')}: match.clusters.masked and unmasked are both "
            "0, so no frame counts"
        )
    if recipe.prune is not None and recipe.prune.by_gates:
        raise SpeechpressError(
            f"{where}: match.clusters does not go with prune.method l0; prune first, then train what is left with "
            "student.init and match.clusters"
        )
