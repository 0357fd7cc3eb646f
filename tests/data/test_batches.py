"""Training batches: each recording once per epoch, exact from any batch on, shares that make up the whole."""

import threading
from itertools import islice, pairwise, takewhile

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import MonoCut
from lhotse.testing.dummies import dummy_recording
from sounds import voice, write

from speechpress.compressor.data.audio import cut_samples, read_cut
from speechpress.compressor.data.batches import Batches, rounded_down, whole_frames
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.models.config import EncoderConfig
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """20 recordings of 0.4 to 3 s, some of them 8 kHz or Opus."""
    folder = tmp_path_factory.mktemp("speech")
    for index in range(20):
        seconds = 0.4 + 2.6 * (index * 7 % 20) / 19
        kwargs = {"format": "OGG", "subtype": "OPUS"} if index % 5 == 0 else {}
        write(
            folder / f"{index:02d}.{'opus' if kwargs else 'wav'}",
            seconds,
            8_000 if index % 3 else 16_000,
            index,
            **kwargs,
        )
    return open_corpus(folder)


def unread(*seconds):
    """Cuts whose audio is never read."""
    return [
        MonoCut(f"c{i}", 0.0, round(s * 16_000) / 16_000, 0, recording=dummy_recording(i, duration=s))
        for i, s in enumerate(seconds)
    ]


def take(batches, number, *args):
    stream = batches.start(*args)
    try:
        return list(islice(stream, number))
    finally:
        stream.close()


def same(one, two):
    return one.ids == two.ids and (one.epoch, one.index) == (two.epoch, two.index) and torch.equal(one.waves, two.waves)


def lost_share(batches, epoch=0):
    """Share of an epoch's audio that is cropped away to make rows equal (not what `crop_s` itself cuts off)."""
    kept = sum(len(planned.rows) * planned.samples for planned in batches._plan(epoch))
    return 1 - kept / sum(min(piece.samples, batches.crop_samples) for piece in batches.pieces)


def epoch_length(batches, epoch=0):
    """Batches of an epoch, counted as they come."""
    return sum(batch.epoch == epoch for batch in take_epochs(batches, epoch + 1))


def take_epochs(batches, number):
    stream = batches.start()
    try:
        return list(takewhile(lambda batch: batch.epoch < number, stream))
    finally:
        stream.close()


durations = st.lists(st.floats(0.1, 40.0), min_size=1, max_size=60)


@settings(max_examples=100, deadline=None)
@given(durations, st.integers(1, 9), st.floats(0.2, 20.0), st.none() | st.floats(0.3, 60.0), st.integers(0, 3))
def test_a_plan_has_every_piece_once_and_keeps_its_limits(seconds, batch, crop_s, batch_s, epoch):
    batches = Batches(unread(*seconds), batch, crop_s, batch_s, seed=1)
    plan = batches._plan(epoch)
    rows = np.concatenate([planned.rows for planned in plan])
    assert sorted(rows) == list(range(len(batches.pieces)))
    assert {piece.cut.id for piece in batches.pieces} == {f"c{index}" for index in range(len(seconds))}
    for planned in plan:
        lengths = [batches.pieces[row].samples for row in planned.rows]
        assert 1 <= len(planned.rows) <= batch
        assert (planned.samples - 80) % 320 == 0 and 400 <= planned.samples <= min(*lengths, crop_s * 16_000, 1e9)
        assert len(planned.rows) * planned.samples <= (batch_s or 1e9) * 16_000
    assert 0 <= lost_share(batches, epoch) < 0.45


@settings(max_examples=60, deadline=None)
@given(durations, st.floats(0.2, 20.0))
def test_pieces_of_long_recordings_cover_them_without_overlap(seconds, crop_s):
    batches = Batches(unread(*seconds), 4, crop_s)
    for cut in {piece.cut.id: piece.cut for piece in batches.pieces}.values():
        pieces = sorted((piece.start, piece.samples) for piece in batches.pieces if piece.cut is cut)
        assert pieces[0][0] == 0 and sum(pieces[-1]) == cut_samples(cut)
        assert all(start + samples == after for (start, samples), (after, _) in pairwise(pieces))
        assert len(pieces) == 1 or min(samples for _, samples in pieces) >= batches.crop_samples


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_recording_occurs_once_per_epoch_with_its_own_samples(corpus, workers):
    batches = Batches(corpus.cuts, batch=4, crop_s=2.0, seed=3, workers=workers)
    stream = take_epochs(batches, 2)
    assert [batch.index for batch in stream] == list(range(len(stream)))
    whole = {cut.id: torch.from_numpy(read_cut(cut)) for cut in corpus.cuts}
    for epoch in (0, 1):
        ids = [name for batch in stream if batch.epoch == epoch for name in batch.ids]
        assert sorted(ids) == sorted(whole)
    for batch in stream:
        assert batch.waves.dtype == torch.float32 and len(batch.waves) == len(batch.ids) == batch.planned
        assert batch.audio_s == batch.waves.numel() / 16_000
        for row, name in zip(batch.waves, batch.ids, strict=True):
            start = int((whole[name].unfold(0, 200, 1) - row[:200]).abs().amax(1).argmin())
            tolerance = 1e-2 if name.endswith("opus") else 1e-5
            torch.testing.assert_close(whole[name][start : start + len(row)], row, atol=tolerance, rtol=0)


