"""Which tasks are opened, and what is said of those that are not."""

import pytest

from speechpress.compressor.tasks.suites import checked_names, open_suite
from speechpress.runtime.errors import SpeechpressError


def test_all_of_mini_is_all_but_the_users_own_emotions(mini_data):
    tasks, notes = open_suite("mini", ["all"], mini_data)
    assert [task.name for task in tasks] == ["ks", "ic", "sf", "sid", "asv", "sd", "pr", "asr", "qbe"]
    assert len(notes) == 1 and notes[0].startswith("er is left out") and "IEMOCAP" in notes[0]


def test_tasks_are_opened_once_each_in_the_order_asked_for(mini_data):
    tasks, notes = open_suite("mini", [" sid", "ks", "sid"], mini_data)
    assert [task.name for task in tasks] == ["sid", "ks"] and notes == []


@pytest.mark.parametrize(
    ("suite", "tasks", "most", "said"),
    [
        ("mini", ["er"], None, "task 'er': no freely usable corpus"),
        ("mini", ["kws"], None, "no task 'kws'; did you mean ks"),
        ("mini", ["ks", "qeb"], None, "no task 'qeb'; did you mean qbe"),
        ("mini", ["all", "x"], None, "no task 'all'"),
        ("mini", [""], None, "--tasks names none"),
        ("mini", ["ks"], 5, "--clips: is for --suite superb"),
        ("supreb", ["ks"], None, "--suite supreb: did you mean superb"),
        ("superb", ["ks"], None, "speech_commands_v0.01.*is not there, and task 'ks' needs it"),
    ],
)
def test_what_cannot_be_opened(mini_data, suite, tasks, most, said):
    with pytest.raises(SpeechpressError, match=said):
        open_suite(suite, tasks, mini_data, most)


def test_a_data_root_must_be_there(tmp_path):
    with pytest.raises(SpeechpressError, match="is not a folder; give the one that holds the corpora"):
        open_suite("mini", ["all"], tmp_path / "gone")
    assert checked_names([" a ", "b", "a"], ("a", "b")) == ["a", "b"]
