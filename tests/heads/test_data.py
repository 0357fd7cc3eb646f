"""Labelled speech as a task: folders, tables and manifests, and everything that can be wrong with labels."""

import json
import shutil

import numpy as np
import pytest
from corpora import spoken, table, write

from speechpress.compressor.data.sounds import Noise, clip, durations_s, identity, noisy, read_sound
from speechpress.compressor.heads.data import (
    WISHES,
    fingerprint,
    known_wish,
    open_task,
    plain_items,
    read_rows,
)
from speechpress.compressor.heads.kinds import read_label_list
from speechpress.compressor.heads.vad import speech_steps
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six speakers who say three words twice each; with the split of a corpus by speaker."""
    folder, rows = tmp_path_factory.mktemp("own"), []
    for speaker in range(6):
        for word in ("A", "BB", "CA"):
            for take in range(2):
                path = f"audio/{speaker}-{word}-{take}.wav"
                write(folder / path, spoken(word, 0.8 + 0.06 * speaker, take))
                split = "test" if speaker > 3 else "dev" if speaker == 3 else "training"
                rows.append((path, word, " ".join(word), word, f"s{speaker}", split))
    table(folder, ("path", "label", "phones", "text", "speaker", "split"), rows)
    return folder


def rewritten(corpus, folder, change, name="table.tsv", cut="\t"):
    """A table beside nothing, of absolute paths, whose rows went through `change`."""
    head, *lines = (corpus / "labels.tsv").read_text().splitlines()
    columns, rows = head.split("\t"), []
    for number, line in enumerate(lines):
        row = dict(zip(columns, line.split("\t"), strict=True))
        row["path"] = str(corpus / row["path"])
        if (row := change(number, row)) is not None:
            rows.append(row)
    text = [cut.join(rows[0]), *(cut.join(row.values()) for row in rows)]
    (folder / name).write_text("\n".join(text) + "\n")
    return folder / name


def one_word(corpus):
    return rewritten(corpus, corpus, lambda _, row: row if row["label"] == "A" else None, "one.tsv")


def same(number, row):
    return row


def test_a_labelled_folder_is_a_task(corpus):
    task = open_task("classify", corpus)
    assert (task.kind, task.classes) == ("classify", ("A", "BB", "CA"))
    assert task.counts() == {"train": 18, "val": 6, "test": 12} and task.speaker_disjoint
    assert task.chance == pytest.approx(1 / 3)


@pytest.mark.parametrize(("name", "cut"), [("t.tsv", "\t"), ("t.csv", ","), ("T.CSV", ",")])
def test_a_table_anywhere_is_a_task(corpus, tmp_path, name, cut):
    path = rewritten(corpus, tmp_path, same, name, cut)
    assert fingerprint(open_task("classify", path).items) == fingerprint(open_task("classify", corpus).items)


def test_a_table_may_call_its_column_as_hugging_face_does(corpus, tmp_path):
    path = rewritten(corpus, tmp_path, lambda _, row: {"file_name": row.pop("path"), **row})
    assert len(read_rows(path)) == 36


def test_a_lhotse_manifest_is_a_task(corpus, tmp_path):
    lines = []
    for row in read_rows(corpus / "labels.tsv"):
        name, path = row.name.replace("/", "-"), row.sound.parts[0][0]
        samples = len(read_sound(row.sound))
        recording = {
            "id": name,
            "sources": [{"type": "file", "channels": [0], "source": path}],
            "sampling_rate": 16000,
            "num_samples": samples,
            "duration": samples / 16000,
            "channel_ids": [0],
        }
        # A part of the recording: the first 50 ms are silence.
        cut = {"start": 0.05, "duration": round(samples / 16000 - 0.05, 4)}
        supervision = {
            "id": name,
            "recording_id": name,
            "start": 0.0,
            "duration": cut["duration"],
            "channel": 0,
            "speaker": row.labels["speaker"],
            "text": row.labels["text"],
            "custom": {"label": row.labels["label"], "split": row.labels["split"]},
        }
        lines.append(
            {"id": name, **cut, "channel": 0, "supervisions": [supervision], "recording": recording, "type": "MonoCut"}
        )
    path = tmp_path / "cuts.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    task = open_task("classify", path)
    assert task.classes == ("A", "BB", "CA") and task.counts()["test"] == 12
    first = task.items[0].sound
    assert first.start_s == 0.05 and len(read_sound(first)) == round(first.crop_s * 16000)
    assert open_task("asr", path).kind == "words"


def test_phones_come_before_text_and_letters_only_when_asked_for(corpus):
    assert {item.target for item in open_task("ctc", corpus).items} == {("A",), ("B", "B"), ("C", "A")}
    assert open_task("ctc", corpus).metric == "PER"
    task = open_task("asr", corpus)
    assert task.metric == "WER" and ("B", "B") in {item.target for item in task.items}
    assert open_task("ctc", corpus, "text").metric == "WER"


def test_a_column_of_any_name_can_be_asked_for(corpus):
    assert open_task("classify", corpus, "text").classes == ("A", "BB", "CA")
    # Its split is one of speakers, so those of its test part are split anew.
    assert open_task("classify", corpus, "speaker").classes == ("s4", "s5")


def test_without_a_split_speakers_are_kept_apart(corpus, tmp_path):
    path = rewritten(corpus, tmp_path, lambda _, row: {k: v for k, v in row.items() if k != "split"})
    for name in ("classify", "ctc"):
        task = open_task(name, path)
        assert task.speaker_disjoint and all(task.counts().values()), name


def test_voices_are_of_other_speakers_in_each_split(tmp_path):
    rows = []
    for speaker in range(8):
        for take in range(3):
            path = write(tmp_path / f"{speaker}-{take}.wav", spoken("AB", 0.7 + 0.08 * speaker, take))
            rows.append((path.name, f"s{speaker}"))
    table(tmp_path, ("path", "speaker"), rows)
    task = open_task("speaker", tmp_path)
    assert task.kind == "verify" and task.speaker_disjoint
    assert {item.target for item in task.part("train")} == {item.speaker for item in task.part("train")}
    mixed = open_task("segment", tmp_path)
    assert mixed.kind == "diarize" and len(mixed.part("train")) == 600
    assert all(len(item.sound.parts) == 2 for item in mixed.items)


def test_the_suites_corpora_are_found_by_the_name_of_a_task(mini_data):
    assert [open_task(name, mini_data).kind for name in ("ks", "ic", "sid", "pr", "asr", "asv")] == [
        *("classify", "classify", "classify", "ctc", "words", "verify")
    ]


def test_a_corpus_of_emotions_lies_in_a_folder_of_its_name(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "emodb")
    text = (corpus / "labels.tsv").read_text().replace("path\tlabel", "path\temotion").replace("\tsplit", "\tpart")
    (tmp_path / "emodb" / "labels.tsv").write_text(text)
    task = open_task("er", tmp_path)
    assert task.classes == ("A", "BB", "CA") and task.speaker_disjoint


@pytest.mark.parametrize(
    ("task", "change", "said"),
    [
        ("classify", lambda n, row: {**row, "label": "" if n == 3 else row["label"]}, "1 of 36 .* have no 'label'"),
        ("ctc", lambda n, row: {**row, "phones": "" if n < 2 else row["phones"]}, "2 of 36 .* have no 'phones'"),
        ("speaker", lambda n, row: {**row, "speaker": "" if n < 2 else row["speaker"]}, "2 of 36 .* no 'speaker'"),
        ("segment", lambda n, row: {**row, "speaker": "" if n < 2 else row["speaker"]}, "2 of 36 .* no 'speaker'"),
        ("classify", lambda n, row: {"path": row["path"], "mood": "x"}, "none of the labels .*they have mood.*--label"),
        ("er", lambda n, row: {"path": row["path"], "keyword": "x"}, "none of the labels emotion, label"),
        ("classify", lambda n, row: {**row, "label": "Z" if n == 35 else row["label"]}, "no training clip.*'Z'"),
        ("classify", lambda n, row: {**row, "label": "A"}, "only one class"),
        ("segment", lambda n, row: {**row, "speaker": row["split"]}, "fewer than two speakers"),
    ],
)
def test_what_is_wrong_with_labels_is_said(corpus, tmp_path, task, change, said):
    with pytest.raises(SpeechpressError, match=said):
        open_task(task, rewritten(corpus, tmp_path, change))


def test_labels_that_are_named_are_all_that_there_may_be(corpus):
    assert open_task("classify", corpus, labels=("A", "BB", "CA")).classes == ("A", "BB", "CA")
    with pytest.raises(SpeechpressError, match=r"the data exceeds them: .*wav has 'CA'"):
        open_task("classify", corpus, labels=("A", "BB"))
    with pytest.raises(SpeechpressError, match=r"the data exceeds them: .* has 'C'"):
        open_task("ctc", corpus, labels=("A", "B"))
    with pytest.raises(SpeechpressError, match="1 of them have no example in the training part, the first is 'D'"):
        open_task("ctc", corpus, labels=("A", "B", "C", "D"))
    with pytest.raises(SpeechpressError, match="has none"):
        open_task("vad", corpus, labels=("speech",))


@pytest.mark.parametrize(("text", "labels"), [("a,b , c", ("a", "b", "c")), ("a, ,b", ("a", " ", "b"))])
def test_labels_are_listed_with_commas(text, labels):
    assert read_label_list(text) == labels


def test_labels_are_the_lines_of_a_file(tmp_path):
    (tmp_path / "labels.txt").write_text("a\n \nb\n\n", encoding="utf-8")
    assert read_label_list(str(tmp_path / "labels.txt")) == ("a", " ", "b")


@pytest.mark.parametrize(("text", "said"), [("", "is empty"), (",,", "is empty"), ("a,b,a", "'a' stands twice")])
def test_an_alphabet_that_is_none_is_refused(text, said):
    with pytest.raises(SpeechpressError, match=said):
        read_label_list(text)


@pytest.mark.parametrize(("task", "said"), [("sf", "cannot stream"), ("qbe", "trains nothing"), ("kz", "must be one")])
def test_a_task_without_a_head_is_refused(task, said):
    with pytest.raises(SpeechpressError, match=said):
        known_wish(task)
    assert all(known_wish(name) for name in WISHES)


def test_nothing_there_is_an_error(tmp_path):
    for path in (tmp_path, tmp_path / "no.csv", tmp_path / "no"):
        with pytest.raises(SpeechpressError):
            open_task("classify", path)
    (tmp_path / "t.csv").write_text("path,label\n")
    with pytest.raises(SpeechpressError, match="names no recordings"):
        open_task("classify", tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("where,label\na,b\n")
    with pytest.raises(SpeechpressError, match=r"no column 'path' \(comma-separated columns found: where, label\)"):
        open_task("classify", tmp_path / "t.csv")


def test_speech_is_told_from_silence_by_its_loudness():
    wave = np.concatenate([np.zeros(8000), spoken("AB"), np.zeros(800), spoken("C"), np.zeros(8000)])
    found = speech_steps(wave.astype(np.float32))
    starts = np.flatnonzero(np.diff(found.astype(int), prepend=0) == 1)
    # Silence of 50 ms lies around what is spoken; both pauses of it and the 50 ms between are longer than is filled.
    assert starts[0] * 160 == pytest.approx(8000 + 800, abs=320) and len(starts) == 2
    assert not found[:45].any() and not found[-45:].any() and 0.2 < found.mean() < 0.5


def test_voice_activity_hears_silence_and_noise_around_clean_speech(corpus):
    task = open_task("vad", corpus)
    assert task.kind == "speech" and task.metric == "HTER" and "not labelled by people" in " ".join(task.notes)
    assert {item.sound.noise.snr_db for item in task.items} == {float("inf"), 20.0, 10.0, 5.0}
    for item in task.items[:8]:
        heard = read_sound(item.sound)
        assert abs(len(item.target) - len(heard) / 160) <= 1 and not item.target[:49].any() and item.target.any()


def test_words_of_val_and_test_are_never_trained(tmp_path):
    rows = []
    for speaker in range(6):
        for number, word in enumerate(("A", "B", "C", "AB", "BA", "AC", "CA", "BC")):
            for take in range(2):
                path = f"{speaker}-{word}-{take}.wav"
                write(tmp_path / path, spoken(word, 1 + 0.05 * speaker, 10 * number + take, lead_s=0.3))
                rows.append((path, word, f"s{speaker}"))
    rows.append(("silent.wav", "A", "s0"))
    write(tmp_path / "silent.wav", np.zeros(16000))
    table(tmp_path, ("path", "word", "speaker"), rows)
    task = open_task("words", tmp_path)
    words = {split: {item.target for item in task.part(split)} for split in ("train", "val", "test")}
    assert words["val"] == words["test"] == {"A", "BA"} and not words["train"] & words["test"]
    assert task.kind == "match" and task.metric == "EER" and task.speaker_disjoint
    assert any("1 recordings hold no word; 2 of 8 words are of val and test only" in note for note in task.notes)
    # Cut to the word: the silence of 0.3 s at both ends is not heard.
    lengths = durations_s(item.sound for item in task.items)
    assert all(len(item.target) * 0.1 < lengths[item.sound] < len(item.target) * 0.3 + 0.2 for item in task.items)


def test_few_words_are_trained_and_tested(corpus):
    task = open_task("words", corpus, column="label")
    assert {item.target for item in task.part("train")} == {item.target for item in task.part("test")}
    with pytest.raises(SpeechpressError, match="needs at least two training words"):
        open_task("words", one_word(corpus))


def test_noise_is_as_loud_as_it_says_and_the_same_every_time(corpus):
    wave = read_sound(read_rows(corpus)[0].sound)
    found = noisy(wave, Noise(0.5, 10.0, 3))
    assert np.array_equal(found, noisy(wave, Noise(0.5, 10.0, 3))) and len(found) == len(wave) + 16000
    noise = found - np.pad(wave, 8000)
    assert 10 * np.log10((wave**2).mean() / (noise**2).mean()) == pytest.approx(10, abs=0.05)
    # Pink: an octave holds as much as the next one.
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[len(power) // 16 : len(power) // 8].sum(), power[len(power) // 4 : len(power) // 2].sum()
    assert low / high == pytest.approx(1, abs=0.3)
    assert np.array_equal(noisy(wave, Noise(0.5)), np.pad(wave, 8000))


def test_noise_is_part_of_what_is_heard(corpus):
    from dataclasses import replace

    plain = read_rows(corpus)[0].sound
    sounds = [plain, *(replace(plain, noise=noise) for noise in (Noise(0.5), Noise(0.5, 10.0), Noise(0.5, 10.0, 1)))]
    assert len({identity(sound) for sound in sounds}) == 4
    lengths = durations_s(sounds)
    assert lengths[sounds[1]] == pytest.approx(lengths[plain] + 1.0)


def test_clips_without_answers_are_not_too_long_and_not_too_many(tmp_path):
    write(tmp_path / "long.wav", np.random.default_rng(0).standard_normal(16_000 * 14) * 0.1)
    for number in range(5):
        write(tmp_path / f"{number}.wav", spoken("AB", 1, number))
    items = plain_items(read_rows(tmp_path), [])
    assert {item.split for item in items} == {"train", "val", "test"} and len(items) == 6
    assert max(durations_s(item.sound for item in items).values()) == 12.0
    assert clip(tmp_path / "0.wav") in {item.sound for item in items}
