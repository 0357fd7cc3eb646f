import numpy as np
import pytest

from speechpress.runtime.demo.dtw import Search, Space, search
from speechpress.runtime.errors import SpeechpressError

RANDOM = np.random.default_rng(0)


def units(count, width=16):
    frames = RANDOM.standard_normal((count, width)).astype(np.float32)
    return frames / np.linalg.norm(frames, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def stream():
    return units(300)


@pytest.mark.parametrize(
    "said", [lambda e: e, lambda e: np.repeat(e, 2, axis=0), lambda e: e[::2]], ids=["even", "half as fast", "twice"]
)
def test_an_example_is_found_at_other_speeds(stream, said):
    example = np.repeat(units(8), 3, axis=0)  # sounds last some frames, as in speech
    inside = said(example)
    stream = np.concatenate([stream[:100], inside, stream[100:]])
    costs, starts = search([example, units(20)], stream)
    end = int(costs[:, 0].argmin())
    # Within a sound, one path is as good as another.
    assert abs(end - (99 + len(inside))) <= 6 and abs(starts[end, 0] - 100) <= 6
    assert costs[end, 0] < 0.2 < costs[:, 1].min()


def test_pieces_of_any_size_give_the_same_as_one(stream):
    examples = [units(12), units(7), units(25)]
    whole, starts = search(examples, stream)
    hunt = Search(examples)
    parts = [hunt.push(piece) for piece in np.split(stream, [1, 2, 60, 60, 211])]
    assert np.allclose(np.concatenate([costs for costs, _ in parts]), whole, atol=1e-5)
    assert np.array_equal(np.concatenate([began for _, began in parts]), starts)
    hunt.reset()
    assert np.allclose(hunt.push(stream)[0], whole, atol=1e-5)


def test_each_example_is_searched_as_if_alone(stream):
    examples = [units(12), units(30)]
    together, _ = search(examples, stream)
    for column, example in enumerate(examples):
        assert np.allclose(together[:, column], search([example], stream)[0][:, 0], atol=1e-5)


def test_the_cost_is_what_the_recursion_says(stream):
    """Against the plain definition, cell by cell."""
    example, frames = units(6), stream[:40]
    far = 1 - example @ frames.T
    cost = np.full(far.shape, np.inf)
    for t in range(frames.shape[0]):
        for i in range(len(example)):

            def at(row, column):
                return 0.0 if row == -1 and column >= -1 else cost[row, column] if row >= 0 and column >= 0 else np.inf

            slow = at(i - 1, t - 2) + (far[i, t - 1] + far[i, t]) / 2 if t >= 1 else np.inf
            fast = at(i - 2, t - 1) + far[i - 1, t] + far[i, t] if i >= 1 else np.inf
            cost[i, t] = min(at(i - 1, t - 1) + far[i, t], slow, fast)
    assert np.allclose(search([example], frames)[0][:, 0][6:], cost[-1][6:] / len(example), atol=1e-5)


def test_space_forgets_what_all_frames_share():
    speech = RANDOM.standard_normal((500, 4)) * [1, 1, 1, 0.01] + [0, 0, 90, 5]
    space = Space.of(speech)
    near = space.unit(speech[:-1]) @ space.unit(speech[1:]).T
    assert abs(near.mean()) < 0.05


def test_too_little():
    with pytest.raises(SpeechpressError, match="too little"):
        Space.of(np.zeros((1, 4)))
    with pytest.raises(SpeechpressError, match="fewer than two frames"):
        Search([units(1)])
