"""Noise under speech: as loud as asked, of its kind, and the same wherever it is made."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.data import noise
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.noise import DISTURBANCES, Tapes, disturbed, make_tapes, pink
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def tapes(few_clips):
    return make_tapes(tuple(DISTURBANCES), open_corpus(few_clips).cuts, seed=3)


def tone(samples=16_000):
    return 0.1 * torch.sin(torch.arange(samples) * 0.2)


@pytest.mark.parametrize("kind", DISTURBANCES)
@given(snr_db=st.floats(-10, 40), seed=st.integers(0, 1000))
def test_noise_lies_so_far_below_the_speech_and_is_drawn_by_its_seed(tapes, kind, snr_db, seed):
    wave = tone(4000)
    heard = disturbed(wave, kind, snr_db, tapes, random.Random(seed))
    found = 10 * torch.log10(wave.square().mean() / (heard - wave).square().mean())
    assert float(found) == pytest.approx(snr_db, abs=0.05)
    assert torch.equal(heard, disturbed(wave, kind, snr_db, tapes, random.Random(seed)))


def test_silence_stays_silence(tapes):
    for kind in DISTURBANCES:
        assert not disturbed(torch.zeros(4000), kind, 0.0, tapes, random.Random(0)).any()


def test_pink_noise_has_as_much_in_every_octave(tapes):
    power = torch.fft.rfft(tapes.tapes["pink"]).abs().square()
    octaves = torch.stack([power[2**n : 2 ** (n + 1)].sum() for n in range(12, 20)])
    assert float(octaves.max() / octaves.min()) < 1.15
    assert float(tapes.tapes["pink"].square().mean()) == pytest.approx(1) and abs(float(pink(tone()).mean())) < 1e-6


def test_a_room_answers_after_the_sound_and_fades(tapes):
    click = torch.zeros(16_000)
    click[1000] = 1.0
    echoes = disturbed(click, "reverb", 0.0, tapes, random.Random(1)) - click
    assert not echoes[:1031].abs().max() > 1e-5  # 2 ms
    parts = [float(echoes[start : start + 1600].square().mean()) for start in range(1032, 9000, 1600)]
    assert parts == sorted(parts, reverse=True) and parts[0] > 20 * parts[2] > 0


def test_babble_is_made_of_the_corpus_in_any_order_and_without_what_cannot_be_read(few_clips, tmp_path):
    import shutil

    folder = shutil.copytree(few_clips, tmp_path / "clips")
    cuts = list(open_corpus(folder).cuts)
    whole = make_tapes(["babble"], cuts, 3).tapes
    assert list(whole) == ["babble"]
    assert torch.equal(make_tapes(["babble"], cuts[::-1], 3).tapes["babble"], whole["babble"])
    assert not torch.equal(make_tapes(["babble"], cuts, 4).tapes["babble"][:1000], whole["babble"][:1000])
    sorted(folder.glob("*.opus"))[0].write_bytes(b"no sound")
    assert 0 < len(make_tapes(["babble"], cuts, 3).tapes["babble"]) < len(whole["babble"])
    with pytest.raises(SpeechpressError, match="none of them can be heard"):
        make_tapes(["babble"], [], 3)


def test_a_tape_goes_round():
    short = Tapes({"pink": torch.arange(5.0)})
    piece = short.piece("pink", 12, random.Random(0))
    assert torch.equal(piece.diff() % 5, torch.ones(11)) and len(piece) == 12


def test_only_the_tapes_that_are_needed_are_made(monkeypatch):
    monkeypatch.setattr(noise, "TAPE_SAMPLES", 1000)
    assert list(make_tapes(["pink"], [], 0).tapes) == ["pink"] and not make_tapes([], [], 0).tapes
