"""VoxCeleb1 in its published layout: the identification split, the trials, and what is refused."""

import pytest
from layouts import counts, text, without

from speechpress.compressor.tasks.superb import superb_task
from speechpress.runtime.errors import SpeechpressError


def test_speakers_and_trials_of_voxceleb(superb_data):
    sid = superb_task("sid", superb_data)
    assert counts(sid) == (8, 8, 4) and len({item.target for item in sid.items}) == 4
    asv = superb_task("asv", superb_data)
    assert {item.speaker for item in asv.part("train")} == {"id10001", "id10002"}
    assert counts(asv) == (6, 4, 4) and asv.speaker_disjoint is True
    tested = asv.part("test")
    assert [(tested[a].speaker == tested[b].speaker) is same for a, b, same in asv.pairs] == [True] * 3
    assert [same for *_, same in asv.pairs] == [True, False, True]


DAMAGES = [
    ("sid", "VoxCeleb1", lambda f: text(f / "iden_split.txt", "4 id10001/aaa/00001.wav"), "'4' is not a split"),
    (
        "sid",
        "VoxCeleb1",
        lambda f: text(f / "iden_split.txt", "1 id10001/zzz/1.wav"),
        "id10001/zzz/1.wav is in none of",
    ),
    ("asv", "VoxCeleb1", lambda f: text(f / "voxceleb1_test_v2.txt", "1 a b c"), "has 4 words, but task 'asv' needs 3"),
    ("asv", "VoxCeleb1", lambda f: (f / "voxceleb1_test_v2.txt").unlink(), "voxceleb1_test_v2.txt or .*veri_test2"),
]


@pytest.mark.parametrize(("task", "corpus", "change", "said"), DAMAGES)
def test_a_damaged_corpus_is_refused_with_file_and_reason(superb_data, tmp_path, task, corpus, change, said):
    folder = without(superb_data, tmp_path, corpus)
    change(folder / corpus)
    with pytest.raises(SpeechpressError, match=said):
        superb_task(task, folder)
