"""LibriSpeech, Libri2Mix and QUESST14 in their published layouts, and what is refused."""

import pytest
from layouts import counts, text, without

from speechpress.compressor.tasks.superb import superb_task
from speechpress.runtime.errors import SpeechpressError


def test_mixtures_have_their_activity(superb_data):
    task = superb_task("sd", superb_data)
    item = task.part("test")[0]
    assert counts(task) == (2, 2, 2) and item.speaker == "21+22"
    assert item.target[:, 0].tolist() == [True] * 4 + [False] * 4
    assert item.target[:, 1].tolist() == [False] * 2 + [True] * 4 + [False] * 2


def test_letters_and_phones_of_librispeech(superb_data):
    letters, phones = superb_task("asr", superb_data), superb_task("pr", superb_data)
    assert counts(letters) == counts(phones) == (4, 4, 4)
    assert letters.items[0].target == tuple("HELLO WORLD")
    assert phones.items[0].target == ("HH", "AH0", "L", "OW1", "W", "ER1", "L", "D")
    assert letters.speaker_disjoint is True


def test_queries_are_english_and_share_their_recordings(superb_data):
    task = superb_task("qbe", superb_data)
    assert [len(task.part(split)) for split in ("val", "test")] == [3, 3]
    held = {item.sound.place.rsplit("_", 1)[1]: item.target for item in task.part("val") if not item.query}
    assert held == {"00001.wav": frozenset(["quesst14_dev_0001"]), "00002.wav": frozenset()}


def test_a_speaker_less_is_no_damage(superb_data, tmp_path):
    folder = without(superb_data, tmp_path, "LibriSpeech")
    (folder / "LibriSpeech/test-clean/21/7/21-7.trans.txt").unlink()
    assert counts(superb_task("asr", folder)) == (4, 4, 2)


DAMAGES = [
    ("sd", "Libri2Mix", lambda f: text(f / "diarization/dev/utt2spk", "11-mix10 11"), "has no speaker in utt2spk"),
    (
        "sd",
        "Libri2Mix",
        lambda f: text(f / "diarization/dev/wav.scp", "mix10 sox x |"),
        "is a command, but must name a file",
    ),
    ("pr", "LibriSpeech", lambda f: (f / "librispeech-lexicon.txt").unlink(), "it comes with s3prl"),
    (
        "pr",
        "LibriSpeech",
        lambda f: text(f / "librispeech-lexicon.txt", "HELLO HH"),
        "words that no lexicon spells, such as WORLD",
    ),
    (
        "qbe",
        "quesst14Database",
        lambda f: text(f / "scoring/language_key_dev.lst", "a/b.wav albanian"),
        "no recording of nnenglish",
    ),
]


@pytest.mark.parametrize(("task", "corpus", "change", "said"), DAMAGES)
def test_a_damaged_corpus_is_refused_with_file_and_reason(superb_data, tmp_path, task, corpus, change, said):
    folder = without(superb_data, tmp_path, corpus)
    change(folder / corpus)
    with pytest.raises(SpeechpressError, match=said):
        superb_task(task, folder)
