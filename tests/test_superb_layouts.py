"""SUPERB's corpora in their published layouts: what is read, the splits, and what is refused."""

import pytest
from layouts import hashed, superb_root, text, without

from speechpress.compressor.downstream import Budget
from speechpress.compressor.eval_suite import evaluate_suite
from speechpress.compressor.problems import TASKS
from speechpress.compressor.scoring import spelled_slots
from speechpress.compressor.suites import open_suite
from speechpress.compressor.superb_layouts import commands_split, superb_problem
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return superb_root(tmp_path_factory.mktemp("superb"))


def counts(problem):
    return tuple(problem.counts()[split] for split in ("train", "val", "test"))


def test_keywords_have_twelve_classes_and_a_test_set_of_its_own(root):
    problem = superb_problem("ks", root)
    assert len({item.target for item in problem.items}) == 12
    silent = [item for item in problem.items if item.target == "_silence_"]
    assert [item.split for item in silent].count("val") == 1 and all(
        item.sound.crop_s in (1.0, None) for item in silent
    )
    assert {item.target for item in problem.part("test")} == {"yes", "no", "_unknown_", "_silence_"}
    assert not any(hashed("test") in item.sound.place for item in problem.items)  # of the training archive
    assert problem.speaker_disjoint is True


def test_the_split_of_a_speaker_is_that_of_the_corpus():
    # From the corpus' README: the rule gives the same split to all takes of a speaker.
    assert commands_split("bobby_nohash_0.wav") == commands_split("bobby_nohash_9.wav")
    shares = [commands_split(f"{number:08x}_nohash_0.wav") for number in range(2000)]
    assert abs(shares.count("val") / 2000 - 0.1) < 0.03 and abs(shares.count("test") / 2000 - 0.1) < 0.03


def test_intents_are_three_slots_of_unseen_speakers(root):
    problem = superb_problem("ic", root)
    assert {item.target for item in problem.items} == {"increase volume none", "decrease volume none"}
    assert counts(problem) == (4, 2, 2) and problem.speaker_disjoint is True


def test_slots_are_spelled_between_marks(root):
    problem = superb_problem("sf", root)
    assert (problem.kind, problem.metric, counts(problem)) == ("spell", "F1", (4, 2, 4))
    assert problem.items[0].target == (*"PLAY", " ", "B-genre", *"COOL", " ", *"JAZZ", "E-genre")
    assert spelled_slots(problem.items[0].target) == [("genre", "COOL JAZZ")]
    assert problem.speaker_disjoint is True


def test_speakers_and_trials_of_voxceleb(root):
    sid = superb_problem("sid", root)
    assert counts(sid) == (8, 8, 4) and len({item.target for item in sid.items}) == 4
    asv = superb_problem("asv", root)
    assert {item.speaker for item in asv.part("train")} == {"id10001", "id10002"}
    assert counts(asv) == (6, 4, 4) and asv.speaker_disjoint is True
    tested = asv.part("test")
    assert [(tested[a].speaker == tested[b].speaker) is same for a, b, same in asv.pairs] == [True] * 3
    assert [same for *_, same in asv.pairs] == [True, False, True]


def test_mixtures_have_their_activity(root):
    problem = superb_problem("sd", root)
    item = problem.part("test")[0]
    assert counts(problem) == (2, 2, 2) and item.speaker == "21+22"
    assert item.target[:, 0].tolist() == [True] * 4 + [False] * 4
    assert item.target[:, 1].tolist() == [False] * 2 + [True] * 4 + [False] * 2


def test_emotions_are_four_and_come_in_five_folds(root):
    problem = superb_problem("er", root)
    assert len(problem.folds) == 5 and len(problem.items) == 50
    for number, fold in enumerate(problem.folds, 1):
        assert all(f"Session{number}" in item.sound.place for item in fold.part("test"))
        assert fold.speaker_disjoint is True and {item.target for item in fold.items} == {"neu", "hap", "ang", "sad"}
    assert problem.chance == pytest.approx(0.4)
    assert {item.speaker for item in problem.folds[0].part("test")} == {"Ses01F", "Ses01M"}


def test_letters_and_phones_of_librispeech(root):
    letters, phones = superb_problem("asr", root), superb_problem("pr", root)
    assert counts(letters) == counts(phones) == (4, 4, 4)
    assert letters.items[0].target == tuple("HELLO WORLD")
    assert phones.items[0].target == ("HH", "AH0", "L", "OW1", "W", "ER1", "L", "D")
    assert letters.speaker_disjoint is True


