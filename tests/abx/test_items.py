"""Item files: what is read, which frames a token has, and what is wrong with a file."""

from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from corpora import ITEM_HEADER, make_phones

from speechpress.compressor.abx.items import Token, about, lonely, read_items
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def phones(tmp_path_factory):
    return make_phones(tmp_path_factory.mktemp("phones"))


def test_tokens_are_read_with_their_recordings(phones):
    items, audio = phones
    tokens = read_items(items, audio)
    assert about(tokens) == {"tokens": 18, "phones": 3, "contexts": 2, "speakers": 3, "recordings": 18}
    assert tokens[0] == Token(str(audio / "s0/s0-0.wav"), 210_000, 370_000, "B", ("A", "A"), "s0")


def test_a_bare_name_finds_the_only_recording_of_that_name(phones):
    items, audio = phones
    plain = items.with_name("plain.item")
    plain.write_text(items.read_text().replace("s1/", ""))
    assert read_items(plain, audio) == read_items(items, audio)


@pytest.mark.parametrize("hop", [160, 320, 640, 480])
def test_frames_are_those_whose_middles_lie_in_the_token(hop):
    """As fastabx counts: ceil(onset f - 1/2) to floor(offset f - 1/2), both included."""
    draw, frequency = np.random.default_rng(0), Fraction(16000, hop)
    for _ in range(300):
        # Multiples of 5 ms, so that middles lie on edges often.
        start, end = sorted(int(value) for value in draw.choice(400, 2, replace=False))
        token = Token("f", start * 5000, end * 5000, "a", ("b", "c"), "s")
        onset, offset = Fraction(start, 200), Fraction(end, 200)
        wanted = ceil(onset * frequency - Fraction(1, 2)), floor(offset * frequency - Fraction(1, 2)) + 1
        assert token.frames(hop, 16000) == wanted


def test_phones_of_one_speaker_are_named():
    tokens = [Token("f", 0, 1, phone, ("x", "y"), speaker) for phone, speaker in ("a1", "a2", "b1", "b1")]
    assert lonely(tokens) == ["b"]


ROW = "s0/s0-0 0.1 0.2 B A A s0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{ITEM_HEADER.replace('speaker', 'voice')}\n{ROW}\n", ":1: no column 'speaker'"),
        (f"{ITEM_HEADER}\n", "has a header and no token"),
        ("", ":1: no column '#file'"),
        (f"{ITEM_HEADER}\n{ROW} more\n", ":2: 8 fields, but the header has 7"),
        (f"{ITEM_HEADER}\n{ROW.replace('0.1', 'soon')}\n", ":2: 'soon' is not a time in seconds"),
        (f"{ITEM_HEADER}\n{ROW.replace('0.1', 'NaN')}\n", ":2: 'NaN' is not a time in seconds"),
        (f"{ITEM_HEADER}\n{ROW.replace('0.1', '-0.1')}\n", "must begin at 0 or later"),
        (f"{ITEM_HEADER}\n{ROW.replace('0.1', '0.3')}\n", "a token from 0.3 to 0.2 s"),
        (f"{ITEM_HEADER}\n{ROW.replace('s0/s0-0', 's0/gone')}\n{ROW}\n", "1 of 2 recordings are not under"),
        (
            f"{ITEM_HEADER}\n{ROW.replace('0.2', '9.2')}\n",
            "1 tokens end after their recording, the first is a B until 9.2 s",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(phones, tmp_path, text, said):
    path = tmp_path / "bad.item"
    path.write_text(text)
    with pytest.raises(SpeechpressError) as caught:
        read_items(path, phones[1])
    assert said in str(caught.value) and "bad.item" in str(caught.value)


def test_two_recordings_of_a_name_are_ambiguous(phones, tmp_path):
    _, audio = phones
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "s0-0.wav").write_bytes((audio / "s0/s0-0.wav").read_bytes())
    path = tmp_path / "double.item"
    path.write_text(f"{ITEM_HEADER}\n{ROW.replace('s0/s0-0', 's0-0')}\n")
    with pytest.raises(SpeechpressError, match=r"may be .*one.* or .*two"):
        read_items(path, tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_no_file_or_no_text(phones, tmp_path, content):
    path = tmp_path / "bad.item"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpeechpressError, match="cannot be read"):
        read_items(path, phones[1])


def test_no_folder(phones, tmp_path):
    with pytest.raises(SpeechpressError, match="is not a folder"):
        read_items(phones[0], tmp_path / "gone")