def test_orders_crops_and_company_change_from_epoch_to_epoch_and_with_the_seed(corpus):
    batches = Batches(corpus.cuts, 4, 0.5)
    number = epoch_length(batches)
    first, second = take(batches, number), take(batches, number, number)
    assert {tuple(batch.ids) for batch in first} != {tuple(batch.ids) for batch in second}
    rows = [
        {name: row for batch in epoch for name, row in zip(batch.ids, batch.waves, strict=True)}
        for epoch in (first, second)
    ]
    assert sum(rows[0][name].equal(rows[1][name]) for name in rows[0]) < len(rows[0]) / 2
    other = take(Batches(corpus.cuts, 4, 0.5, seed=1), number)
    assert [batch.ids for batch in other] != [batch.ids for batch in first]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 25))
def test_starting_at_a_batch_equals_going_on(corpus, at):
    going_on = take(Batches(corpus.cuts, 4, 1.0, batch_s=3.0, seed=5), at + 3)[at:]
    shuffled = sorted(corpus.cuts, key=lambda cut: cut.id[::-1])
    resumed = take(Batches(shuffled, 4, 1.0, batch_s=3.0, seed=5, workers=0), 3, at)
    assert all(same(one, two) for one, two in zip(going_on, resumed, strict=True))


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_shares_of_all_processes_are_the_batch_of_one(corpus, world):
    batches = Batches(corpus.cuts, 4, 1.0, seed=2)
    number = epoch_length(batches) + 2
    shares = [take(batches, number, 0, rank, world) for rank in range(world)]
    for index, whole in enumerate(take(batches, number)):
        parts = [share[index] for share in shares]
        assert {part.planned for part in parts} == {whole.planned} == {len(whole.ids)}
        for rank, part in enumerate(parts):
            assert part.ids == whole.ids[rank::world]
            assert torch.equal(part.waves, whole.waves[rank::world])
            assert part.waves.shape[1] == whole.waves.shape[1]
        assert sum(part.audio_s for part in parts) == pytest.approx(whole.audio_s)


def test_a_file_that_turns_out_unreadable_makes_its_batch_smaller(tmp_path, caplog):
    for index in range(6):
        write(tmp_path / f"{index}.wav", 1.0, seed=index)
    samples = voice(1.0)
    samples[8_000] = np.nan
    soundfile.write(tmp_path / "3.wav", samples, 16_000, subtype="FLOAT")
    corpus = open_corpus(tmp_path)
    (tmp_path / "5.wav").unlink()
    batches = Batches(corpus.cuts, 6, 1.0)
    first, second = take(batches, 2)
    assert sorted(first.ids) == sorted(second.ids) == ["0.wav", "1.wav", "2.wav", "4.wav"]
    assert first.planned == 6 and first.waves.shape == (4, 15_760)
    assert sorted((item.path[-5:], item.reason) for item in batches.skipped) == [
        ("3.wav", "holds NaN or infinite samples"),
        ("5.wav", "no such file"),
    ]
    assert len([record for record in caplog.records if "skipped" in record.message]) == 2


def test_no_readable_file_in_several_batches_is_an_error(tmp_path):
    for index in range(8):
        write(tmp_path / f"{index}.wav", 1.0)
    corpus = open_corpus(tmp_path)
    for index in range(8):
        (tmp_path / f"{index}.wav").write_bytes(b"gone")
    batches = Batches(corpus.cuts, 2, 1.0)
    stream = batches.start()
    first = next(stream)
    assert first.waves.shape == (0, 15_760) and first.ids == []
    with pytest.raises(SpeechpressError, match=r"no file of 3 batches in a row can be read: .*\.wav: not readable"):
        list(islice(stream, 10))
    assert not audio_threads()


