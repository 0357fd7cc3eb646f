"""SUPERB's corpora in their published layouts: what is read, the splits, and what is refused."""

import shutil

import pytest
from layouts import counts, hashed, text, without

from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.suite import evaluate_suite
from speechpress.compressor.tasks.metrics import spelled_slots
from speechpress.compressor.tasks.suites import TASKS, open_suite
from speechpress.compressor.tasks.superb import commands_split, superb_task
from speechpress.runtime.errors import SpeechpressError


def test_keywords_have_twelve_classes_and_a_test_set_of_its_own(superb_data):
    task = superb_task("ks", superb_data)
    assert len({item.target for item in task.items}) == 12
    silent = [item for item in task.items if item.target == "_silence_"]
    assert [item.split for item in silent].count("val") == 1 and all(
        item.sound.crop_s in (1.0, None) for item in silent
    )
    assert {item.target for item in task.part("test")} == {"yes", "no", "_unknown_", "_silence_"}
    assert not any(hashed("test") in item.sound.place for item in task.items)  # of the training archive
    assert task.speaker_disjoint is True


def test_background_noise_that_is_damaged_is_named_with_what_to_do(superb_data, tmp_path):
    shutil.copytree(superb_data, tmp_path / "data")
    noise = next((tmp_path / "data").rglob("_background_noise_/*.wav"))
    noise.write_bytes(noise.read_bytes()[:20])
    with pytest.raises(SpeechpressError, match=rf"{noise.name}: .*; unpack speech_commands again"):
        superb_task("ks", tmp_path / "data")


def test_the_split_of_a_speaker_is_that_of_the_corpus():
    # From the corpus' README: the rule gives the same split to all takes of a speaker.
    assert commands_split("bobby_nohash_0.wav") == commands_split("bobby_nohash_9.wav")
    shares = [commands_split(f"{number:08x}_nohash_0.wav") for number in range(2000)]
    assert abs(shares.count("val") / 2000 - 0.1) < 0.03 and abs(shares.count("test") / 2000 - 0.1) < 0.03


def test_intents_are_three_slots_of_unseen_speakers(superb_data):
    task = superb_task("ic", superb_data)
    assert {item.target for item in task.items} == {"increase volume none", "decrease volume none"}
    assert counts(task) == (4, 2, 2) and task.speaker_disjoint is True


def test_slots_are_spelled_between_marks(superb_data):
    task = superb_task("sf", superb_data)
    assert (task.kind, task.metric, counts(task)) == ("spell", "F1", (4, 2, 4))
    assert task.items[0].target == (*"PLAY", " ", "B-genre", *"COOL", " ", *"JAZZ", "E-genre")
    assert spelled_slots(task.items[0].target) == [("genre", "COOL JAZZ")]
    assert task.speaker_disjoint is True


def test_emotions_are_four_and_come_in_five_folds(superb_data):
    task = superb_task("er", superb_data)
    assert len(task.folds) == 5 and len(task.items) == 50
    for number, fold in enumerate(task.folds, 1):
        assert all(f"Session{number}" in item.sound.place for item in fold.part("test"))
        assert fold.speaker_disjoint is True and {item.target for item in fold.items} == {"neu", "hap", "ang", "sad"}
    assert task.chance == pytest.approx(0.4)
    assert {item.speaker for item in task.folds[0].part("test")} == {"Ses01F", "Ses01M"}


def test_the_whole_suite_runs(superb_data, tiny_pair, monkeypatch):
    monkeypatch.setattr("speechpress.compressor.evaluate.probes.STEPS", 25)
    monkeypatch.setattr("speechpress.compressor.evaluate.probes.SWEEP", ((1e-2, 0.01),))
    tasks, notes = open_suite("superb", ["all"], superb_data, most=20)
    assert [task.name for task in tasks] == list(TASKS) and notes == []
    result = evaluate_suite(
        tiny_pair / "student", tasks, budget=Budget(steps=3, batch=2, lrs=(1e-2,), seeds=1), sanity=True
    )
    assert set(result["tasks"]) == set(TASKS) and all(task["student"] is not None for task in result["tasks"].values())


def test_clips_can_be_bounded(superb_data):
    assert counts(superb_task("asr", superb_data, 2)) == (2, 2, 2)
    assert len(superb_task("asv", superb_data, 3).part("test")) == 3


DAMAGES = [
    ("ks", "speech_commands_test_set_v0.01", lambda f: (f / "yes").rename(f / "maybe"), "'maybe' is not a class"),
    (
        "ic",
        "fluent_speech_commands_dataset",
        lambda f: (f / "data/test_data.csv").unlink(),
        "test_data.csv: is not there",
    ),
    (
        "ic",
        "fluent_speech_commands_dataset",
        lambda f: text(f / "data/test_data.csv", ",path,action,object,location", "0,a.wav,x,y,z"),
        r"test_data\.csv:1: no column 'speakerId'",
    ),
    (
        "sf",
        "SNIPS",
        lambda f: text(f / "all.iob.snips.txt", "Ivy-snips-train-0 BOS play"),
        r"txt:1: is not 'BOS words EOS",
    ),
    ("sf", "SNIPS", lambda f: text(f / "all.iob.snips.txt", "x BOS a EOS O O y"), "has no line for Ivy-snips-train-0"),
    (
        "er",
        "IEMOCAP",
        lambda f: (f / "Session3/dialog/EmoEvaluation/Ses03F_impro01.txt").unlink(),
        "holds no evaluation",
    ),
]


@pytest.mark.parametrize(("task", "corpus", "change", "said"), DAMAGES)
def test_a_damaged_corpus_is_refused_with_file_and_reason(superb_data, tmp_path, task, corpus, change, said):
    folder = without(superb_data, tmp_path, corpus)
    if corpus.startswith("speech_commands"):
        without(superb_data, tmp_path, "speech_commands_v0.01")
    change(folder / corpus)
    with pytest.raises(SpeechpressError, match=said):
        superb_task(task, folder)


@pytest.mark.parametrize("task", TASKS)
def test_a_corpus_that_is_not_there_is_named_with_the_way_out(task, tmp_path):
    with pytest.raises(SpeechpressError, match=rf"is not there, and task '{task}' needs it.*--tasks"):
        superb_task(task, tmp_path)
    with pytest.raises(SpeechpressError, match="there is no task 'x' in SUPERB; choose from"):
        superb_task("x", tmp_path)
