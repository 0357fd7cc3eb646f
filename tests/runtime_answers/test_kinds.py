"""Each decoder against the plainest way to write it down."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from speechpress.runtime.answers.decode import HeadSpec, decoder_of, whole

CTC = HeadSpec("phones", "ctc", ("", "a", "b"), (3,))
CLASSIFY = HeadSpec("mood", "classify", ("a", "b", "c"), (3,), decoder={"window_s": 0.1})
VAD = HeadSpec("speech", "vad", ("speech",), (1,), decoder={"min_speech_s": 0.0, "min_silence_s": 0.0})


def noise(seed, frames, width, scale=2.0):
    return np.random.default_rng(seed).normal(0, scale, (frames, width)).astype(np.float32)


def collapsed(path):
    return tuple(label for label, _ in itertools.groupby(path) if label)


def softmax(x):
    powers = np.exp(np.asarray(x, np.float64))
    return powers / powers.sum(-1, keepdims=True)


def test_greedy_is_the_best_path_collapsed():
    x = noise(0, 400, 3)
    wanted = collapsed(x.argmax(1).tolist())
    assert [CTC.labels.index(event.label) for event in whole(decoder_of(CTC), {"logits": x})] == list(wanted)


@pytest.mark.parametrize("seed", range(12))
def test_a_wide_beam_finds_the_likeliest_sequence_of_all(seed):
    x, sums = noise(seed, 6, 3, 1.0), {}
    p = softmax(x)
    for path in itertools.product(range(3), repeat=6):
        sums[collapsed(path)] = sums.get(collapsed(path), 0) + p[np.arange(6), path].prod()
    # So long a wait that nothing is decided by it.
    spec = replace(CTC, decoder={"method": "beam", "beam": 100, "least": 0.0, "wait_s": 10.0})
    found = tuple(CTC.labels.index(event.label) for event in whole(decoder_of(spec), {"logits": x}))
    assert found == max(sums, key=sums.get)


def test_the_times_of_a_label_are_those_of_its_frames_whatever_the_method():
    path = [0, 1, 1, 1, 0, 0, 2, 0, 2, 2]
    x = np.eye(3, dtype=np.float32)[path] * 8
    for method in ("greedy", "beam"):
        events = whole(decoder_of(replace(CTC, decoder={"method": method})), {"logits": x})
        assert [(event.label, event.start_s, event.end_s) for event in events] == [
            ("a", pytest.approx(0.02), pytest.approx(0.08)),
            ("b", pytest.approx(0.12), pytest.approx(0.14)),
            ("b", pytest.approx(0.16), pytest.approx(0.2)),
        ]
        assert all(event.score == pytest.approx(softmax(x)[1, 1]) for event in events)


def test_the_beam_decides_no_later_than_it_says():
    spec = replace(CTC, decoder={"method": "beam", "wait_s": 0.2})
    decoder = decoder_of(spec)
    state, late = decoder.initial_state(), []
    for frame, row in enumerate(noise(3, 500, 3, 1.0)):
        events, state = decoder.step({"logits": row[None]}, frame, state)
        late += [1000 * ((frame + 1) * 0.02 - event.end_s) for event in events if event.final]
    assert 20 < max(late) <= decoder.wait().final_ms + 1e-6


def test_the_answer_is_that_of_the_mean_of_the_window():
    x = noise(4, 60, 3)
    decoder = decoder_of(replace(CLASSIFY, decoder={"window_s": 0.1, "every_s": 0.02, "clip": False}))
    events = whole(decoder, {"logits": x})
    means = np.stack([x[end - 5 : end].astype(np.float64).mean(0) for end in range(5, 61)])
    assert [CLASSIFY.labels.index(event.label) for event in events] == means.argmax(1).tolist()
    assert [event.score for event in events] == pytest.approx(softmax(means).max(1).tolist())


def test_the_clips_answer_is_that_of_the_mean_of_all():
    x = noise(5, 47, 3)
    event = whole(decoder_of(CLASSIFY), {"logits": x})[-1]
    mean = x.astype(np.float64).mean(0)
    assert (event.label, event.start_s) == (CLASSIFY.labels[mean.argmax()], 0)
    assert event.end_s == pytest.approx(0.94) and event.score == pytest.approx(softmax(mean).max())


def test_one_loud_frame_is_forgotten_with_its_window():
    x = np.zeros((40, 3), np.float32)
    x[:, 1] = 1
    x[10, 2] = 1e30
    events = whole(decoder_of(replace(CLASSIFY, decoder={"window_s": 0.1, "clip": False})), {"logits": x})
    assert [event.label for event in events] == ["b", "c", "b"]


def test_units_keep_what_the_program_chose():
    ids = [3, 3, 3, 0, 2, 2]
    outputs = {"distances": np.full((6, 4), 1.0, np.float32), "ids": np.array(ids)[:, None]}
    each = HeadSpec("units", "units", (), (4, 1), decoder={"dedup": False})
    assert [event.label for event in whole(decoder_of(each), outputs)] == list(map(str, ids))
    merged = whole(decoder_of(replace(each, decoder={})), outputs)
    assert [(event.label, round(event.end_s - event.start_s, 9)) for event in merged] == [
        ("3", 0.06),
        ("0", 0.02),
        ("2", 0.04),
    ]
    assert {event.score for event in merged} == {0.5}


def test_a_speaker_is_told_while_heard_and_at_the_end():
    decoder = decoder_of(HeadSpec("who", "speaker", (), (2,), decoder={"every_s": 1.0}))
    state, told = decoder.initial_state(), []
    for chunk in range(1, 21):
        events, state = decoder.step({"vector": np.float32([[3, chunk]])}, 16 * chunk, state)
        told += events
    assert [round(event.end_s, 2) for event in told] == [1.28, 2.24, 3.2, 4.16, 5.12, 6.08]
    assert not any(event.final for event in told)
    (last,) = decoder.finish(state)
    assert last.final and np.allclose(last.vector, np.array([3, 20]) / np.hypot(3, 20))
    assert last.score == pytest.approx(np.hypot(3, 20)) and last.end_s == pytest.approx(6.4)


def test_without_minimum_durations_speech_is_every_frame_above_the_threshold():
    x = noise(6, 300, 1)
    spec = replace(VAD, decoder={**VAD.decoder, "hysteresis": 0.0, "hangover_s": 0.0})
    spoken = np.zeros(300, bool)
    for event in whole(decoder_of(spec), {"logits": x}):
        spoken[round(event.start_s / 0.02) : round(event.end_s / 0.02)] = True
    assert np.array_equal(spoken, x[:, 0] >= 0)


def test_two_columns_of_speech_say_what_their_difference_says():
    x = noise(7, 200, 1)
    two = replace(VAD, labels=("silence", "speech"), widths=(2,))
    wanted = whole(decoder_of(VAD), {"logits": x})
    found = whole(decoder_of(two), {"logits": np.concatenate([np.zeros_like(x), x], 1)})
    assert len(wanted) > 5
    assert [(e.start_s, e.end_s) for e in found] == [(e.start_s, e.end_s) for e in wanted]


def test_tracks_are_decided_by_themselves():
    x = noise(8, 300, 2)
    both = whole(decoder_of(HeadSpec("who", "segment", ("x", "y"), (2,), decoder=VAD.decoder)), {"logits": x})
    for column, label in enumerate("xy"):
        alone = whole(decoder_of(VAD), {"logits": x[:, column : column + 1]})
        assert [(e.start_s, e.score) for e in both if e.label == label] == [(e.start_s, e.score) for e in alone]
    assert sorted(event.number for event in both) == list(range(len(both)))