def test_queries_are_english_and_share_their_recordings(root):
    problem = superb_problem("qbe", root)
    assert [len(problem.part(split)) for split in ("val", "test")] == [3, 3]
    held = {item.sound.place.rsplit("_", 1)[1]: item.target for item in problem.part("val") if not item.query}
    assert held == {"00001.wav": frozenset(["quesst14_dev_0001"]), "00002.wav": frozenset()}


def test_the_whole_suite_runs(root, tiny_pair, monkeypatch):
    monkeypatch.setattr("speechpress.compressor.probes.STEPS", 25)
    monkeypatch.setattr("speechpress.compressor.probes.SWEEP", ((1e-2, 0.01),))
    problems, notes = open_suite("superb", ["all"], root, most=20)
    assert [problem.name for problem in problems] == list(TASKS) and notes == []
    result = evaluate_suite(
        tiny_pair / "student", problems, budget=Budget(steps=3, batch=2, lrs=(1e-2,), seeds=1), sanity=True
    )
    assert set(result["tasks"]) == set(TASKS) and all(task["student"] is not None for task in result["tasks"].values())


def test_clips_can_be_bounded(root):
    assert counts(superb_problem("asr", root, 2)) == (2, 2, 2)
    assert len(superb_problem("asv", root, 3).part("test")) == 3


DAMAGES = [
    ("ks", "speech_commands_test_set_v0.01", lambda f: (f / "yes").rename(f / "maybe"), "'maybe' is no class"),
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
    ("sid", "VoxCeleb1", lambda f: text(f / "iden_split.txt", "4 id10001/aaa/00001.wav"), "'4' is no split"),
    (
        "sid",
        "VoxCeleb1",
        lambda f: text(f / "iden_split.txt", "1 id10001/zzz/1.wav"),
        "id10001/zzz/1.wav is in none of",
    ),
    ("asv", "VoxCeleb1", lambda f: text(f / "voxceleb1_test_v2.txt", "1 a b c"), "has 4 words, but task 'asv' needs 3"),
    ("asv", "VoxCeleb1", lambda f: (f / "voxceleb1_test_v2.txt").unlink(), "voxceleb1_test_v2.txt or .*veri_test2"),
    ("sd", "Libri2Mix", lambda f: text(f / "diarization/dev/utt2spk", "11-mix10 11"), "has no speaker in utt2spk"),
    (
        "sd",
        "Libri2Mix",
        lambda f: text(f / "diarization/dev/wav.scp", "mix10 sox x |"),
        "is a command, but must name a file",
    ),
    (
        "er",
        "IEMOCAP",
        lambda f: (f / "Session3/dialog/EmoEvaluation/Ses03F_impro01.txt").unlink(),
        "holds no evaluation",
    ),
    ("pr", "LibriSpeech", lambda f: (f / "librispeech-lexicon.txt").unlink(), "it comes with s3prl"),
    (
        "pr",
        "LibriSpeech",
        lambda f: text(f / "librispeech-lexicon.txt", "HELLO HH"),
        "words that no lexicon spells, such as WORLD",
    ),
    ("asr", "LibriSpeech", lambda f: (f / "test-clean/21/7/21-7.trans.txt").rename(f / "x"), None),
    (
        "qbe",
        "quesst14Database",
        lambda f: text(f / "scoring/language_key_dev.lst", "a/b.wav albanian"),
        "no recording of nnenglish",
    ),
]


@pytest.mark.parametrize(("task", "corpus", "change", "said"), DAMAGES)
def test_a_damaged_corpus_is_refused_with_file_and_reason(root, tmp_path, task, corpus, change, said):
    folder = without(root, tmp_path, corpus)
    if corpus.startswith("speech_commands"):
        without(root, tmp_path, "speech_commands_v0.01")
    change(folder / corpus)
    if said is None:  # fewer speakers are no damage
        assert counts(superb_problem(task, folder)) == (4, 4, 2)
        return
    with pytest.raises(SpeechpressError, match=said):
        superb_problem(task, folder)


@pytest.mark.parametrize("task", TASKS)
def test_a_corpus_that_is_not_there_is_named_with_the_way_out(task, tmp_path):
    with pytest.raises(SpeechpressError, match=rf"is not there, and task '{task}' needs it.*--tasks"):
        superb_problem(task, tmp_path)
    with pytest.raises(SpeechpressError, match="there is no task 'x' in SUPERB; choose from"):
        superb_problem("x", tmp_path)
