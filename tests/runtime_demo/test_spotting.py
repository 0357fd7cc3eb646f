import numpy as np
import pytest

from speechpress.runtime.answers.words import VectorSpace
from speechpress.runtime.demo.dtw import EmbeddingSpace
from speechpress.runtime.demo.spotting import Background, Spotter, learn, peaks, word_scores
from speechpress.runtime.errors import SpeechpressError

FRAME_S = 0.02


def speech(count, seed):
    """Frames (count, 24) that change as speech does: sounds of a few frames, from a small set, with noise."""
    random = np.random.default_rng(seed)
    sounds = np.random.default_rng(99).standard_normal((30, 24))
    order = np.repeat(random.integers(0, 30, count), random.integers(2, 8, count))[:count]
    return (sounds[order] + 0.3 * random.standard_normal((count, 24))).astype(np.float32)


def noisy(frames, seed):
    return (frames + 0.3 * np.random.default_rng(seed).standard_normal(frames.shape)).astype(np.float32)


WORDS = {"one": speech(40, 1), "two": speech(34, 2)}


@pytest.fixture(scope="module")
def background():
    return Background(speech(6000, 3))


@pytest.fixture(scope="module")
def taught(background):
    return [learn(name, [noisy(frames, k) for k in range(3)], background) for name, frames in WORDS.items()]


def told(spotter, frames, size):
    hits = []
    for first in range(0, len(frames), size):
        piece = frames[first : first + size]
        hits += spotter.push(piece, (first + 1 + np.arange(len(piece))) * FRAME_S)
    return hits


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_words_are_told_once_each_and_where_they_were_said(background, taught, size):
    other = speech(800, 5)
    said = [noisy(WORDS[name], 8) for name in ("one", "two", "one")]
    stream = np.concatenate([other[:200], said[0], other[200:400], said[1], other[400:600], said[2], other[600:]])
    hits = told(Spotter(taught, background), stream, size)
    assert [hit.word for hit in hits] == ["one", "two", "one"]
    for hit, start in zip(hits, (200, 440, 674), strict=True):
        assert abs(hit.start_s - start * FRAME_S) < 0.15 and hit.end_s > hit.start_s and hit.score > 3


def test_a_longer_path_through_a_word_is_not_told_as_well(background, taught):
    other, said = speech(400, 5), noisy(WORDS["one"], 8)
    for drawn_out in (10, 15, 20):  # frames of its end, once more
        end = noisy(WORDS["one"][-drawn_out:], 9)
        hits = told(Spotter(taught, background), np.concatenate([other[:200], said, end, other[200:]]), 4)
        assert [hit.word for hit in hits] == ["one"] and hits[0].end_s == pytest.approx(4.8, abs=0.1)


def test_other_speech_passes_the_threshold_about_as_often_as_it_should(background, taught):
    quarter_hour = speech(45_000, 6)
    assert len(told(Spotter(taught, background), quarter_hour, 5000)) <= 4  # two words, some luck


def test_examples_that_are_not_the_same_word_are_doubted(background, taught):
    assert not any(word.doubtful for word in taught)
    assert learn("mixed", [WORDS["one"], WORDS["two"], speech(30, 7)], background).doubtful


def test_one_example_is_enough(background):
    word = learn("one", [noisy(WORDS["one"], 0)], background)
    assert word.agreement is None and not word.doubtful
    assert [
        hit.word
        for hit in told(Spotter([word], background), np.concatenate([speech(100, 9), WORDS["one"], speech(100, 10)]), 4)
    ] == ["one"]


def test_words_change_while_it_runs(background, taught):
    spotter = Spotter([], background)
    assert spotter.push(WORDS["one"], np.arange(40) * FRAME_S) == []
    spotter.set_words(taught[:1])
    stream = np.concatenate([noisy(WORDS["one"], 4), speech(60, 11)])
    assert [hit.word for hit in told(spotter, stream, 4)] == ["one"]


def test_a_word_with_which_the_stream_ends(background, taught):
    spotter = Spotter(taught, background)
    hits = told(spotter, np.concatenate([speech(100, 9), noisy(WORDS["two"], 4)]), 4)
    assert [hit.word for hit in hits + spotter.finish()] == ["two"] and spotter.finish() == []


@pytest.mark.parametrize(
    ("examples", "said"), [([], "at least once"), ([speech(4, 1)], "0.08 s"), ([speech(500, 1)], "10.00 s")]
)
def test_examples_that_are_no_words(background, examples, said):
    with pytest.raises(SpeechpressError, match=said):
        learn("one", examples, background)


def test_a_background_shorter_than_a_word():
    with pytest.raises(SpeechpressError, match="shorter than the examples"):
        learn("one", [WORDS["one"]], Background(speech(30, 0)))


def test_peaks_keep_apart():
    assert peaks(np.array([1.0, 0, 5, 4, 0, 3, 2]), 1) == [5, 3, 1]


CONFUSED = np.concatenate([WORDS["one"][:22], speech(18, 44)])  # begins as "one" does


@pytest.mark.parametrize("size", [3, 1000])
def test_what_is_not_the_word_lowers_its_score_and_the_word_is_still_found(background, size):
    examples = [noisy(WORDS["one"], k) for k in range(3)]
    plain = learn("one", examples, background)
    wiser = learn("one", examples, background, against=[noisy(CONFUSED, 20)])
    other = speech(400, 5)
    stream = np.concatenate([other[:200], noisy(CONFUSED, 8), other[200:], noisy(WORDS["one"], 9), speech(60, 6)])

    def best(word, first, last):
        spotter, top = Spotter([word], background), -np.inf
        for at in range(0, len(stream), size):
            spotter.push(stream[at : at + size], (at + 1 + np.arange(len(stream[at : at + size]))) * FRAME_S)
            top = max(top, spotter.last_scores[0]) if first <= at <= last else top
        return top

    if size == 3:
        assert best(wiser, 225, 260) < best(plain, 225, 260) - 2
    assert [hit.start_s > 8 for hit in told(Spotter([wiser], background), stream, size)] == [True]


def test_scores_with_counter_examples_do_not_depend_on_the_pieces(background):
    word = learn("one", [WORDS["one"], noisy(WORDS["one"], 1)], background, against=[CONFUSED, noisy(CONFUSED, 2)])
    costs = np.random.default_rng(0).random((200, 4)).astype(np.float32)
    whole, _ = word_scores(costs, word)
    before, parts = None, []
    for first in range(0, 200, 7):
        scores, before = word_scores(costs[first : first + 7], word, before)
        parts.append(scores)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("space", [VectorSpace, EmbeddingSpace])
def test_words_are_found_in_what_a_head_gives(space):
    """What a words head gives has the shape of these frames: an embedding, and the weight as the last column."""

    def even(frames):
        """Every frame counts the same."""
        return np.concatenate([frames[:, :-1], 0 * frames[:, -1:]], 1)

    heard = even(speech(6000, 3))
    background = Background(heard, way=VectorSpace() if space is VectorSpace else space.of(heard), head="words")
    taught = [learn(name, [even(noisy(frames, k)) for k in range(3)], background) for name, frames in WORDS.items()]
    said = [even(noisy(WORDS[name], 8)) for name in ("one", "two")]
    other = even(speech(600, 5))
    stream = np.concatenate([other[:200], said[0], other[200:400], said[1], other[400:]])
    for size in (4, 1000):
        hits = told(Spotter(taught, background), stream, size)
        assert [hit.word for hit in hits] == ["one", "two"]
        assert all(abs(hit.start_s - at * FRAME_S) < 0.2 for hit, at in zip(hits, (200, 440), strict=True))
