import threading
import time

import numpy as np
import pytest
from sounds import voice

from speechpress.runtime.demo.enrol import stream_frames
from speechpress.runtime.demo.sources import Block
from speechpress.runtime.demo.spotting import Background, Spotter
from speechpress.runtime.demo.teaching import Lesson, Teaching
from speechpress.runtime.engine import PteEngine
from speechpress.runtime.errors import SpeechpressError

RATE = 16_000
SILENCE = (1e-4 * np.random.default_rng(0).standard_normal(RATE // 4)).astype(np.float32)
WORD = np.concatenate([SILENCE, voice(0.5, seed=3).astype(np.float32), SILENCE])


@pytest.fixture(scope="module")
def engine(small_bundle):
    return PteEngine(small_bundle, threads=1)


@pytest.fixture(scope="module")
def background(engine):
    return Background(stream_frames(engine, [voice(20, seed=k).astype(np.float32) for k in range(3)]))


class Lessons:
    """A teaching, and a worker that it hears blocks from."""

    def __init__(self, engine, background, save=None):
        self.spotter = Spotter([], background)
        self.teaching = Teaching(engine, background, self.spotter, save)

    def hear(self, samples=SILENCE):
        self.teaching.hear(Block(samples, RATE, time.perf_counter()))
        return self.teaching.lesson

    def say(self, samples=WORD):
        self.teaching.begin()
        self.hear(samples)
        self.teaching.end()
        return self.hear()

    def settle(self):
        """Until what was said is learned."""
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread.daemon and "_learn" in thread.name:
                thread.join(30)
        return self.hear()


@pytest.fixture
def lessons(engine, background):
    return Lessons(engine, background)


def test_a_word_said_three_times_is_learned_and_saved(engine, background):
    saved = []
    lessons = Lessons(engine, background, lambda words: saved.append([word.name for word in words]))
    lessons.teaching.name(" hello ")
    assert lessons.hear().word == "hello"
    assert [lessons.say().said for _ in range(2)] == [1, 2]
    lessons.say()
    after = lessons.settle()
    assert [word.name for word in lessons.spotter.words] == ["hello"] and saved == [["hello"]]
    assert "hello" in after.note and after.word == "word 1" and after.said == 0
    hits = lessons.spotter.push(stream_frames(engine, [WORD, SILENCE, SILENCE]), np.arange(74) * 0.02)
    assert [hit.word for hit in hits] == ["hello"]


OTHER = np.concatenate([SILENCE, voice(0.5, seed=11).astype(np.float32), SILENCE])


def test_what_is_not_the_word_is_taught_to_the_one_that_was_heard(engine, background):
    saved = []
    lessons = Lessons(engine, background, lambda words: saved.append([len(word.against) for word in words]))
    for name in ("one", "two"):
        lessons.teaching.name(name)
        for _ in range(3):
            lessons.say()
        lessons.settle()
    lessons.say()  # a third word is half taught meanwhile
    lessons.teaching.heard("one")
    lessons.teaching.begin(True)
    assert lessons.hear(OTHER) == Lesson("one", recording=True, against=True)
    lessons.teaching.end()
    lessons.hear()
    after = lessons.settle()
    assert [(word.name, len(word.against)) for word in lessons.spotter.words] == [("one", 1), ("two", 0)]
    assert saved[-1] == [1, 0] and "is not that" in after.note
    assert (after.word, after.said, after.against) == ("word 1", 1, False)


def test_without_a_word_nothing_can_be_taken_for_one(lessons):
    lessons.teaching.begin(True)
    lesson = lessons.hear(OTHER)
    assert "no word is taught yet" in lesson.note and not lesson.recording


def test_a_name_that_is_taught_again_replaces_the_word(lessons):
    for _ in range(2):
        lessons.teaching.name("hello")
        for _ in range(3):
            lessons.say()
        lessons.settle()
    assert [word.name for word in lessons.spotter.words] == ["hello"]


def test_names_are_given_where_none_is(lessons):
    for _ in range(3):
        lessons.say()
    assert lessons.settle().word == "word 2"


def test_silence_is_no_example(lessons):
    lesson = lessons.say(np.zeros(RATE, np.float32))
    assert lesson.said == 0 and "silent" in lesson.note and not lesson.recording


def test_forgetting_first_the_examples_then_the_word(lessons):
    for _ in range(3):
        lessons.say()
    lessons.settle()
    lessons.say()
    lessons.teaching.forget()
    assert lessons.hear().said == 0 and len(lessons.spotter.words) == 1
    lessons.teaching.forget()
    assert "word 1" in lessons.hear().note and not lessons.spotter.words


def test_a_key_that_got_stuck_ends_by_itself(lessons):
    lessons.teaching.begin()
    for _ in range(30):
        lesson = lessons.hear(WORD)
    assert not lesson.recording


def test_a_file_that_cannot_be_written_is_said(engine, background):
    def refuse(words):
        raise SpeechpressError("the disk is full")

    lessons = Lessons(engine, background, refuse)
    for _ in range(3):
        lessons.say()
    assert lessons.settle().note == "the disk is full" and len(lessons.spotter.words) == 1


def test_a_name_that_cannot_be_shown_is_said_and_the_worker_goes_on(lessons):
    before = lessons.hear().word
    lessons.teaching.name("half a character \ud800")
    after = lessons.hear()
    assert after.word == before and "U+D800" in after.note
    lessons.teaching.name("hello")
    assert lessons.hear().word == "hello" and lessons.hear().note == ""
