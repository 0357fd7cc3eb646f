"""CKA: without bias, in batches, the same as its definition, and as the plain one where that can be trusted."""

import itertools

import pytest
import torch

from speechpress.compressor.evaluate.features import Upstream
from speechpress.compressor.evaluate.similarity import cka_matrix, compare_layers, layer_frames, shuffled
from speechpress.runtime.errors import SpeechpressError


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain_cka(x, y):
    """arXiv:1905.00414, eq. 5, which is biased."""
    x, y = x - x.mean(0), y - y.mean(0)
    return float((y.T @ x).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()))


def hsic_by_definition(x, y):
    """The U-statistic over all four different frames that the closed form stands for (Song et al. 2012)."""
    k, m = (x @ x.T).tolist(), (y @ y.T).tolist()
    fours = list(itertools.permutations(range(len(x)), 4))
    return sum(k[a][b] * (m[a][b] + m[c][d] - 2 * m[a][c]) for a, b, c, d in fours) / len(fours)


def test_it_is_the_quotient_of_its_definition():
    x, y = noise(7, 3).double() + 2, noise(7, 5, seed=1).double() - 1
    wanted = hsic_by_definition(x, y) / (hsic_by_definition(x, x) * hsic_by_definition(y, y)) ** 0.5
    assert float(cka_matrix([x, y])[0, 1]) == pytest.approx(wanted, abs=1e-9)


def test_a_large_offset_does_not_drown_the_frames():
    x = noise(256, 8).double()
    y = x + 0.7 * noise(256, 8, seed=3).double()
    assert float(cka_matrix([x + 3e4, y - 1e5])[0, 1]) == pytest.approx(float(cka_matrix([x, y])[0, 1]), abs=1e-6)


def test_shuffled_layers_keep_their_frames_together():
    layers = [torch.arange(50.0)[:, None], torch.arange(50.0)[:, None] * 2]
    one, other = shuffled(layers)
    assert torch.equal(one * 2, other) and not torch.equal(one, layers[0])
    assert torch.equal(one.sort(0).values, layers[0]) and torch.equal(one, shuffled(layers)[0])


def test_it_agrees_with_the_plain_cka_on_many_frames():
    x = noise(4096, 12)
    y = torch.tanh(x @ noise(12, 20, seed=1)) + 0.5 * noise(4096, 20, seed=2)
    ours = cka_matrix([x, y])
    assert float(ours[0, 1]) == pytest.approx(plain_cka(x, y), abs=0.01)
    assert torch.allclose(ours, ours.T) and torch.allclose(ours.diagonal(), torch.ones(2, dtype=torch.float64))


def test_few_frames_do_not_make_unrelated_layers_alike():
    x, y = noise(256, 128), noise(256, 128, seed=1)
    assert plain_cka(x, y) > 0.3
    assert abs(float(cka_matrix([x, y], batch_frames=64)[0, 1])) < 0.05


def test_rotation_scale_and_offset_do_not_matter_and_batches_hardly():
    x = noise(1024, 16)
    y = x + 0.7 * noise(1024, 16, seed=3)
    turned = 50 * y @ torch.linalg.qr(noise(16, 16, seed=4)).Q + 100
    whole, split = cka_matrix([x, turned, y], 1024), cka_matrix([x, turned, y], 128)
    assert float(whole[1, 2]) == pytest.approx(1, abs=1e-6)
    assert torch.allclose(whole, split, atol=0.02)


