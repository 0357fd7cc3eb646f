"""Units: k-means on the frames of one layer, and how well units tell phones apart.

Shapes: N clips, F frames of all clips, D width, K units, P phones.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from speechpress.runtime.errors import SpeechpressError

from ..data.sounds import Sound, identity
from ..evaluate.heads import Frames
from ..evaluate.store import Features
from ..lessons.kmeans import centres_of, require_sklearn
from ..models.checkpoint import WEIGHTS, Checkpoint, parameters, sha256
from ..models.events import OnText
from ..tasks.align import SILENCE, aligned
from ..tasks.kinds import SPLITS, Item
from ..tasks.metrics import interval, resampled
from .data import Row, data_line, label_line, plain_items, read_rows
from .features import Chunk, heard
from .files import KeptHead, read_heads
from .kinds import KINDS
from .learn import HeadOptions
from .place import put
from .units import Units

MOST_FRAMES = 200_000  # as float32 of width 768: 0.6 GB


def fitted(items: Sequence[Item], store: Features, layer: int, clusters: int, seed: int) -> Units:
    """A head of units from the frames of these clips.

    Raises SpeechpressError for more clusters than frames, or a layer that there is not.
    """
    names = [identity(item.sound) for item in items]
    frames = Frames(lambda number: torch.from_numpy(np.array(store.frames(names[number]))), range(len(names)))
    if not 0 <= layer < frames.layers:
        raise SpeechpressError(f"--layer {layer}: the student has layers 0 to {frames.layers - 1}")
    count = sum(len(store.frames(name)) for name in names)
    if clusters > count:
        raise SpeechpressError(
            f"--clusters {clusters}: the training clips have {count} frames only; give more speech, or fewer clusters"
        )
    share = min(1.0, MOST_FRAMES / count)
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(len(names)):
        one = frames.one(number)[:, layer].numpy()
        rows.append(one if share == 1.0 else one[draw.random(len(one)) < share])
    # Fewer than clusters could be left by the draw only if there were hardly more than clusters to begin with.
    found = centres_of(np.concatenate(rows), clusters, seed)
    head = Units(frames.layers, frames.width, clusters, layer)
    with torch.no_grad():
        head.sum.scale.copy_(frames.scale)
        head.sum.shift.copy_(frames.shift)
        head.set_centres(torch.from_numpy(found))
    return head.eval()


@torch.inference_mode()
def unit_ids(head: Units, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, L, D) of a clip -> units (T,), and squared distances to their centres (T,)."""
    layers = torch.from_numpy(np.array(frames)).float()[None]
    distances, ids = head(layers, torch.ones(layers.shape[:2], dtype=torch.bool), {})[0]
    return ids[0, :, 0].numpy(), distances[0].amin(-1).clamp_min(0).numpy()


