"""All decoders, by what they have in common: vectors, cuts, states, bounds, and parameters that are refused."""

import itertools
import json
from dataclasses import replace

import answer_vectors
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.runtime.answers.decode import DECODERS, HeadSpec, decoder_of, final, whole
from speechpress.runtime.answers.head_spec import KINDS
from speechpress.runtime.errors import SpeechpressError

SPECS = {
    "classify": HeadSpec("h", "classify", ("a", "b", "c"), (3,), decoder={"window_s": 0.3}),
    "classify every": HeadSpec("h", "classify", ("a", "b", "c"), (3,), decoder={"window_s": 0.3, "every_s": 0.14}),
    "ctc": HeadSpec("h", "ctc", ("", "a", "b", "c"), (4,), threshold=0.4),
    "ctc beam": HeadSpec("h", "ctc", ("", "a", "b", "c"), (4,), decoder={"method": "beam", "beam": 4, "wait_s": 0.3}),
    "units": HeadSpec("h", "units", (), (5, 1)),
    "units each": HeadSpec("h", "units", (), (5, 1), decoder={"dedup": False}),
    "vad": HeadSpec("h", "vad", ("speech",), (1,)),
    "segment": HeadSpec("h", "segment", ("x", "y"), (2,), decoder={"min_speech_s": 0.04, "min_silence_s": 0.04}),
}
VECTORS = {kind.__name__: kind for kind in answer_vectors.KINDS}