def layered(*widths):
    """Layers of a frame every 320 samples, each another fixed map of the wave."""
    maps = [noise(320, width, seed=width) for width in widths]

    def states(waves):
        frames = waves[:, : waves.shape[1] // 320 * 320].reshape(len(waves), -1, 320)
        return [frames @ each for each in maps]

    return Upstream(states)


def test_frames_of_all_encoders_are_the_same_moments():
    waves = [noise(1, 16000 + 500 * k, seed=k) for k in range(8)]
    found = layer_frames({"a": layered(4, 6), "b": layered(4)}, waves, most=200)
    assert [layer.shape for layer in found["a"]] == [(200, 4), (200, 6)]
    assert torch.equal(found["a"][0], found["b"][0])
    assert len(found["a"][0].unique(dim=0)) == 200


def test_blocks_of_teacher_and_students():
    waves = [noise(1, 16000, seed=k) for k in range(4)]
    document = compare_layers("t", layer_frames({"s": layered(5), "t": layered(5, 7, 9)}, waves))
    assert len(document["teacher"]) == 3 and [len(row) for row in document["students"]["s"]] == [1, 1, 1]
    assert document["students"]["s"][0][0] == pytest.approx(1)
    assert document["frames"] == 200


def test_too_few_frames_are_an_error():
    with pytest.raises(SpeechpressError, match="give 3 frames, but layers are compared on at least 64"):
        layer_frames({"a": layered(4)}, [noise(1, 1000)])
    with pytest.raises(SpeechpressError, match="give 3 frames, but layers are compared on at least 4"):
        cka_matrix([noise(3, 5), noise(3, 5)])
    with pytest.raises(SpeechpressError, match="give 0 frames"):
        layer_frames({"a": layered(4)}, [])


def test_batches_are_summed_before_the_quotient():
    """Of unequal batches, by the definition over all fours of frames of each."""
    x, y = noise(13, 3).double(), noise(13, 4, seed=1).double() + noise(13, 4, seed=2).double()
    sums = dict.fromkeys(("xy", "xx", "yy"), 0.0)
    for rows in (slice(0, 7), slice(7, 13)):
        # On the scale of 1, as layers of other norms are added up: the mean squared norm of a batch's centred frames.
        one, two = (part[rows] - part[rows].mean(0) for part in (x, y))
        one, two = (part / part.square().sum(1).mean().sqrt() for part in (one, two))
        for pair, (a, b) in {"xy": (one, two), "xx": (one, one), "yy": (two, two)}.items():
            sums[pair] += hsic_by_definition(a, b)
    wanted = sums["xy"] / (sums["xx"] * sums["yy"]) ** 0.5
    assert float(cka_matrix([x, y], batch_frames=6)[0, 1]) == pytest.approx(wanted, abs=1e-9)
    whole = cka_matrix([x, y], batch_frames=7)
    assert torch.equal(whole, cka_matrix([x, y], batch_frames=13)) and not torch.equal(whole, cka_matrix([x, y], 6))


def test_four_frames_are_enough_and_a_dead_layer_is_like_nothing():
    x, y = noise(4, 3).double(), noise(4, 2, seed=1).double()
    wanted = hsic_by_definition(x, y) / (hsic_by_definition(x, x) * hsic_by_definition(y, y)) ** 0.5
    assert float(cka_matrix([x, y])[0, 1]) == pytest.approx(wanted, abs=1e-9)
    found = cka_matrix([noise(40, 3), torch.full((40, 3), 7.0)])
    assert found[0, 0] == pytest.approx(1) and found[0, 1] == found[1, 1] == 0


def test_every_clip_gives_as_many_frames_whatever_its_length():
    """Each clip is known by its sign and size, frames by their number; no frame is drawn twice."""

    def numbered(waves):
        frames = waves.shape[1] // 320
        return [torch.stack([waves[0, 0].expand(frames), torch.arange(frames)], 1)[None]]

    waves = [torch.full((1, samples), float(clip)) for clip, samples in enumerate((64_000, 32_000, 32_000, 128_000))]
    (drawn,) = layer_frames({"a": Upstream(numbered)}, waves, most=201)["a"]
    assert len(drawn) == 201 and len(drawn.unique(dim=0)) == 201
    counts = [int((drawn[:, 0] == clip).sum()) for clip in range(4)]
    assert counts[:3] == [51, 51, 51] and counts[3] == 48  # a quarter, rounded up; what is too much is left out
    assert drawn[:, 0].unique_consecutive().numel() > 100  # mixed, because batches are of neighbours
    for clip in range(4):
        numbers = drawn[drawn[:, 0] == clip, 1]
        assert not torch.equal(numbers, numbers.sort().values) and int(numbers.max()) > 52  # of the whole clip
    (again,) = layer_frames({"a": Upstream(numbered)}, waves, most=201)["a"]
    assert torch.equal(again, drawn)


def test_encoders_of_other_lengths_are_compared_where_both_have_frames():
    waves = [noise(1, 16_000, seed=k) for k in range(4)]
    short = Upstream(lambda wave: [layer[:, :-3] for layer in layered(4).states(wave)])
    found = layer_frames({"a": layered(4), "b": short}, waves)
    assert len(found["a"][0]) == 4 * 47 and torch.equal(found["a"][0], found["b"][0])


def test_at_least_64_frames_are_compared():
    assert len(layer_frames({"a": layered(4)}, [noise(1, 64 * 320)])["a"][0]) == 64
    with pytest.raises(SpeechpressError, match="give 63 frames"):
        layer_frames({"a": layered(4)}, [noise(1, 64 * 320 - 1)])


def test_blocks_are_those_of_each_pair():
    """Every figure of the document, of two students in any order, by the matrix of that pair alone."""
    waves = [noise(1, 16_000, seed=k) for k in range(4)]
    frames = layer_frames({"s": layered(5, 6), "t": layered(5, 7, 9), "u": layered(8)}, waves)
    document = compare_layers("t", frames)
    assert set(document) == {"frames", "batch_frames", "teacher", "students"} and document["batch_frames"] == 512
    assert list(document["students"]) == ["s", "u"]
    for name, found in {**document["students"], "t": document["teacher"]}.items():
        assert len(found) == 3 and all(len(row) == len(frames[name]) for row in found)
        for i, row in enumerate(found):
            for j, value in enumerate(row):
                alone = cka_matrix([frames["t"][i], frames[name][j]])
                assert value == pytest.approx(float(alone[0, 1]), abs=1e-9)
