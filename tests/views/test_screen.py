import json

import pytest

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
    assert "step 5/10" in out and "2.00 h" in out and "31 audio-s/s" in out and "left" in out
    assert "layer 4 cos 0.500 L1 0.750" in out


@pytest.mark.parametrize("valid", [{"start": {"4": {"cosine": 0.1, "l1": 1.0}}}])
def test_a_run_that_was_never_measured_again_shows_its_start(valid, capsys):
    Screen().say(fidelity_table(valid))
    assert capsys.readouterr().out.count("0.100") == 2


def test_failing_checks_show_their_fix(capsys):
    Screen().say(checks_table([{"name": "a", "ok": False, "detail": "old", "fix": "pip install new"}]))
    assert "pip install new" in capsys.readouterr().out
