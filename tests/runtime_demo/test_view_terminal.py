import io
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import talked
from rich.cells import cell_len
from rich.console import Console

from speechpress.runtime.answers.event import Event
from speechpress.runtime.answers.head_spec import HeadSpec
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
    # 2.0 s now, 40 ms a column: from the column that begins at 1.0 s to the one that ends at 1.4 s.
    assert line.index("╰") == 60 - 25 and line.index("╯") == 60 - 1 - 15


def test_loud_is_high():
    low, high = Picture(8, 0.02), Picture(8, 0.02)
    low.add(chunk(0, level_db=-60.0))
    high.add(chunk(0, level_db=-5.0))
    cells = [picture._columns[0].cells(8, shades=False) for picture in (low, high)]
    bright = [sum(cell.style.color.triplet.red > 100 for cell in column) for column in cells]
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
    after = console.file.getvalue().split("\x1b[?1049l")[1]
    assert "real-time factor" in after and re.search(r"heard +0.16 s in 2 chunks of 80 ms", after)


ANSWERING = Facts("a microphone", "pocket int8", 85.0, 80.0, 0.02, talked.HEADS)


def answering(seconds=6.0, teaching=True):
    screen = Screen(ANSWERING, Stats(80), teaching=Teaching() if teaching else None)
    for said in talked.chunks(seconds):
        screen.add(said)
    return screen


def lane(text, name):
    """The line of a head without the frame and the name."""
    return next(
        line[2:-2].removeprefix(name.ljust(11)) for line in text.splitlines() if line[2:].startswith(f"{name} ")
    )


def test_every_kind_of_head_has_a_lane():
    text = shown(answering(), 80)
    assert lane(text, "voice").startswith("███") and lane(text, "voice").endswith("─────")
    assert lane(text, "letters").strip().replace(" ", "").endswith("jumpsoverthe")
    assert lane(text, "mood").startswith("happy 0.61   neutral 0.61")  # the newest first
    assert lane(text, "turns").startswith("█") and "▀" in lane(text, "turns")  # both, then the first alone
    assert set(lane(text, "units").strip()) == set("░▒▓█")
    assert lane(text, "who").startswith("2 numbers about 5.0 s") and text.count("╰─computer──╯") == 1
    assert "heard: computer 0.9" in text and "answers +2" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_cut_or_wrapped_and_no_label_runs_into_another(width):
    text = shown(answering(), width)
    assert all(len(line) == width for line in text.splitlines()) and "…" not in text
    rows = [line[2 + 11 : -2] for line in text.splitlines()]
    first = next(k for k, line in enumerate(text.splitlines()) if line[2:].startswith("phones"))
    found = " ".join(rows[first : first + 2]).split()
    assert len(found) > 15 and set(found) <= set(talked.PHONES)
    # In time they alternate between the rows; all that were said in the window's last two seconds are there.
    said = [event for event in talked.spoken(6.0) if event.head == "phones" and 4.0 < event.start_s < 5.6]
    assert Counter(event.label for event in said) <= Counter(found)


@pytest.mark.parametrize("height", [24, 20, 16])
def test_it_fits_a_window_by_a_smaller_map_and_then_fewer_lanes(height):
    console = Console(width=80, height=height, file=io.StringIO(), color_system=None)
    console.print(answering(), height=height)
    text = console.file.getvalue()
    assert len(text.splitlines()) == height and "q quit" in text and "real-time factor" in text, text
    assert ("more head" in text) == (height < 20), text


def test_without_colours_the_map_is_shades():
    def drawn(**how):
        console = Console(width=80, file=io.StringIO(), force_terminal=True, **how)
        console.print(answering(3.0))
        return console.file.getvalue()

    plain = drawn(color_system="truecolor", no_color=True)
    assert all(shade in plain for shade in "░▒▓█") and "▀" * 30 not in plain and "shade: how it sounds" in plain
    assert (
        "38;2;" not in plain and "▀" in drawn(color_system="truecolor") and "38;2;" in drawn(color_system="truecolor")
    )


def test_a_partial_answer_is_dim_until_the_final_one_takes_its_place():
    head = HeadSpec("phones", "ctc", ("", "AA", "EH"))
    picture = Picture(2, 0.02, (head,))
    for number in range(30):
        picture.add(chunk(number))
    picture.add(replace(chunk(30), events=(Event("phones", "ctc", 4, "AA", 2.0, 2.1, 0.4, final=False),)))
    console = Console(width=60, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(picture)
    assert "\x1b[2;3mAA" in console.file.getvalue()
    picture.add(replace(chunk(31), events=(Event("phones", "ctc", 4, "EH", 2.0, 2.1, 0.9),)))
    console.print(picture)
    last = shown(picture, 60)
    assert "AA" not in last and last.count("EH") == 1 and "\x1b[2;3mEE" not in console.file.getvalue()


def test_speech_that_goes_on_is_drawn_until_now():
    """Its partial event comes once, when it began."""
    picture = Picture(2, 0.02, talked.HEADS[:1])
    picture.add(replace(chunk(0), events=(Event("voice", "vad", 0, "speech", 0.02, 0.08, 0.9, final=False),)))
    for number in range(1, 30):
        picture.add(chunk(number))
    assert shown(picture, 60).splitlines()[3].removeprefix("voice").strip() == "▒" * 49
    picture.add(replace(chunk(30), events=(Event("voice", "vad", 0, "speech", 0.04, 2.0, 0.9),)))
    assert shown(picture, 60).splitlines()[3].removeprefix("voice").strip() == "█" * 37 + "─" * 12


def test_labels_do_not_jump_while_the_picture_scrolls():
    head = talked.HEADS[1]
    picture, seen = Picture(2, 0.02, (head,)), {}
    for number, said in enumerate(talked.chunks(8.0, heads=(head,))):
        picture.add(said)
        lines = shown(picture, 60).splitlines()[3:5]
        for row, line in enumerate(lines):
            for match in re.finditer(r"\S+", line[11:]):
                # Two columns a chunk: what stays in place has the same column since the stream began.
                column = match.start() + 2 * (number + 1)
                assert seen.setdefault((row, column), match.group()) == match.group()
    assert len(seen) > 80


def test_wide_and_combining_labels_keep_the_columns():
    head = HeadSpec("signs", "ctc", ("", "日", "e\u0301", "ab"))
    picture = Picture(2, 0.02, (head,))
    for number in range(30):
        picture.add(chunk(number))
    labels = ("日", "e\u0301", "ab", "日")
    picture.add(
        replace(
            chunk(30),
            events=tuple(Event("signs", "ctc", k, x, 1.5 + k / 20, 1.55 + k / 20, 1) for k, x in enumerate(labels)),
        )
    )
    lines = shown(picture, 60).splitlines()
    assert {cell_len(line) for line in lines} == {60} and sum(line.count("日") for line in lines) == 2
