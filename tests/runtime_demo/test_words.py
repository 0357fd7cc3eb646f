import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from speechpress.runtime.bundle import digest, read_bundle
from speechpress.runtime.demo.spotting import Background, learn
from speechpress.runtime.demo.words import load_words, save_words
from speechpress.runtime.errors import SpeechpressError

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def background():
    return Background(RANDOM.standard_normal((2000, 8)).astype(np.float32))


@pytest.fixture(scope="module")
def words(background):
    return [
        learn(name, [RANDOM.standard_normal((n, 8)).astype(np.float32) for n in (20, 25)], background)
        for name in ("zéro", "two")
    ]


@pytest.fixture
def bundle(small_bundle):
    return read_bundle(small_bundle)


def test_words_come_back_as_they_were(tmp_path, words, bundle, background):
    path = tmp_path / "mine" / "words.safetensors"
    save_words(path, words, bundle, 80)
    again = load_words(path, bundle, 80, background)
    assert [word.name for word in again] == ["zéro", "two"]
    for one, other in zip(words, again, strict=True):
        assert one.threshold == other.threshold
        assert all(np.array_equal(*pair) for pair in zip(one.examples, other.examples, strict=True))
    assert [path.name for path in path.parent.iterdir()] == ["words.safetensors"]


def test_what_is_not_a_word_comes_back_as_well(tmp_path, words, bundle, background):
    path, other = tmp_path / "words.safetensors", RANDOM.standard_normal((22, 8)).astype(np.float32)
    known = learn("one", words[0].examples, background, against=[other])
    save_words(path, [words[1], known], bundle, 80)
    again = load_words(path, bundle, 80, background)
    assert [len(word.against) for word in again] == [0, 1] and np.array_equal(again[1].against[0], other)
    assert again[1].threshold == known.threshold


def test_a_file_of_schema_1_still_opens(tmp_path, words, bundle, background):
    path = tmp_path / "words.safetensors"
    about = {
        "schema": 1,
        "bundle": bundle.document["digest"],
        "bundle_name": "small",
        "chunk_ms": 80.0,
        "words": [{"name": "one", "examples": 2}],
    }
    tensors = {f"0/{k}": frames for k, frames in enumerate(words[0].examples)}
    save_file(tensors, path, metadata={"speechpress_words": json.dumps(about)})
    (word,) = load_words(path, bundle, 80, background)
    assert (word.name, len(word.examples), word.against) == ("one", 2, ())


def test_words_of_a_head_are_not_looked_for_in_features(tmp_path, words, bundle, background):
    path = tmp_path / "words.safetensors"
    save_words(path, words, bundle, 80, head="words")
    with pytest.raises(SpeechpressError, match="taught by the head 'words', but are matched by features"):
        load_words(path, bundle, 80, background)


def test_words_of_another_bundle_or_chunk_are_refused(tmp_path, words, bundle, background):
    path = tmp_path / "words.safetensors"
    save_words(path, words, bundle, 80)
    with pytest.raises(SpeechpressError, match=r"in chunks of 80 ms .* not to small in chunks of 160 ms"):
        load_words(path, bundle, 160, background)
    document = {**bundle.document, "name": "another"}
    other = type(bundle)(bundle.path, {**document, "digest": digest(document)})
    with pytest.raises(SpeechpressError, match=r"taught to small .*not to another"):
        load_words(path, other, 80, background)


def test_no_words_at_all(tmp_path, words, bundle, background):
    save_words(tmp_path / "none.safetensors", [], bundle, 80)
    assert load_words(tmp_path / "none.safetensors", bundle, 80, background) == []


def test_files_that_are_none(tmp_path, small_bundle, bundle, background):
    path = tmp_path / "words.safetensors"
    path.write_text(json.dumps({}))
    for wrong in (path, tmp_path / "missing.safetensors", small_bundle / "golden.safetensors"):
        with pytest.raises(SpeechpressError, match="is not a file of taught words"):
            load_words(wrong, bundle, 80, background)


def test_a_place_that_cannot_be_written(tmp_path, words, bundle):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpeechpressError, match="--words"):
        save_words(tmp_path / "file" / "words.safetensors", words, bundle, 80)
