"""The ten tasks of the mini suite from tiny corpora: what is read, how it is split, and what is refused."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from corpora import spoken, table

from speechpress.compressor.data.sounds import clip
from speechpress.compressor.tasks.mini import DEFAULT, Sizes, mini_task, speech_grid
from speechpress.compressor.tasks.mini import spoken as spoken_part
from speechpress.compressor.tasks.suites import open_suite
from speechpress.runtime.errors import SpeechpressError

NAMES = ("ks", "ic", "sf", "sid", "asv", "sd", "pr", "asr", "qbe")


@pytest.fixture(scope="module")
def tasks(mini_data):
    return {name: mini_task(name, mini_data, Sizes(mixtures=6)) for name in NAMES}


def test_every_task_has_its_kind_metric_and_chance(tasks):
    found = {name: (task.kind, task.metric) for name, task in tasks.items()}
    assert found == {
        "ks": ("classify", "accuracy"),
        "ic": ("classify", "accuracy"),
        "sf": ("slots", "F1"),
        "sid": ("classify", "accuracy"),
        "asv": ("verify", "EER"),
        "sd": ("diarize", "DER"),
        "pr": ("ctc", "PER"),
        "asr": ("words", "WER"),
        "qbe": ("search", "MTWV"),
    }
    assert all(task.chance is not None for task in tasks.values())


def test_speakers_are_unseen_where_they_are_named_and_leakage_is_said_where_not(tasks):
    unseen = {name: task.speaker_disjoint for name, task in tasks.items()}
    assert unseen == {
        **dict.fromkeys(("ks", "asv", "sd", "pr", "asr"), True),
        "sid": False,
        **dict.fromkeys(("ic", "sf", "qbe")),
    }
    for name in ("ic", "sf", "qbe"):
        assert any("the same voice may be in train and test" in note for note in tasks[name].notes)
    assert any("speakers are the classes" in note for note in tasks["sid"].notes)


def test_tasks_about_the_same_sentences_share_their_clips(tasks):
    sounds = {name: {item.sound for item in tasks[name].items} for name in ("pr", "asr", "asv")}
    assert sounds["pr"] == sounds["asr"] == sounds["asv"]
    val = {item.speaker for item in tasks["pr"].part("val")}
    assert len(val) == 2 and not val & {item.speaker for item in tasks["pr"].part("train")}


def test_transcripts_are_letters_and_phones_without_stress(tasks):
    phone, letter = tasks["pr"].items[0].target, tasks["asr"].items[0].target
    assert set(phone) <= {"A", "B", "C"} and "".join(letter).replace(" ", "") == "".join(phone)


def test_an_amount_is_a_slot_of_its_own(tasks):
    slots = {slot: value for item in tasks["sf"].items for slot, value in item.target}
    assert slots["sugarAmount/how much"] == "some" and slots["sugarAmount"] == "sugar"
    assert {item.target for item in tasks["ic"].items} == {"latte", "mocha"}


def test_mixtures_are_of_two_speakers_with_their_activity(tasks):
    item = tasks["sd"].part("test")[0]
    first, second = item.speaker.split("+")
    assert first != second and len(item.sound.parts) == 2
    assert item.target.any(0).all() and item.target.shape[1] == 2


def test_mixtures_are_the_same_every_time(tasks, mini_data):
    again = mini_task("sd", mini_data, Sizes(mixtures=6))
    assert [item.sound for item in again.items] == [item.sound for item in tasks["sd"].items]


def test_loudness_says_when_somebody_speaks():
    wave = np.concatenate([np.zeros(8000), spoken("AB"), np.zeros(8000)])
    grid = speech_grid(wave.astype(np.float32))
    assert not grid[:4].any() and not grid[-4:].any() and grid[6:8].all()


def test_a_query_is_the_word_without_the_silence_around_it(tasks):
    query = next(item for item in tasks["qbe"].items if item.query)
    assert 0.3 <= query.sound.crop_s < 0.7 and query.sound.start_s > 0.1
    assert spoken_part(clip(query.sound.place)) == query.sound
    splits = {split: {item.sound.place for item in tasks["qbe"].part(split)} for split in ("val", "test")}
    assert not splits["val"] & splits["test"]


def test_emotions_are_the_users_own(mini_data, tmp_path):
    with pytest.raises(
        SpeechpressError, match=r"task 'er': no freely usable corpus .*labels\.tsv \(path, emotion, speaker\)"
    ):
        mini_task("er", mini_data)
    rows = []
    for n in range(18):
        shutil.copy(mini_data / "arabic_speech_commands/audio/A/0-0.wav", tmp_path / f"{n}.wav")
        rows.append((f"../{n}.wav", ("sad", "glad")[n % 2], f"s{n // 3}"))
    (tmp_path / "emotion").mkdir()
    table(tmp_path / "emotion", ("path", "emotion", "speaker"), rows)
    task = mini_task("er", tmp_path)
    assert task.speaker_disjoint and task.metric == "accuracy"
    table(tmp_path / "emotion", ("path", "emotion"), [row[:2] for row in rows])
    with pytest.raises(SpeechpressError, match="needs a speaker for every clip, but 18 of 18 have none"):
        mini_task("er", tmp_path)


ACTORS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")


def emodb(root, mini_data, actors=ACTORS):
    rows = []
    for number, actor in enumerate(actors):
        for take, emotion in enumerate(("anger", "fear", "anger", "fear")):
            name = f"{actor}{take}.wav"
            (root / "emodb").mkdir(parents=True, exist_ok=True)
            shutil.copy(
                mini_data / f"arabic_speech_commands/audio/A/{number % 5}-{take % 2}.wav", root / "emodb" / name
            )
            rows.append((name, actor, emotion))
    table(root / "emodb", ("path", "speaker", "emotion"), rows)


def test_emodb_is_tested_by_speakers_that_its_fold_has_not_heard(mini_data, tmp_path):
    emodb(tmp_path, mini_data)
    task = mini_task("er", tmp_path)
    assert len(task.folds) == 5 and task.chance == pytest.approx(0.5) and "nothing that ships" in task.notes[1]
    tested = [{item.speaker for item in fold.part("test")} for fold in task.folds]
    assert sorted(name for pair in tested for name in pair) == sorted(ACTORS)
    for fold in task.folds:
        speakers = {split: {item.speaker for item in fold.part(split)} for split in ("train", "val", "test")}
        assert [len(speakers[split]) for split in ("train", "val", "test")] == [6, 2, 2]
        assert len(set.union(*speakers.values())) == 10  # disjoint
    assert [task.name for task in open_suite("mini", ["er"], tmp_path)[0]] == ["er"]


def test_another_corpus_under_the_name_of_emodb_is_refused(mini_data, tmp_path):
    emodb(tmp_path, mini_data, ACTORS[:9])
    with pytest.raises(SpeechpressError, match=r"has the speakers 03, .*but EmoDB has .*16; a corpus of another kind"):
        mini_task("er", tmp_path)


def damaged(mini_data, tmp_path, corpus, change):
    """A data root whose labels of a corpus are changed by a function of its text; the audio is that of `mini_data`."""
    folder = tmp_path / corpus
    folder.mkdir()
    (folder / "audio").symlink_to(mini_data / corpus / "audio")
    text = (mini_data / corpus / "labels.tsv").read_text()
    (folder / "labels.tsv").write_text(change(text))
    return tmp_path


@pytest.mark.parametrize(
    ("task", "corpus", "change", "said"),
    [
        (
            "pr",
            "speechocean762",
            lambda t: t.replace("phones_by_word", "phones"),
            "needs a phones_by_word for every clip",
        ),
        (
            "ks",
            "arabic_speech_commands",
            lambda t: t.replace("test\tA\ts4", "test\tA\ts0"),
            "1 speakers are in train and in test",
        ),
        ("asr", "speechocean762", lambda t: t.replace("test\t07", "test\t00"), "1 speakers are in train and in test"),
        ("sf", "picovoice_barista", lambda t: t.replace("{", "", 1), "slots_json: cannot be read as JSON"),
        (
            "qbe",
            "picovoice_wakewords",
            lambda t: "\n".join(t.splitlines()[:6]),
            "'abc' has 5 recordings, which are too few",
        ),
        ("ks", "arabic_speech_commands", lambda t: t.replace("\tspeaker", "\twho"), "needs a speaker for every clip"),
    ],
)
def test_labels_that_cannot_be_right_are_refused(task, corpus, change, said, mini_data, tmp_path):
    with pytest.raises(SpeechpressError, match=said):
        mini_task(task, damaged(mini_data, tmp_path, corpus, change))


def test_a_corpus_that_is_not_there_is_named_with_the_way_out(tmp_path):
    with pytest.raises(
        SpeechpressError, match=r"picovoice_barista/labels\.tsv: is not there, and task 'ic' needs it.*--tasks"
    ):
        mini_task("ic", tmp_path)
    with pytest.raises(SpeechpressError, match="no task 'kws' in the mini suite; choose from ks"):
        mini_task("kws", tmp_path)


def test_sizes_bound_every_task(mini_data):
    small = replace(DEFAULT, per_speaker=2, keywords=3, words=5, queries=2)
    assert len(mini_task("pr", mini_data, small).part("train")) == 4 * 2
    assert mini_task("ks", mini_data, small).counts() == {"train": 3, "val": 3, "test": 3}
    assert len(mini_task("qbe", mini_data, small).part("val")) == 2 * 5
