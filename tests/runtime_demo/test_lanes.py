from dataclasses import replace

import pytest
import talked

from speechpress.runtime.answers.event import Event
from speechpress.runtime.answers.head_spec import KINDS
from speechpress.runtime.demo.lanes import KEPT_S, LOOKS, Lane, Lanes, Rows, shown
from speechpress.runtime.demo.spotting import Hit
from speechpress.runtime.demo.strips import DRAWINGS
from speechpress.runtime.demo.view_lines import DIGESTS


def test_every_kind_of_head_has_a_row_and_every_view_draws_it():
    assert set(LOOKS) == set(KINDS) == {head.kind for head in talked.HEADS}
    draws = {look.draw for look in LOOKS.values()}
    # What is drawn over the map has no lane of its own.
    assert set(DRAWINGS) == draws - {"map"} and set(DIGESTS) == draws


def test_a_newer_version_takes_the_place_of_an_event_and_old_ones_are_forgotten():
    lane, event = Lane(talked.HEADS[0]), talked.spoken(1.0)[0]
    lane.add(replace(event, final=False))
    lane.add(event)
    assert list(lane.events.values()) == [event] and lane.latest == event
    for number in range(1, 200):
        lane.add(replace(event, number=number, start_s=number, end_s=number + 0.5))
    assert min(lane.events) >= 199 - KEPT_S - 1 and len(lane.events) <= KEPT_S + 1


def test_labels_that_a_search_gave_up_are_gone():
    lane, event = Lane(talked.HEADS[1]), Event("phones", "ctc", 0, "K", 1.0, 1.1, 0.5, final=False)
    for number in range(3):
        lane.add(replace(event, number=number, start_s=1 + number / 10, end_s=1.1 + number / 10))
    lane.add(replace(event, number=1, label="T", start_s=1.1, end_s=1.3))
    assert {number: event.label for number, event in lane.events.items()} == {0: "K", 1: "T"}
    lane.add(replace(event, final=True))
    lane.end()
    assert list(lane.events) == [0]


def test_who_still_speaks_is_kept_however_long():
    lane, event = Lane(talked.HEADS[4]), Event("turns", "segment", 0, "first", 1.0, 1.1, 0.5, final=False)
    lane.add(event)
    for number in range(1, 100):
        lane.add(Event("turns", "segment", number, "second", number, number + 0.5, 0.5))
    assert lane.events[0] == event and len(lane.events) < 30


def test_taught_words_are_words_like_those_of_a_head():
    lanes, head = Lanes(talked.HEADS), Event("wake", "words", 0, "computer", 1.0, 1.5, 0.9)
    found = lanes.add([head, replace(head, number=1, final=False)], [Hit("hé", 5.0, 2.0, 2.4)])
    assert [(event.label, event.start_s) for event in found] == [("computer", 1.0), ("hé", 2.0)]
    assert [lane.look.draw for lane in lanes][-2:] == ["map", "map"]


def labels(*spans, final=True):
    return [(Event("x", "ctc", k, "a", 0, 0, 1, final=final), column, width) for k, (column, width) in enumerate(spans)]


def test_labels_never_overlap_and_stay_near_their_time():
    for rows, gap in ((1, 0), (1, 1), (2, 1), (3, 1)):
        spans = [(2 * k, 1 + k % 3) for k in range(200)]
        places, taken = Rows(rows, gap, 6).places(labels(*spans)), set()
        for event, row, column, width in places:
            cells = {(row, at) for at in range(column, column + width + gap)}
            assert not cells & taken and 0 <= column - spans[event.number][0] <= 6
            taken |= cells
        assert len(places) == 200 or (rows, gap) == (1, 1)  # two columns each is all there is, and these take three


def test_final_labels_keep_their_place_when_older_ones_are_forgotten_and_newer_ones_change():
    rows, spans = Rows(2, 1, 6), [(2 * k, 3) for k in range(30)]
    before = {place.event.number: place for place in rows.places(labels(*spans))}
    for place in rows.places(labels(*spans)[7:]):
        assert place == before[place.event.number]
    changing = [*labels(*spans)[7:], (Event("x", "ctc", 30, "ab", 0, 0, 1, final=False), 60, 9)]
    assert rows.places(changing)[-1].width == 9
    assert rows.places([*changing[:-1], (replace(changing[-1][0], final=True), 60, 2)])[-1].width == 2


@pytest.mark.parametrize("bad", "\x1b\x07\x00\u202e\ud800\u2028")
def test_what_cannot_be_shown_is_replaced(bad):
    assert shown(f"a{bad}b") == "a\ufffdb" and shown("été 日本 ə") == "été 日本 ə"