def audio_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("audio")]


def test_threads_end_with_the_loop_that_uses_them(corpus):
    batches = Batches(corpus.cuts, 4, 1.0)
    with pytest.raises(KeyboardInterrupt):
        interrupted(batches)
    assert not audio_threads()
    stream = batches.start()
    next(stream)
    assert audio_threads()
    stream.close()
    assert not audio_threads()


def interrupted(batches):
    for batch in batches.start():
        if batch.index == 2:
            raise KeyboardInterrupt


def test_limits_that_cannot_be_met():
    for arguments in (
        {"batch": 0, "crop_s": 1.0},
        {"batch": 1, "crop_s": 0.01},
        {"batch": 1, "crop_s": 1, "batch_s": 0.05},
    ):
        with pytest.raises(SpeechpressError, match="cannot be made"):
            Batches(unread(1.0), **arguments)
    with pytest.raises(SpeechpressError, match="no audio to train on"):
        Batches([], 4, 1.0)
    for arguments in ((-1,), (0, 2, 2), (0, -1, 2)):
        with pytest.raises(ValueError, match="rank"):
            Batches(unread(1.0), 1, 1.0).start(*arguments)


def test_little_audio_is_lost_to_equal_lengths():
    lengths = np.random.default_rng(0).gamma(4, 1.2, 3000).clip(0.5, 20)
    batches = Batches(unread(*lengths), 24, 15.625)
    assert lost_share(batches) < 0.025
    assert len(batches._plan(0)) < 3000 / 24 * 1.05


def test_the_length_of_the_papers_crop_is_kept_whole():
    assert whole_frames(250_000) == 250_000
    config = EncoderConfig()
    for samples in (1_600, 1_679, 1_680, 1_681, 16_000):
        kept = whole_frames(samples)
        assert config.frames(kept) == config.frames(samples) and config.frames(kept - 1) == config.frames(samples) - 1


def test_fixed_crops_are_the_same_in_every_epoch_and_company_is_not(corpus):
    batches = Batches(corpus.cuts, batch=3, crop_s=1.0, seed=1, workers=0, fixed_crops=True)
    seen, company = {}, {}
    for batch in takewhile(lambda batch: batch.epoch < 3, take(batches, 60)):
        for name, wave in zip(batch.ids, batch.waves, strict=True):
            seen.setdefault(name, []).append(wave)
            company.setdefault(name, set()).add(tuple(sorted(batch.ids)))
    assert len(seen) == len(batches.pieces)
    for waves in seen.values():
        assert len(waves) == 3 and all(torch.equal(wave, waves[0]) for wave in waves)
    assert max(map(len, company.values())) == 3
    # Another number of rows, another order, other processes: the same crops.
    other = Batches(list(corpus.cuts)[::-1], batch=7, crop_s=1.0, seed=1, workers=2, fixed_crops=True)
    for batch in take(other, 3, 0, 1, 2):
        assert all(torch.equal(wave, seen[name][0]) for name, wave in zip(batch.ids, batch.waves, strict=True))
    moved = Batches(corpus.cuts, batch=3, crop_s=1.0, seed=2, workers=0, fixed_crops=True)
    assert any(
        not torch.equal(wave, seen[n][0]) for b in take(moved, 5) for n, wave in zip(b.ids, b.waves, strict=True)
    )


@given(st.lists(st.floats(0.1, 30), min_size=1, max_size=200), st.floats(0.5, 20))
@settings(max_examples=50, deadline=None)
def test_fixed_crops_lose_a_step_at_most_and_only_equals_meet(seconds, crop_s):
    batches = Batches(unread(*seconds), batch=8, crop_s=crop_s, workers=0, fixed_crops=True)
    plan = batches._plan_epoch(0)
    assert sorted(row for part in plan for row in part.rows) == list(range(len(batches.pieces)))
    for part in plan:
        assert {int(batches._lengths[row]) for row in part.rows} == {part.samples}
        for row in part.rows:
            longest = whole_frames(min(batches.pieces[row].samples, batches.crop_samples))
            # At most 8 %, and the frame that rounding takes.
            assert part.samples <= longest and longest / 1.08 - part.samples < 2 * 320


def test_lengths_of_fixed_crops_are_whole_frames_in_steps_from_the_longest():
    lengths = rounded_down(np.array([16_000, 15_900, 15_700, 400]))
    # 49 frames, the same, 49 / 1.08 = 45 frames, one frame.
    assert lengths.tolist() == [15_760, 15_760, 14_480, 400]
    assert all(whole_frames(int(length)) == length for length in lengths)
