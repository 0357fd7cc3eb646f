"""Held-out splits: nobody is heard on both sides, labels are honoured, and the same split is made every time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import CutSet, MonoCut, SupervisionSegment
from lhotse.testing.dummies import dummy_recording

from speechpress.compressor.data.corpus import Corpus
from speechpress.compressor.data.heldout import split_heldout, split_notes
from speechpress.compressor.data.labels import attach
from speechpress.runtime.errors import SpeechpressError


def corpus_of(rows):
    """A corpus of (recording, seconds, labels) rows."""
    cuts = []
    for index, (recording, seconds, labels) in enumerate(rows):
        cut = MonoCut(f"c{index:04d}", 0.0, seconds, 0, recording=dummy_recording(recording))
        if labels:
            attach(cut, labels)
        cuts.append(cut)
    return Corpus("here", CutSet.from_cuts(cuts))


def ids(corpus):
    return {cut.id for cut in corpus.cuts}


def by_speaker(speakers, each=10, seconds=5.0):
    return corpus_of([(i * each + j, seconds, {"speaker": f"s{i}"}) for i in range(speakers) for j in range(each)])


rows = st.lists(
    st.tuples(st.integers(0, 12), st.floats(0.1, 60.0), st.sampled_from([None, "ann", "bob", "cy", "di", "eve"])),
    min_size=2,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(rows, st.floats(0.5, 500), st.integers(0, 5))
def test_the_two_sides_share_no_speaker_and_no_recording(drawn, seconds, seed):
    # a recording belongs to one speaker, as it does in real corpora
    speaker_of = {}
    for recording, _, speaker in drawn:
        speaker_of.setdefault(recording, speaker)
    corpus = corpus_of([(r, s, {"speaker": speaker_of[r]} if speaker_of[r] else None) for r, s, _ in drawn])
    if len(speaker_of) < 2:
        with pytest.raises(SpeechpressError, match="only 1 recording"):
            split_heldout(corpus, seconds=seconds, seed=seed)
        return
    train, held = split_heldout(corpus, seconds=seconds, seed=seed)
    assert ids(train) and ids(held) and not ids(train) & ids(held)
    assert not {cut.recording.id for cut in train.cuts} & {cut.recording.id for cut in held.cuts}
    if len({speaker_of[r] or r for r in speaker_of}) > 1:
        assert not train.speakers & held.speakers
    again = split_heldout(corpus, seconds=seconds, seed=seed)
    assert (ids(again[0]), ids(again[1])) == (ids(train), ids(held))


def test_about_as_much_as_wanted_is_held_out_and_nothing_is_lost():
    corpus = by_speaker(40)
    train, held = split_heldout(corpus, seconds=200)
    assert 200 <= held.hours * 3600 <= 300
    assert len(train.cuts) + len(held.cuts) == 400
    train, held = split_heldout(corpus, fraction=0.1)
    assert held.hours == pytest.approx(0.1 * corpus.hours, rel=0.5)
    assert {frozenset(ids(split_heldout(corpus, seconds=200, seed=seed)[1])) for seed in range(5)} != {
        frozenset(ids(held))
    }


def test_never_more_than_half_is_held_out():
    train, held = split_heldout(by_speaker(4), seconds=1e6)
    assert len(held.speakers) <= 2 <= len(train.speakers)


def test_a_speaker_far_bigger_than_what_is_wanted_is_held_out_in_part_and_that_is_said(caplog):
    caplog.set_level("INFO")
    train, held = split_heldout(by_speaker(2, each=100), seconds=50)
    assert len(held.cuts) == 10 and len(train.cuts) == 100
    assert "on neither side: 90 recordings (0.12 h) of held-out speakers beyond what is held out" in caplog.text


def test_one_speaker_is_split_by_recording_aloud(caplog):
    train, held = split_heldout(by_speaker(1), seconds=10)
    assert (len(train.cuts), len(held.cuts)) == (8, 2)
    assert "only one speaker" in caplog.text


def test_two_recordings_are_enough_and_one_is_not():
    train, held = split_heldout(corpus_of([(0, 3.0, None), (1, 100.0, None)]), seconds=60)
    assert (ids(train), ids(held)) == ({"c0001"}, {"c0000"})
    with pytest.raises(SpeechpressError, match="only 1 recording"):
        split_heldout(corpus_of([(0, 3.0, None)]), seconds=60)


def test_cuts_with_two_speakers_keep_both_on_one_side():
    corpus = by_speaker(6, each=2)
    for cut, other in zip(list(corpus.cuts)[::2], ["s1", "s2", "s0", "s4", "s5", "s3"], strict=True):
        cut.supervisions.append(SupervisionSegment(f"{cut.id}+", cut.recording_id, 0.0, 1.0, speaker=other))
    train, held = split_heldout(corpus, seconds=30)
    assert {train.speakers, held.speakers} == {frozenset({"s0", "s1", "s2"}), frozenset({"s3", "s4", "s5"})}


def split_corpus(*names):
    return corpus_of(
        [(i, 5.0, {"split": name, "speaker": f"s{i % 7}"} if name else None) for i, name in enumerate(names)]
    )


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "dev", "dev-clean"])
def test_marked_recordings_are_held_out_and_tests_are_on_neither_side(name):
    corpus = split_corpus("train", "test", name, "train", "test-other", None, name)
    train, held = split_heldout(corpus, seconds=1)
    assert ids(held) == {"c0002", "c0006"} and ids(train) == {"c0000", "c0003", "c0005"}


def test_train_and_test_alone_hold_out_from_train():
    corpus = split_corpus(*["train", "test"] * 10)
    train, held = split_heldout(corpus, seconds=10)
    assert len(ids(train) | ids(held)) == 10
    assert all(int(name[1:]) % 2 == 0 for name in ids(train) | ids(held))


def test_speakers_on_both_sides_by_the_users_own_labels_are_said():
    corpus = corpus_of([(i, 5.0, {"split": s, "speaker": "x"}) for i, s in enumerate(("train", "val"))])
    (note,) = split_notes(corpus, *split_heldout(corpus, seconds=1))
    assert note == "1 speaker in both training and held-out speech, by the split labels"


def test_a_split_of_another_name_is_training_aloud(caplog):
    train, _ = split_heldout(split_corpus("train", "other", "val"), seconds=1)
    assert len(train.cuts) == 2 and "split is 'other', which is taken as train" in caplog.text


def test_splits_that_leave_nothing():
    with pytest.raises(SpeechpressError, match="every recording is marked as test"):
        split_heldout(split_corpus("test", "test"), seconds=1)
    with pytest.raises(SpeechpressError, match="none is left to train on"):
        split_heldout(split_corpus("val", "test"), seconds=1)
    with pytest.raises(SpeechpressError, match="more than 0 seconds"):
        split_heldout(by_speaker(3), fraction=0.0)
    with pytest.raises(ValueError, match="either"):
        split_heldout(by_speaker(3))


def test_what_a_split_leaves_out_is_said_with_its_amount(caplog):
    caplog.set_level("INFO")
    corpus = corpus_of([(i, 5.0, {"split": ("train", "test")[i % 2], "speaker": f"s{i}"}) for i in range(500)])
    train, held = split_heldout(corpus, fraction=0.05)
    (note,) = split_notes(corpus, train, held)
    assert note == (
        f"{len(train.cuts)} of 500 recordings are used for training, {len(held.cuts)} are held out; on neither side: "
        f"250 recordings ({250 * corpus.cuts[0].duration / 3600:.2f} h) marked as test in its labels"
    )
    assert [record.message for record in caplog.records] == [f"here: {note}"]


def test_a_split_that_uses_everything_says_nothing(caplog):
    caplog.set_level("INFO")
    corpus = by_speaker(8)
    assert split_notes(corpus, *split_heldout(corpus, fraction=0.1)) == []
    assert not caplog.records
