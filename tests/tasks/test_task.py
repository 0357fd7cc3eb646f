"""Problems: what is refused before anything is heard, who is unseen, and shuffled answers."""

from dataclasses import replace

import numpy as np
import pytest

from speechpress.compressor.data.sounds import Sound, clip
from speechpress.compressor.tasks.kinds import Item, holds
from speechpress.compressor.tasks.suites import TASKS
from speechpress.compressor.tasks.task import Task, checked, refuse_shared_speakers, shuffled
from speechpress.runtime.errors import SpeechpressError


def item(name, split, target, speaker="", query=False):
    return Item(clip(f"corpus/{name}.wav"), split, target, speaker, query)


def classes(labels="aabb", splits=("train", "val", "test"), speaker=lambda split, n: split):
    items = [item(f"{s}{n}", s, label, speaker(s, n)) for s in splits for n, label in enumerate(labels)]
    return Task("ks", "classify", tuple(items))


def test_chance_and_unseen_speakers_are_filled_in():
    task = checked(classes())
    assert task.chance == 0.5 and task.speaker_disjoint is True
    assert task.counts() == {"train": 4, "val": 4, "test": 4}
    assert checked(classes(speaker=lambda split, n: "x")).speaker_disjoint is False
    assert checked(classes(speaker=lambda split, n: "")).speaker_disjoint is None
    assert checked(classes(), names_speakers=False).speaker_disjoint is None
    assert checked(replace(classes(), chance=0.1)).chance == 0.1


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (classes(splits=("train", "test")), "val split holds no clip"),
        (
            replace(classes(), items=(*classes().items, item("new", "test", "c"))),
            "1 classes have no training clip.*'c'",
        ),
        (classes("aaaa"), "only one class"),
        (Task("pr", "ctc", tuple(item(s, s, ()) for s in ("train", "val", "test"))), "3 clips have no text"),
        (
            Task(
                "asv",
                "verify",
                tuple(item(f"{s}{n}", s, f"{s}") for s in ("train", "val", "test") for n in "12"),
            ),
            "two training speakers",
        ),
        (
            Task("asv", "verify", tuple(item(f"{s}{n}", s, n) for s in ("train", "val", "test") for n in "12")),
            "trials of both kinds",
        ),
        (
            Task(
                "qbe",
                "search",
                tuple(item(f"{s}{q}", s, f"{q}", query=q) for s in ("val", "test") for q in (0, 1)),
            ),
            "no query of its val split occurs",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(task, said):
    with pytest.raises(SpeechpressError, match=said):
        checked(task)


def test_speakers_in_both_splits_are_refused_where_they_must_not_be():
    refuse_shared_speakers(classes(), "corpus")
    with pytest.raises(SpeechpressError, match=r"1 speakers are in train and in test, such as x.*unseen speakers"):
        refuse_shared_speakers(classes(speaker=lambda split, n: "x"), "corpus")


def test_clips_that_cannot_be_read_are_left_out_and_the_rest_checked_anew():
    task = checked(replace(classes("aabb"), pairs=((0, 1, True),)))
    assert task.without([]) is task and task.without(["elsewhere.wav"]) is task
    fewer = task.without(["corpus/test0.wav", "corpus/test1.wav"])
    assert fewer.counts()["test"] == 2 and fewer.pairs == () and fewer.chance == 0.0
    with pytest.raises(SpeechpressError, match="test split holds no clip"):
        task.without([f"corpus/test{n}.wav" for n in range(4)])


def test_what_the_voice_alone_says_of_a_class_is_counted_on_the_clips_that_are_left():
    def voiced(name, split, label, voice, speaker="x"):
        return Item(clip(f"corpus/{name}.wav"), split, label, speaker, voice=voice)

    items = [
        voiced(f"{split}{voice}{n}", split, label, voice)
        for split in ("train", "val", "test")
        for voice, label in (("x en", "a"), ("x fr", "b"))
        for n in "12"
    ]
    items.append(voiced("odd", "test", "a", "x fr"))
    task = checked(Task("ks", "classify", tuple(items)))
    assert task.chance == 3 / 5 and task.chance_by_voice == 4 / 5
    assert task.without(["corpus/odd.wav"]).chance_by_voice == 1.0
    silent = tuple(replace(item, voice="") for item in items)
    assert checked(replace(task, items=silent)).chance_by_voice is None
    unseen = tuple(replace(item, speaker=item.split) for item in items)
    assert checked(replace(task, items=unseen)).chance_by_voice is None
    speakers = tuple(replace(item, speaker=item.target) for item in items)
    assert checked(replace(task, items=speakers)).chance_by_voice is None


def test_a_mixture_goes_with_any_of_its_files():
    both = Sound((("a.wav", 0.0), ("b.wav", 1.0)))
    items = [Item(both, split, np.ones((3, 2), bool), "x+y") for split in ("train", "val", "test")]
    alone = [Item(clip("c.wav"), split, np.ones((3, 2), bool), "x+y") for split in ("train", "val", "test")]
    task = checked(Task("sd", "diarize", tuple(items + alone)))
    assert task.without(["b.wav"]).counts() == {"train": 1, "val": 1, "test": 1}


def test_shuffled_answers_are_the_same_ones_on_other_clips_of_the_split():
    task = classes("abcdefgh")
    moved = shuffled(task)
    for split in ("train", "val", "test"):
        before = {i.sound: i.target for i in task.part(split)}
        after = {i.sound: i.target for i in moved.part(split)}
        assert sorted(before.values()) == sorted(after.values())
        assert all(before[sound] != target for sound, target in after.items())
    assert shuffled(task) == moved


def test_shuffling_a_search_leaves_its_queries_alone():
    items = (item("q", "test", "w", query=True), item("a", "test", frozenset("w")), item("b", "test", frozenset("v")))
    moved = {i.sound.place[7]: i for i in shuffled(Task("qbe", "search", items)).items}
    assert moved["q"].target == "w" and moved["a"].target == frozenset("v")
    assert holds(moved["b"], moved["q"]) and not holds(moved["a"], moved["q"])


def test_the_order_of_clips_does_not_depend_on_where_the_corpus_lies():
    here, there = (Item(clip(f"{root}/corpus/x.wav"), "test", "a") for root in ("/one", "/another/place"))
    assert here.order == there.order != Item(clip("/one/corpus/y.wav"), "test", "a").order
    assert len(TASKS) == 10 and np.all([len(name) <= 3 for name in TASKS])