def outputs_of(spec, frames, seed=0):
    """Noise whose neighbours are alike, as a model's outputs are."""
    x = np.random.default_rng(seed).normal(0, 2, (frames // 3 + 1, spec.widths[0]))
    x = np.repeat(x, 3, 0)[:frames].astype(np.float32)
    if spec.kind == "units":
        return {"distances": np.abs(x), "ids": np.abs(x).argmin(1)[:, None].astype(np.int64)}
    return {"logits": x}


def cut(frames, places):
    edges = sorted({0, frames, *(place for place in places if place <= frames)})
    return [after - before for before, after in itertools.pairwise(edges)]


@pytest.mark.parametrize("kind", VECTORS)
def test_the_vectors_are_those_of_today(kind):
    stored = (answer_vectors.FOLDER / f"{kind}.json").read_text(encoding="utf-8")
    assert stored == answer_vectors.document(VECTORS[kind]), "run tests/runtime_answers/answer_vectors.py"
    assert len(json.loads(stored)["cases"]) >= 5


def test_every_decoder_has_vectors():
    assert set(VECTORS) == set(DECODERS) and set(DECODERS) <= set(KINDS)


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=15, deadline=None)
@given(places=st.lists(st.integers(0, 70), max_size=8), seed=st.integers(0, 9))
def test_final_events_do_not_depend_on_the_cuts(name, places, seed):
    spec, outputs = SPECS[name], outputs_of(SPECS[name], 70, seed)
    steps, _ = answer_vectors.played(spec, outputs, cut(70, places))
    assert final([*itertools.chain(*steps)]) == whole(decoder_of(spec), outputs)


@pytest.mark.parametrize("name", SPECS)
def test_a_partial_event_is_replaced_or_made_final_by_its_number(name):
    steps, _ = answer_vectors.played(SPECS[name], outputs_of(SPECS[name], 300), [10] * 30)
    decided, seen = set(), 0
    for event in itertools.chain(*steps):
        assert event.number not in decided and event.end_s > event.start_s >= 0
        decided |= {event.number} if event.final else set()
        seen += event.final
    assert seen > 3 and decided == set(range(seen))


def as_json(state):
    return json.loads(json.dumps(state, default=np.ndarray.tolist, allow_nan=False))


@pytest.mark.parametrize("name", SPECS)
def test_a_step_leaves_the_state_before_it_alone_and_a_state_can_be_taken_up_again(name):
    decoder, outputs = decoder_of(SPECS[name]), outputs_of(SPECS[name], 60)
    first, second = ({key: x[part] for key, x in outputs.items()} for part in (slice(30), slice(30, None)))
    _, state = decoder.step(first, 0, decoder.initial_state())
    kept = as_json(state)
    once = decoder.step(second, 30, state)
    assert as_json(state) == kept
    again = decoder.step(second, 30, state)
    assert once[0] == again[0] and as_json(once[1]) == as_json(again[1])
    assert decoder.finish(once[1]) == decoder.finish(once[1])


@pytest.mark.parametrize("name", [name for name in SPECS if name != "ctc beam"])
def test_an_hour_leaves_the_state_as_small_as_a_minute(name):
    decoder, minute = decoder_of(SPECS[name]), outputs_of(SPECS[name], 3000)
    state, sizes = decoder.initial_state(), []
    for index in range(60 if name.startswith(("ctc", "units", "vad")) else 6):
        _, state = decoder.step(minute, 3000 * index, state)
        sizes.append(len(json.dumps(as_json(state))))
    assert sizes[-1] < 1.2 * sizes[0] + 100


def test_the_beam_stays_bounded_whatever_it_hears():
    # Two labels that are alike, and never a sure blank: without a limit the sequences would never agree.
    spec = replace(SPECS["ctc beam"], decoder={"method": "beam", "beam": 6, "wait_s": 0.3})
    decoder, sizes = decoder_of(spec), []
    for seed, scale in ((0, 0.01), (1, 0.5), (2, 3.0)):
        state = decoder.initial_state()
        x = np.random.default_rng(seed).normal(0, scale, (100, 4)).astype(np.float32)
        for index in range(15):
            _, state = decoder.step({"logits": x}, 100 * index, state)
            sizes.append(max(len(beam[0]) for beam in state["beams"]))
    assert max(sizes) <= 15 + 2


def test_an_hour_of_silence_and_labels_costs_the_beam_nothing():
    decoder = decoder_of(SPECS["ctc beam"])
    row = np.zeros((1, 4), np.float32)
    row[0, 0] = 12
    state, silence = decoder.initial_state(), np.repeat(row, 3000, 0)
    for index in range(60):
        _, state = decoder.step({"logits": silence}, 3000 * index, state)
    assert len(json.dumps(as_json(state))) < 2000 and state["beams"][0][1] > -1
    label = np.float32([[0, 12, 0, 0]])
    events, state = decoder.step({"logits": np.concatenate([label, row])}, 180_000, state)
    told = final([*events, *decoder.finish(state)])
    assert [event.label for event in told] == ["a"] and told[0].start_s == 3600.0


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("frames", (0, 1))
def test_almost_nothing_to_hear(name, frames):
    events = whole(decoder_of(SPECS[name]), outputs_of(SPECS[name], frames))
    assert len(events) <= frames and all(event.end_s == pytest.approx(0.02) for event in events)


@pytest.mark.parametrize(
    ("kind", "decoder", "text"),
    [
        ("classify", {"window": 1.0}, "did you mean 'window_s'"),
        ("classify", {"window_s": 0}, "window_s is 0, but must be a number above 0 to 60"),
        ("classify", {"score": "sigmoid"}, "score is 'sigmoid'"),
        ("ctc", {"method": "best"}, "one of greedy, beam"),
        ("ctc", {"beam": 8.0}, "a whole number from 1 to 100"),
        ("ctc beam", {"wait_s": float("nan")}, "wait_s is nan"),
        ("units", {"dedup": 1}, "true or false"),
        ("vad", {"hangover_s": -1}, "hangover_s is -1"),
        ("segment", {"hysteresis": "0.1"}, "hysteresis is '0.1'"),
    ],
)
def test_a_parameter_that_is_no_such_is_an_error(kind, decoder, text):
    with pytest.raises(SpeechpressError, match="head h") as error:
        decoder_of(replace(SPECS[kind], decoder=decoder))
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (HeadSpec("h", "ctc", (), ()), "at least 2"),
        (HeadSpec("h", "ctc", ("",), (1,)), "at least 2"),
        (HeadSpec("h", "ctc", ("", "a"), (3,)), "2 labels for 3 columns"),
        (HeadSpec("h", "classify", (), ()), "at least 1"),
        (HeadSpec("h", "vad", ("speech",), (3,)), "one (speech) or two"),
        (HeadSpec("h", "vad", ("speech",), (1,), threshold=2.0), "threshold is 2.0"),
        (HeadSpec("h", "classify", ("a", "b"), (2,), 1, 2, 10**6, {"window_s": 60.0}), "holds more than 10,000,000"),
        (HeadSpec("h", "smell", (), ()), "no decoder for the kind 'smell'"),
    ],
)
def test_a_head_that_cannot_be_decoded_is_an_error(spec, text):
    with pytest.raises(SpeechpressError, match="head h") as error:
        decoder_of(spec)
    assert text in str(error.value)


@pytest.mark.parametrize("name", SPECS)
def test_outputs_that_do_not_fit_are_an_error(name):
    spec = SPECS[name]
    decoder, good = decoder_of(spec), outputs_of(spec, 4)
    first = next(iter(good))
    broken = good[first].copy()
    broken[2, 0] = np.nan
    for bad, text in (({}, "missing"), ({first: good[first][:, :-1]}, "shape"), ({first: broken}, "not finite")):
        with pytest.raises(SpeechpressError, match=text):
            decoder.step(bad if text == "missing" else {**good, **bad}, 0, decoder.initial_state())


def test_units_beyond_the_centres_are_an_error():
    decoder = decoder_of(SPECS["units"])
    for unit in (5, -1):
        with pytest.raises(SpeechpressError, match="from 0 to 4"):
            decoder.step({"distances": np.ones((1, 5)), "ids": np.array([[unit]])}, 0, decoder.initial_state())