def joint_counts(phones: np.ndarray, units: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(P, K), how often a frame of a phone has a unit; frames of no phone (below 0) do not count."""
    counts = np.zeros(shape)
    known = phones >= 0
    np.add.at(counts, (phones[known], units[known]), 1)
    return counts


def pnmi(joint: np.ndarray) -> float:
    """Phone-normalised mutual information (arXiv:2106.07447, eq. 5): the share of the uncertainty that units take away.

    From (P, K). Raises ValueError where fewer than two phones were heard.
    """
    shares = joint / joint.sum()
    phones, units = shares.sum(1), shares.sum(0)
    uncertainty = -_plogp(phones).sum()
    if not uncertainty > 0:
        raise ValueError("mutual information with phones needs two phones")
    return float((_plogp(shares).sum() - _plogp(phones).sum() - _plogp(units).sum()) / uncertainty)


def purity(joint: np.ndarray) -> Mapping[str, float]:
    """Share of frames in their unit's most frequent phone ("phone"), and in their phone's most frequent unit."""
    return {"phone": float(joint.max(0).sum() / joint.sum()), "cluster": float(joint.max(1).sum() / joint.sum())}


def centred_interval(counts: np.ndarray, statistic: Callable[[np.ndarray], float]) -> list[float]:
    """95 % interval of a statistic of clips (N, K): the spread of draws about their mean, laid about the value.

    Clips drawn anew are fewer different ones, with which units share more information: the draws themselves would
    lie above the value.
    """
    draws = resampled(counts[None], statistic)
    low, high = interval(draws - draws.mean() + statistic(counts))
    return [low, high]


def _plogp(shares: np.ndarray) -> np.ndarray:
    return np.where(shares > 0, shares * np.log(np.where(shares > 0, shares, 1.0)), 0.0)


def train_units(
    opened: Checkpoint, name: str, chunks: Sequence[Chunk], options: HeadOptions, say: OnText
) -> dict[str, Any]:
    """The head of units of `compress head`; see `head.train_head`."""
    require_sklearn()
    if options.labels or options.finetune:
        raise SpeechpressError("units have no labels and are not fine-tuned; leave out --labels and --finetune")
    layer = opened.encoder.config.num_layers if options.layer is None else options.layer
    notes: list[str] = []
    rows = read_rows(options.data)
    items = plain_items(rows, notes)
    with heard(opened.encoder, items, "frames", chunks, options.cache, options.device, say) as store:
        gone = {item.path for item in store.skipped}
        items = [item for item in items if not gone & {path for path, _ in item.sound.parts}]
        parts = {split: [item for item in items if item.split == split] for split in SPLITS}
        if not parts["train"] or not parts["test"]:
            raise SpeechpressError(f"{options.data}: too few recordings for a training and a test part")
        head = fitted(parts["train"], store, layer, options.clusters, seed=0)
        phones = _phones(opened, rows)
        score, said = _judged(head, parts["test"], store, phones, _recogniser(opened, phones, notes))
    counts = {split: len(part) for split, part in parts.items()}
    card = {
        "kind": "units",
        "task": options.task,
        "labels": label_line(()),
        **score,
        "data": data_line(options.data, items, counts) | {"notes": [*notes, *said]},
        "seeds": [0],
        "steps": None,
        "clusters": options.clusters,
        "layer": layer,
        "parameters": parameters(head),
        "layer_weights": head.sum.weights.tolist(),
        "chunks_ms": [chunk and opened.encoder.config.stream_spec(chunk).chunk_ms for chunk in chunks],
        "finetune": None,
    }
    weights = sha256(opened.path / WEIGHTS)
    kept = KeptHead(name, "units", head, decoder=KINDS["units"].decoder, student_sha256=weights, card=card)
    return put(opened, kept, options, say)


def _phones(opened: Checkpoint, rows: Sequence[Row]) -> dict[Sound, tuple[str, ...]]:
    """What is said in each recording, where its labels say so."""
    found = {}
    for row in rows:
        said = row.labels.get("phones") or row.labels.get("phones_by_word", "")
        # speechocean762 has phones with their stress, and a bar between words.
        if said:
            found[row.sound] = tuple(re.sub(r"[0-9|]", " ", said).split())
    return found


def _recogniser(opened: Checkpoint, phones: Mapping[Sound, tuple[str, ...]], notes: list[str]) -> KeptHead | None:
    """The checkpoint's own head that knows all these phones, to say when each is said."""
    if not phones:
        notes.append("no phones are known of this speech, so how units relate to them is not measured")
        return None
    alphabet = {phone for said in phones.values() for phone in said}
    for head in read_heads(opened.path).values():
        if head.kind == "ctc" and alphabet <= set(head.labels):
            notes.append(f"when phones are said is what the head {head.name!r} aligns, not what people marked")
            return head
    notes.append(
        "how units relate to phones is not measured, because no head of this checkpoint can say when each is said; "
        "train one first: compress head CHECKPOINT --task pr"
    )
    return None


def _judged(
    head: Units,
    items: Sequence[Item],
    store: Features,
    phones: Mapping[Sound, tuple[str, ...]],
    recogniser: KeptHead | None,
) -> tuple[dict[str, Any], list[str]]:
    """Metric and interval on held-out clips: PNMI where phones are known, else the share of variance explained."""
    found = [(item, store.frames(identity(item.sound))) for item in items]
    ids = [unit_ids(head, frames) for _, frames in found]
    used = len(np.unique(np.concatenate([units for units, _ in ids])))
    # Standardised frames have about one unit of variance in each dimension.
    spread = np.array([[distance.sum(), len(distance) * head.width] for _, distance in ids])
    variance = lambda counts: float(1 - counts[:, 0].sum() / counts[:, 1].sum())  # noqa: E731
    also: dict[str, Any] = {"units_used": used, "variance_explained": variance(spread)}
    metric, statistic, counts, chance, said = "variance explained", variance, spread, 0.0, []
    if recogniser is not None:
        names = sorted({phone for said_phones in phones.values() for phone in said_phones})
        joint = []
        for (item, frames), (units, _) in zip(found, ids, strict=True):
            marks = _marks(recogniser, frames, phones.get(item.sound, ()), names)
            if marks is not None:
                joint.append(joint_counts(marks, units, (len(names), head.units)).ravel())
        if joint:
            shape = (-1, len(names), head.units)
            metric, statistic = "PNMI", lambda rows: pnmi(rows.reshape(shape).sum(0))
            counts = np.array(joint)
            also["purity"] = purity(counts.reshape(shape).sum(0))
        said.append(f"{len(joint)} of {len(items)} held-out clips could be aligned")
    score = {"metric": metric, "better": "higher", "value": statistic(counts), "chance": chance}
    score["ci95"] = centred_interval(counts, statistic)
    return {**score, "val": None, "also": also, "lr": None}, said


@torch.inference_mode()
def _marks(recogniser: KeptHead, frames: np.ndarray, said: Sequence[str], names: Sequence[str]) -> np.ndarray | None:
    """(T,), the number in `names` of the phone of each frame, below 0 for none; None where nothing fits."""
    if not said:
        return None
    layers = torch.from_numpy(np.array(frames)).float()[None]
    exists = torch.ones(layers.shape[:2], dtype=torch.bool)
    logits = recogniser.module(layers, exists, recogniser.module.initial_state())[0][0]
    marks = aligned(logits[0].log_softmax(-1).numpy(), [recogniser.labels.index(phone) for phone in said])
    if marks is None:
        return None
    numbers = np.array([names.index(phone) for phone in said])
    return np.where(marks >= 0, numbers[np.maximum(marks, 0)], SILENCE)
