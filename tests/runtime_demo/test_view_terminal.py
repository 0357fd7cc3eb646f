import io

import numpy as np
import pytest
from rich.console import Console

from speechpress.runtime.demo.picture import Picture
from speechpress.runtime.demo.spotting import Hit
from speechpress.runtime.demo.teaching import Lesson
from speechpress.runtime.demo.view_terminal import Facts, Screen, watch
from speechpress.runtime.demo.view_terminal import _Hands as Hands
from speechpress.runtime.demo.worker import Chunk, Stats

FACTS = Facts("a microphone", "pocket int8", 85.0, 80.0, 0.02)


def chunk(number, words=(), level_db=-20.0, infer_ms=3.0, dropped=0):
    levels, colours = np.full(4, level_db, np.float32), np.full((4, 3), 200, np.uint8)
    return Chunk(0.08 * (number + 1), np.zeros((4, 8)), levels, colours, infer_ms, dropped, words, 0.0)


class Teaching:
    """Remembers what it was told."""

    def __init__(self):
        self.told, self.lesson = [], Lesson("word 1", said=1)

    def __getattr__(self, name):
        return lambda *given: self.told.append((name, *given))


def shown(what, width=100):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(what)
    return console.file.getvalue()


def test_everything_is_on_the_screen():
    screen = Screen(FACTS, Stats(80), teaching=Teaching())
    for number in range(60):
        screen.add(chunk(number, (Hit("hello", 7.2, 3.0, 3.5),) if number == 45 else (), dropped=number // 30))
    text = shown(screen)
    for words in (
        "pocket int8",
        "a microphone",
        "-20 dBFS",
        "─hello─",
        "p50   3.0 ms",
        "of 80 ms",
        "0.03",
        "85 ms",
    ):
        assert words in text, text
    assert "dropped blocks 1" in text and "●○○" in text and "heard: hello 7.2" in text
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_any_width(width):
    screen = Screen(FACTS, Stats(80))
    for number in range(10):
        screen.add(chunk(number))
    assert max(map(len, shown(screen, width).splitlines())) == width


def test_a_word_stands_under_the_time_at_which_it_was_said():
    picture = Picture(2, 0.02)
    for number in range(25):
        picture.add(chunk(number, (Hit("a", 5, 1.0, 1.4),) if number == 20 else ()))
    line = shown(picture, 60).splitlines()[2]
    assert line.index("╰") == 60 - 1 - 25 and line.index("╯") == 60 - 1 - 15  # 2.0 s now, 40 ms a column


def test_loud_is_high():
    low, high = Picture(8, 0.02), Picture(8, 0.02)
    low.add(chunk(0, level_db=-60.0))
    high.add(chunk(0, level_db=-5.0))
    bright = [sum(s.style.color.triplet.red > 100 for s in picture._columns[0]) for picture in (low, high)]
    assert bright[0] < 2 and bright[1] == 8


def test_keys_teach_name_forget_and_quit():
    screen = Screen(FACTS, Stats(80), teaching=Teaching())
    hands = Hands(screen)
    for pressed, now_s in ((" ", 0.0), ("  ", 0.5), ("", 1.0), ("", 2.0), ("nhi\x7fo q\n", 2.1), ("x", 2.2)):
        hands.move(pressed, now_s)
    assert screen.teaching.told == [("begin",), ("end",), ("name", "ho q"), ("forget",)] and not hands.quit
    hands.move("n\x1bq", 3.0)
    assert screen.typed is None and hands.quit


def test_what_is_not_the_word_is_taught_with_a_key_of_its_own():
    screen = Screen(FACTS, Stats(80), teaching=Teaching())
    hands = Hands(screen)
    for pressed, now_s in (("N", 0.0), ("NN", 0.5), (" ", 0.6), ("", 2.0), (" ", 3.0), ("N", 3.1), ("", 5.0)):
        hands.move(pressed, now_s)
    assert screen.teaching.told == [("begin", True), ("end",), ("begin",), ("end",)]
    screen.teaching.lesson = Lesson("yes", recording=True, against=True)
    assert "say what is not “yes”" in shown(screen)


def test_a_failing_source_is_raised_after_the_screen_is_put_back():
    def failing():
        yield chunk(0)
        raise RuntimeError("gone")

    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with pytest.raises(RuntimeError, match="gone"):
        watch(failing(), Screen(FACTS, Stats(80)), console)
    text = console.file.getvalue()
    assert "\x1b[?1049h" in text and text.index("\x1b[?1049l") > text.index("\x1b[?1049h")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_it_ends_with_its_source():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    watch(iter([chunk(0), chunk(1)]), Screen(FACTS, Stats(80)), console)
    assert "real-time factor" in console.file.getvalue()
