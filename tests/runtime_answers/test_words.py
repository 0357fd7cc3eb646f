import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.runtime.answers.decode import decoder_of, whole
from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.answers.words import FAR, LOUDEST, PARTS, VectorSearch, VectorSpace, vector_of
from speechpress.runtime.errors import SpeechpressError

WIDTH = 7


def outputs(frames, seed):
    """Random outputs of a head that change slowly, as speech does."""
    draw = np.random.default_rng(seed)
    found = np.repeat(draw.standard_normal((frames // 5 + 1, WIDTH)), 5, axis=0)[:frames]
    return found.astype(np.float32)


WORDS = [outputs(30, 1), outputs(44, 2)]


def planted(at, word, frames=300):
    stream = outputs(frames, 9)
    stream[at : at + len(word)] = word
    return stream


def naive(stretch):
    parts = []
    for part in range(PARTS):
        edges = [(len(stretch) * edge + PARTS // 2) // PARTS for edge in (part, part + 1)]
        weight = np.exp(np.clip(stretch[edges[0] : edges[1], -1:], -LOUDEST, LOUDEST).astype(np.float64))
        parts.append((weight * stretch[edges[0] : edges[1], :-1]).sum(0) / weight.sum())
    whole = np.concatenate(parts)
    return whole / np.linalg.norm(whole)


@pytest.mark.parametrize("size", [3, 4, 10, 31, 62])
def test_a_vector_is_the_weighted_mean_of_each_part(size):
    stretch = outputs(size, size)
    np.testing.assert_allclose(vector_of(stretch), naive(stretch), atol=1e-5)


def test_the_order_of_sounds_counts():
    word = outputs(30, 4)
    assert vector_of(word) @ vector_of(word[::-1]) < 0.9


def test_frames_of_more_weight_count_more():
    word = outputs(30, 4)
    word[:10, -1] = -LOUDEST
    word[4, -1] = LOUDEST
    heavy = vector_of(word)[: WIDTH - 1]
    np.testing.assert_allclose(heavy / np.linalg.norm(heavy), word[4, :-1] / np.linalg.norm(word[4, :-1]), atol=1e-3)


def test_a_word_is_found_where_it_ends_and_where_it_begins():
    costs, starts = VectorSearch(WORDS).push(planted(100, WORDS[0]))
    assert costs[:, 0].argmin() == 129 and costs[129, 0] < 1e-5 and starts[129, 0] == 100
    assert costs[:, 1].min() > 0.05


@pytest.mark.parametrize("rate", [0.8, 1.25])
def test_a_word_said_slower_or_faster_is_nearer_than_all_else(rate):
    at = np.minimum((np.arange(round(30 * rate)) / rate).astype(int), 29)
    costs, _ = VectorSearch(WORDS[:1]).push(planted(100, WORDS[0][at]))
    end = 100 + len(at) - 1
    assert abs(costs[:, 0].argmin() - end) <= 3
    assert costs[end - 3 : end + 4, 0].min() < 0.6 * np.delete(costs[:, 0], np.s_[end - 15 : end + 16]).min()


def test_a_window_longer_than_the_stream_so_far_does_not_count():
    costs, _ = VectorSearch(WORDS[1:]).push(outputs(60, 3))
    shortest = int(np.ceil(0.7 * 44))
    assert (costs[: shortest - 2] == FAR).all() and (costs[shortest + 4 :] < 2.1).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 90), min_size=1, max_size=12), st.integers(0, 100))
def test_pieces_of_any_size_give_the_same(sizes, seed):
    stream = outputs(sum(sizes), seed)
    whole = VectorSearch(WORDS).push(stream)
    search, at, parts = VectorSearch(WORDS), 0, []
    for size in sizes:
        parts.append(search.push(stream[at : at + size]))
        at += size
    costs, starts = (np.concatenate(part) for part in zip(*parts, strict=True))
    np.testing.assert_array_equal(costs, whole[0])
    np.testing.assert_array_equal(starts, whole[1])
    assert search.frames_heard == len(stream)


def test_a_stream_begins_anew_after_reset():
    search = VectorSearch(WORDS)
    first = search.push(planted(20, WORDS[0], 90))
    search.reset()
    np.testing.assert_array_equal(search.push(planted(20, WORDS[0], 90))[0], first[0])


def test_a_head_without_taught_words_brings_no_events_but_checks_its_outputs():
    decoder = decoder_of(HeadSpec("mine", "words", widths=(WIDTH,)))
    assert whole(decoder, {"vectors": outputs(50, 1)}) == []
    with pytest.raises(SpeechpressError, match="mine"):
        decoder.step({"vectors": outputs(5, 1)[:, 1:]}, 0, decoder.initial_state())
    with pytest.raises(SpeechpressError, match="words"):
        decoder_of(HeadSpec("mine", "words", widths=(WIDTH,), decoder={"labels": 1}))


@pytest.mark.parametrize("examples", [[], [outputs(2, 0)]])
def test_no_example_or_one_without_a_frame_for_each_part_is_refused(examples):
    with pytest.raises(SpeechpressError, match="fewer than 3 frames"):
        VectorSpace().search(examples)
