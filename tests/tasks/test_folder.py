"""Probe tasks: which clips stand in which split, and what is said about it."""

import csv

import pytest

from speechpress.compressor.tasks.folder import STARTER, make_task
from speechpress.runtime.errors import SpeechpressError


def write_labels(folder, rows):
    """labels.tsv from dicts; the audio itself is not needed to plan a task."""
    columns = ["path", *{key: None for row in rows for key in row if key != "path"}]
    lines = ["\t".join(columns), *("\t".join(row.get(column, "") for column in columns) for row in rows)]
    (folder / "labels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def corpus(folder, speakers=8, words=("yes", "no", "stop"), takes=4, **more):
    rows = [
        {"path": f"{word}/{speaker}_{take}.wav", "keyword": word, "speaker": f"s{speaker}"}
        for word in words
        for speaker in range(speakers)
        for take in range(takes)
    ]
    for row in rows:
        row.update({name: rule(row) for name, rule in more.items()})
    return write_labels(folder, rows)


def speakers_by_split(task):
    return {split: {clip.speaker for clip in task.items if clip.split == split} for split in ("train", "val", "test")}


def test_starter_keywords_cover_five_languages_and_never_share_a_sentence_between_splits():
    task = make_task("ks", None)
    assert len(task.classes) == 20
    assert {name[:2] for name in task.classes} == {"en", "es", "fr", "it", "ru"}
    assert min(task.counts().values()) > 50
    with (STARTER / "labels.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    sides = {}
    for row in rows:
        if row["text"]:
            sides.setdefault((row["language"], row["text"].lower().strip(" .")), set()).add(row["split"])
    assert all(len(splits) == 1 for splits in sides.values())


def test_starter_scores_come_with_what_they_cannot_show():
    keywords, voices = make_task("ks", None), make_task("sid", None)
    assert not keywords.speaker_disjoint
    assert any("nothing about new voices" in note for note in keywords.notes)
    assert keywords.chance < 0.1 < 0.2 < keywords.chance_by_voice < 0.35
    assert len(voices.classes) == 4  # one person speaks both English and Spanish
    assert voices.crop_s == 1.0
    assert voices.chance_by_voice is None
    assert make_task("lid", STARTER).classes == ("en", "es", "fr", "it", "ru")


def test_without_a_split_column_speakers_are_kept_apart(tmp_path):
    task = make_task("ks", corpus(tmp_path))
    sides = speakers_by_split(task)
    assert task.speaker_disjoint
    assert all(sides.values())
    assert not sides["train"] & sides["test"] and not sides["val"] & sides["test"] and not sides["train"] & sides["val"]
    assert any("made here, by speaker" in note for note in task.notes)


def test_the_corpus_own_split_is_kept_and_a_missing_val_is_taken_from_train_by_speaker(tmp_path):
    task = make_task("ks", corpus(tmp_path, split=lambda row: "test" if row["speaker"] in ("s0", "s1") else "train"))
    sides = speakers_by_split(task)
    assert sides["test"] == {"s0", "s1"}
    assert sides["val"] and not sides["val"] & sides["train"]
    assert task.speaker_disjoint


def test_speaker_identification_splits_a_speaker_disjoint_corpus_anew_inside_its_test_part(tmp_path):
    folder = corpus(tmp_path, split=lambda row: "test" if row["speaker"] in ("s0", "s1", "s2") else "training")
    task = make_task("sid", folder)
    assert task.classes == ("s0", "s1", "s2")
    assert min(task.counts().values()) > 0
    assert not task.speaker_disjoint
    assert any("split again" in note for note in task.notes)


def test_a_speaker_in_train_and_test_is_said_and_chance_by_voice_sees_it(tmp_path):
    folder = corpus(tmp_path, speakers=2, split=lambda row: {"0": "test", "1": "val"}.get(row["path"][-5], "train"))
    task = make_task("ks", folder)
    assert not task.speaker_disjoint
    assert task.chance_by_voice == pytest.approx(1 / 3)
    assert any("also" in note or "too" in note for note in task.notes)


def test_classes_and_clips_can_be_bounded_and_rare_classes_are_left_out(tmp_path):
    folder = corpus(tmp_path, words=tuple("abcdef"))
    with (folder / "labels.tsv").open("a") as file:
        file.write("rare.wav\tonce\ts1\n")
    full, some = make_task("ks", folder), make_task("ks", folder, max_classes=3, max_clips=12)
    assert full.classes == tuple("abcdef")
    assert any("1 of 7" in note for note in full.notes)
    assert len(some.classes) == 3
    assert max(some.counts().values()) <= 12
    train = [clip.target for clip in some.items if clip.split == "train"]
    assert {train.count(name) for name in some.classes} == {4}


def test_the_same_clips_are_chosen_wherever_the_folder_lies(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / "deep").mkdir(parents=True)
    one, two = (make_task("ks", corpus(tmp_path / place)) for place in ("a", "b/deep"))
    names = [[(clip.name, clip.split) for clip in task.items] for task in (one, two)]
    assert names[0] == names[1]


def test_a_digit_column_serves_as_keyword(tmp_path):
    rows = [
        {"path": f"{d}_{s}_{i}.wav", "digit": str(d), "speaker": f"s{s}"} for d in "012" for s in range(5) for i in "ab"
    ]
    assert make_task("ks", write_labels(tmp_path, rows)).classes == ("0", "1", "2")


def test_bad_input_says_what_is_missing_and_where(tmp_path):
    with pytest.raises(SpeechpressError, match="no task 'asr'; choose from ks, sid, lid"):
        make_task("asr", None)
    with pytest.raises(SpeechpressError, match=r"has no labels\.tsv, .* path and keyword or digit"):
        make_task("ks", tmp_path)
    write_labels(tmp_path, [{"path": "a.wav", "speaker": "x"}])
    with pytest.raises(
        SpeechpressError, match=r"labels\.tsv:1: task 'ks' needs a column keyword or digit; found: path, speaker"
    ):
        make_task("ks", tmp_path)
    with pytest.raises(SpeechpressError, match="fewer than two"):
        make_task("sid", tmp_path)
