"""Events of a live stream: trimmed as the frames, whatever the pieces and chunks, no later than stated."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.runtime.answers.decode import HeadSpec, final
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.spec import NO_END, StreamSpec
from speechpress.runtime.stream import Step, StreamingExtractor

QUICK = {"min_speech_s": 0.06, "min_silence_s": 0.1, "hangover_s": 0.0}
HEADS = (
    HeadSpec("phones", "ctc", ("", "a", "b", "c"), (4,)),
    HeadSpec("beam", "ctc", ("", "a", "b", "c"), (4,), decoder={"method": "beam", "wait_s": 0.2}),
    HeadSpec(
        "speech", "vad", ("speech",), (1,), decoder={"min_speech_s": 0.06, "min_silence_s": 0.1, "hangover_s": 0.0}
    ),
    HeadSpec("mood", "classify", ("x", "y", "z"), (3,), decoder={"window_s": 0.2}),
    HeadSpec("units", "units", (), (5, 1)),
    HeadSpec("who", "speaker", (), (3,), decoder={"every_s": 0.2}),
)
FRAMES = 100
TABLES = {spec.name: np.random.default_rng(1).normal(0, 2, (FRAMES + 60, spec.widths[0])) for spec in HEADS}
TABLES["speech"] = np.repeat(TABLES["speech"], 9, 0)  # so that speech and silence last


class TableEngine:
    """What it says of a frame depends on the frame's number alone; before the first and after the last it is NaN."""

    def __init__(self, chunk_frames, lookahead_frames=3, heads=HEADS):
        self.spec, self.heads = StreamSpec(chunk_frames, 2, lookahead_frames=lookahead_frames), heads

    def initial_state(self):
        return {"count": np.array([self.spec.first_frame], np.int64), "end": np.array([NO_END], np.int64)}

    def step(self, chunk, state):
        size, first, end = self.spec.chunk_frames, int(state["count"][0]), int(state["end"][0])
        numbers = np.arange(first, first + size)
        exists = (numbers >= 0) & (numbers < end)
        answers = {spec.name: self._answer(spec, numbers, exists, min(first + size, end)) for spec in self.heads}
        state = {"count": state["count"] + size, "end": state["end"]}
        return Step(np.zeros((1, size, 2), np.float32), state, answers)

    def _answer(self, spec, numbers, exists, heard):
        table = TABLES[spec.name].astype(np.float32)
        if spec.kind == "speaker":
            return {"vector": table[None, max(0, heard - 1) : max(0, heard - 1) + 1]}
        rows = np.where(exists[:, None], table[np.clip(numbers, 0, len(table) - 1)], np.float32(np.nan))[None]
        if spec.kind == "units":
            ids = np.where(exists, np.abs(rows[0]).argmin(1), -7)
            return {"distances": np.abs(rows), "ids": ids[None, :, None]}
        return {"logits": rows}


WAVE = np.zeros(FRAMES * 320 + 80, np.float32)


def events_of(engine, sizes, wave=WAVE):
    stream, events, at = StreamingExtractor(engine), [], 0
    for size in [*sizes, len(wave)]:
        events += stream.push(wave[at : at + size]).events
        at += size
    return [*events, *stream.flush().events]


WANTED = final(events_of(TableEngine(8), []))


def by_head(events):
    """What apps see of each head; heads come in the order of their chunks."""
    return {spec.name: [event for event in events if event.head == spec.name] for spec in HEADS}


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 9000), max_size=10), chunk=st.integers(1, 24), lookahead=st.integers(0, 30))
def test_pieces_and_chunks_of_any_size_give_the_same_final_events(sizes, chunk, lookahead):
    assert by_head(final(events_of(TableEngine(chunk, lookahead), sizes))) == by_head(WANTED)


def test_every_head_says_something_and_nothing_beyond_the_end():
    told = by_head(WANTED)
    assert all(told.values()) and max(event.end_s for event in WANTED) == pytest.approx(FRAMES * 0.02)
    assert len(told["phones"]) > 20 and len(told["units"]) > 20 and len(told["who"]) == 1
    last = TABLES["who"].astype(np.float32)[FRAMES - 1]
    assert np.allclose(told["who"][0].vector, last / np.linalg.norm(last), atol=1e-6)


def test_pieces_of_one_chunk_size_give_the_same_partial_events_too():
    assert events_of(TableEngine(8), [1000] * 40) == events_of(TableEngine(8), [317] * 120)


def test_a_reset_forgets_what_was_heard():
    stream = StreamingExtractor(TableEngine(8))
    stream.push(WAVE[:9000])
    stream.reset()
    assert final([*stream.push(WAVE).events, *stream.flush().events]) == WANTED


@pytest.mark.parametrize("samples", (0, 399, 400))
def test_a_recording_without_frames_has_no_events(samples):
    events = final(events_of(TableEngine(8), [], WAVE[:samples]))
    assert {event.end_s for event in events} <= ({0.02} if samples == 400 else set())


def test_an_engine_without_the_outputs_of_a_head_is_an_error():
    class Forgetful(TableEngine):
        def step(self, chunk, state):
            step = super().step(chunk, state)
            return step._replace(answers={"phones": step.answers["phones"]})

    with pytest.raises(SpeechpressError, match="no outputs of head 'beam', only of phones"):
        StreamingExtractor(Forgetful(8)).push(WAVE)


def test_a_head_that_cannot_be_decoded_is_an_error_before_the_stream_begins():
    with pytest.raises(SpeechpressError, match="at least 2"):
        StreamingExtractor(TableEngine(8, heads=(HeadSpec("phones", "ctc", ("",), (1,)),)))


@pytest.mark.parametrize("chunk", (1, 8))
def test_events_are_never_later_than_stated(chunk):
    """Pushed in real time, a millisecond at a time."""
    stream = StreamingExtractor(TableEngine(chunk))
    stated, final_ms, partial_ms = stream.latency()["heads"], {}, {}
    for start in range(0, len(WAVE) - 16, 16):
        now_ms = (start + 16) / 16
        for event in stream.push(WAVE[start : start + 16]).events:
            times, since_s = (final_ms, event.end_s) if event.final else (partial_ms, event.start_s + 0.02)
            if event.final or (event.head, event.number) not in partial_ms:
                times.setdefault((event.head, event.number), now_ms - 1000 * since_s)
    for head in ("phones", "beam", "speech", "units"):
        latest = max(late for (name, _), late in final_ms.items() if name == head)
        assert latest <= stated[head]["final_ms"] + 1e-6, head
        # And not stated with much to spare, but for a search that only might wait.
        assert head == "beam" or latest > stated[head]["final_ms"] - 20 * chunk, head
    for head in ("phones", "units", "speech"):
        latest = max(late for (name, _), late in partial_ms.items() if name == head)
        assert latest <= stated[head]["partial_ms"] + 1e-6, head


def test_latency_counts_the_chunk_the_look_ahead_and_what_the_head_adds():
    stream = StreamingExtractor(TableEngine(8, 3, (replace(HEADS[0], delay_ms=40.0), HEADS[5])))
    # 160 ms of chunk less the frame's own hop, 5 of convolution, 60 of look-ahead, and the frame that ends a label.
    assert stream.latency()["heads"] == {
        "phones": {"partial_ms": pytest.approx(245), "final_ms": pytest.approx(265)},
        "who": {"partial_ms": pytest.approx(405), "final_ms": pytest.approx(205)},
    }
