import json
import os
import re

import pytest
from terminal import Terminal

from speechpress.compressor.distill.tables import RunView, fidelity_table
from speechpress.compressor.views.screen import Screen, checks_table


def test_people_read_stdout_and_with_json_stderr(capsys):
    screen = Screen()
    screen.say("words")
    screen.result({"a": 1}, "for people")
    out, err = capsys.readouterr()
    assert out == "words\nfor people\n" and err == ""
    screen = Screen(json=True)
    screen.say("words")
    screen.result({"a": 1}, "for people")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"a": 1} and err == "words\n"


def test_only_the_first_process_speaks(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    for screen in (Screen(), Screen(json=True)):
        screen.say("words")
        screen.result({"a": 1}, "for people")
    assert capsys.readouterr() == ("", "")


def test_a_run_in_a_pipe_is_plain_lines_with_the_time_left(capsys):
    view = RunView(Screen())
    view.steps = 10
    with view:
        view({"event": "train", "step": 5, "loss": 1.25, "audio_s": 7200.0, "audio_s_per_s": 31.4})
        view({"event": "valid", "step": 5, "layers": {"4": {"cosine": 0.5, "l1": 0.75}}})
        view({"event": "end", "step": 10, "finished": True})
    out = capsys.readouterr().out
    assert "step 5/10" in out and "2.00 h" in out and "31 s of audio per s" in out and "left" in out
    assert "layer 4 cos 0.500 L1 0.750" in out


@pytest.mark.parametrize("valid", [{"start": {"4": {"cosine": 0.1, "l1": 1.0}}}])
def test_a_run_that_was_never_measured_again_shows_its_start(valid, capsys):
    Screen().say(fidelity_table(valid))
    assert capsys.readouterr().out.count("0.100") == 2


def test_failing_checks_show_their_fix(capsys):
    Screen().say(checks_table([{"name": "a", "ok": False, "detail": "old", "fix": "pip install new"}]))
    assert "pip install new" in capsys.readouterr().out


RUN = """
import logging, time
from speechpress.compressor.cli.options import LogLines
from speechpress.compressor.distill.tables import RunView, fidelity_table
from speechpress.compressor.views.screen import Screen
logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", handlers=[LogLines()])
layers = {"4": {"cosine": 0.5, "l1": 0.75}}
plan = {"event": "plan", "recipe": "pocket", "notes": ["one"], "steps": 2, "train_h": 0.28, "device": "cpu"}
plan |= {"teacher": {"source": "a/hubert-mini", "parameters": 5.7e6}, "student": {"parameters": 8.5e6}, "processes": 1}
screen = Screen()
with RunView(screen) as view:
    view(plan)
    for step in (1, 2):
        view({"event": "train", "step": step, "loss": 1.25, "audio_s": 720.0, "audio_s_per_s": 31.4, "layers": layers})
        logging.getLogger("data").warning("%s", "a recording is broken, and there is much to be said of it " * 3)
        view({"event": "valid", "step": step, "layers": layers})
        view({"event": "saved", "step": step})
        time.sleep(0.2)
screen.say(fidelity_table({"start": layers, "end": layers}), "next: compress eval runs/pocket")
"""


def screen_of(text):
    """The lines that are left on a terminal: what is written over is gone."""
    lines, row, column = [""], 0, 0
    for part in re.split(r"(\r\n|\n|\r|\x1b\[[0-9;?]*[A-Za-z])", text):
        if part in ("\n", "\r\n"):
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part == "\x1b[2K":
            lines[row] = ""
        elif re.fullmatch(r"\x1b\[\d*A", part):
            row -= int(part[2:-1] or 1)
        elif not part.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


def test_a_run_on_a_terminal_is_a_line_a_bar_a_table_and_what_is_next_and_warnings_stand_above_the_bar():
    terminal = Terminal(RUN, env={**os.environ, "TERM": "xterm"}, columns=80)
    code, _, text = terminal.close()
    lines = screen_of(text)
    assert code == 0 and max(map(len, lines)) <= 80, text
    bars = [number for number, line in enumerate(lines) if line.startswith("distil ")]
    assert lines[0] == "pocket: hubert-mini (5.70 M) → student (8.50 M), 2 steps on 0.28 h, cpu"
    assert len(bars) == 1 and "WARNING" not in lines[bars[0]] and "2/2" in lines[bars[0]], lines
    assert lines[bars[0] + 1].startswith("  loss 1.250") and lines[bars[0] + 1].endswith("held-out cosine 0.500")
    warned = " ".join(lines[1 : bars[0]])
    assert warned.count("WARNING a recording is broken, and there is much to be said of it a recording") == 2
    assert "saved" not in text and lines[-1] == "next: compress eval runs/pocket"


def test_what_is_saved_is_said_once_in_a_log(capsys):
    with RunView(Screen()) as view:
        for step in (1, 2, 2):
            view({"event": "saved", "step": step})
    assert capsys.readouterr().out.splitlines() == ["saved at step 1", "saved at step 2"]
