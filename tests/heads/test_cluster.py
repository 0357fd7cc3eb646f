"""Units by k-means, alignment of phones, and how units and phones go together."""

import itertools

import numpy as np
import pytest
import torch
from tiny_heads import whole

from speechpress.compressor.data.sounds import clip, identity
from speechpress.compressor.heads.cluster import centred_interval, fitted, joint_counts, pnmi, purity, unit_ids
from speechpress.compressor.tasks.align import SILENCE, aligned
from speechpress.compressor.tasks.kinds import Item
from speechpress.compressor.tasks.metrics import bootstrap
from speechpress.runtime.errors import SpeechpressError

LAYERS, WIDTH = 3, 6


class Store:
    def __init__(self, frames):
        self.kept = frames

    def frames(self, name):
        return self.kept[name]


@pytest.fixture(scope="module")
def speech():
    """Frames of four kinds in layer 1, noise in the others; which kind each is."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((4, WIDTH)) * 5
    items, frames, kinds = [], {}, {}
    for number in range(10):
        item = Item(clip(f"/nowhere/{number}.wav"), "train", None)
        said = draw.integers(4, size=30)
        layers = draw.standard_normal((30, LAYERS, WIDTH))
        layers[:, 1] = centres[said] + draw.standard_normal((30, WIDTH)) * 0.1
        normal = torch.nn.functional.layer_norm(torch.from_numpy(layers), (WIDTH,))
        items.append(item)
        frames[identity(item.sound)], kinds[identity(item.sound)] = normal.numpy().astype(np.float16), said
    return items, Store(frames), kinds


def test_units_find_what_there_is_in_their_layer(speech):
    items, store, kinds = speech
    head = fitted(items, store, 1, 4, seed=0)
    found = [unit_ids(head, store.frames(name))[0] for name in kinds]
    joint = joint_counts(np.concatenate(list(kinds.values())), np.concatenate(found), (4, 4))
    assert pnmi(joint) == pytest.approx(1) and purity(joint) == {"phone": 1.0, "cluster": 1.0}
    other = fitted(items, store, 0, 4, seed=0)
    found = [unit_ids(other, store.frames(name))[0] for name in kinds]
    assert pnmi(joint_counts(np.concatenate(list(kinds.values())), np.concatenate(found), (4, 4))) < 0.1


def test_units_are_the_same_every_time_and_those_of_scikit_learn(speech):
    from sklearn.cluster import MiniBatchKMeans

    items, store, kinds = speech
    first, second = (fitted(items, store, 1, 4, seed=0) for _ in range(2))
    assert torch.equal(first.centres.weight, second.centres.weight)
    frames = torch.cat([torch.from_numpy(store.frames(name)).float() for name in kinds])
    scaled = torch.nn.functional.layer_norm(frames, (WIDTH,))[:, 1] * first.sum.scale[1] + first.sum.shift[1]
    means = MiniBatchKMeans(4, batch_size=4096, n_init=3, max_iter=100, random_state=0).fit(scaled.numpy())
    ids = whole(first, frames[None])[1][0, :, 0]
    # The same parts; what rounding makes of the frames may number them otherwise.
    assert pnmi(joint_counts(means.predict(scaled.numpy()), ids.numpy(), (4, 4))) == pytest.approx(1)


def test_more_clusters_than_frames_are_refused(speech):
    with pytest.raises(SpeechpressError, match="--clusters 301: the training clips have 300 frames only"):
        fitted(speech[0], speech[1], 1, 301, seed=0)


def test_a_layer_that_there_is_not_is_refused(speech):
    with pytest.raises(SpeechpressError, match="--layer 3: the student has layers 0 to 2"):
        fitted(speech[0], speech[1], 3, 4, seed=0)


def test_pnmi_and_purity_by_hand():
    joint = np.array([[4.0, 0.0], [2.0, 2.0]])
    h = lambda *shares: -sum(p * np.log(p) for p in shares if p)  # noqa: E731
    assert pnmi(joint) == pytest.approx((h(0.5, 0.5) + h(0.75, 0.25) - h(0.5, 0.25, 0.25)) / h(0.5, 0.5))
    assert purity(joint) == {"phone": 6 / 8, "cluster": 6 / 8}
    assert pnmi(np.ones((2, 3))) == pytest.approx(0)
    with pytest.raises(ValueError, match="two phones"):
        pnmi(np.array([[3.0, 1.0]]))


def test_frames_of_no_phone_do_not_count():
    joint = joint_counts(np.array([0, -1, 1, 1]), np.array([2, 2, 0, 0]), (2, 3))
    assert joint.tolist() == [[0, 0, 1], [2, 0, 0]]


def best_by_trying(scores, labels):
    """The most likely path of all, by trying each."""
    frames, tokens = scores.shape
    best, found = -np.inf, None
    for path in itertools.product(range(tokens), repeat=frames):
        said = [one for one, _ in itertools.groupby(path) if one]
        if said == list(labels):
            total = sum(scores[frame, one] for frame, one in enumerate(path))
            if total > best:
                best, found = total, path
    return found


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("labels", [(1,), (1, 2), (1, 1), (2, 1, 2)])
def test_the_alignment_is_the_most_likely_path_of_all(seed, labels):
    scores = np.log(np.random.default_rng(seed).dirichlet(np.ones(3) * 0.3, size=6))
    found, wanted = aligned(scores, labels), best_by_trying(scores, labels)
    # Where the path has a label, so has the alignment, in order; blanks are given to neighbours.
    number = -1
    for frame, token in enumerate(wanted):
        if token and (frame == 0 or wanted[frame - 1] != token):
            number += 1
        if token:
            assert found[frame] == number


def test_too_few_frames_for_the_labels_cannot_be_aligned():
    assert aligned(np.log(np.full((2, 3), 1 / 3)), (1, 2, 1)) is None
    assert aligned(np.log(np.full((2, 3), 1 / 3)), (1, 1)) is None  # a blank must lie between them


def test_blanks_belong_to_the_nearest_label_unless_it_is_far():
    scores = np.log(np.full((30, 3), 0.01))
    scores[:, 0] = np.log(0.98)
    for frame, token in ((12, 1), (16, 2)):
        scores[frame] = np.log([0.01, 0.01, 0.01])
        scores[frame, token] = np.log(0.98)
    found = aligned(scores, (1, 2))
    assert found[:5].tolist() == [SILENCE] * 5 and found[5:15].tolist() == [0] * 10
    assert found[15:24].tolist() == [1] * 9 and found[24:].tolist() == [SILENCE] * 6


def test_distances_are_told_beside_units(speech):
    items, store, _ = speech
    head = fitted(items, store, 1, 4, seed=0)
    ids, distances = unit_ids(head, store.frames(identity(items[0].sound)))
    assert ids.shape == distances.shape == (30,) and (distances >= 0).all()


def test_the_interval_of_mutual_information_holds_its_value():
    """Few frames in many cells: what draws of the same clips share is higher than what all of them share."""
    draw = np.random.default_rng(0)
    counts = np.stack([joint_counts(*draw.integers(20, size=(2, 60)), (20, 20)).ravel() for _ in range(30)])

    def statistic(rows):
        return pnmi(rows.reshape(-1, 20, 20).sum(0))

    low, high = centred_interval(counts, statistic)
    assert low < statistic(counts) < high
    assert bootstrap(counts[None], statistic)[0] > statistic(counts), "percentiles alone would not hold it"
