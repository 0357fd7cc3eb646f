"""Every kind of task on features in which the answer can be read: it is found, and counted as it should be."""

import numpy as np
import pytest
import torch
from known import HOP, SPLITS, item, one_hot, store_of, texts

from speechpress.compressor.evaluate.experts import HEADS, CoarseFrames, trials
from speechpress.compressor.evaluate.heads import Budget
from speechpress.compressor.evaluate.solve import evaluated, solve
from speechpress.compressor.tasks.task import Task

QUICK = Budget(steps=120, batch=8, lrs=(3e-2,), seeds=1)


def solved(kind, frames, tmp_path, budget=QUICK):
    task = Task("x", kind, tuple(frames))
    return solve(task, store_of(tmp_path, frames), HOP, budget)


def said(tokens, hold=4):
    """Frames of letters, each held for a while with silence after it."""
    return one_hot([n for token in tokens for n in ["abc".index(token)] * hold + [-1] * 3], seed=len(tokens))


def transcripts(make, count=24):
    return {
        item(f"{split}{n}", split, text): said(text) for split in SPLITS for n, text in enumerate(make(split, count))
    }


def test_coarse_frames_are_means_over_the_grid_and_kept():
    asked = []

    def one(number):
        asked.append(number)
        return torch.arange(7.0)[:, None, None].expand(7, 2, 3) + number

    frames = CoarseFrames(one, 320, 960)
    assert frames.one(10)[:, 0, 0].tolist() == [11.0, 14.0, 16.0] and frames.one(10).shape == (3, 2, 3)
    assert asked == [10]
    assert torch.equal(CoarseFrames(one, 960, 960).one(0), one(0))


def test_phones_are_recognised(tmp_path):
    frames = transcripts(lambda split, count: texts(count, seed=SPLITS.index(split)))
    score = solved("ctc", frames, tmp_path)
    assert score.test < 0.2 and score.ci95[0] <= score.test <= score.ci95[1] and score.also == {}


def test_counts_stand_in_the_order_of_the_split_in_which_models_are_paired(tmp_path):
    """Clips of different length go through the head in another order."""
    lengths = (5, 2, 4, 3, 6, 1)
    frames = {
        item(f"{split}{n}", split, ("a",) * count): one_hot([0, 1] * count)
        for split in SPLITS
        for n, count in enumerate(lengths)
    }
    work = HEADS["ctc"](Task("x", "ctc", tuple(frames)), store_of(tmp_path, frames), HOP)
    head = work.head()
    with torch.inference_mode():
        assert [row[1] for row in work.counts(head, "test")] == sorted(lengths)
        assert [row[1] for row in evaluated(work, head, "test")] == list(lengths)


def test_words_are_counted_between_spaces_and_letters_beside_them(tmp_path):
    frames = {
        item(f"{split}{n}", split, ("a", " ", "b")): one_hot([0] * 4 + [-1] * 2 + [2] * 4 + [-1] * 2 + [1] * 4)
        for split in SPLITS
        for n in range(8)
    }
    score = solved("words", frames, tmp_path)
    assert score.test == 0 and score.also == {"CER": 0.0}


def test_spelled_slots_are_counted_by_kind_and_value(tmp_path):
    text = ("a", "B-x", "b", "E-x")
    frames = {
        item(f"{split}{n}", split, text): one_hot([0] * 3 + [3] * 3 + [1] * 3 + [4] * 3)
        for split in SPLITS
        for n in range(8)
    }
    score = solved("spell", frames, tmp_path)
    assert score.test == 1 and score.also == {"CER": 0.0}
    work = HEADS["spell"](Task("x", "spell", tuple(frames)), store_of(tmp_path, frames), HOP)
    assert work.compare(text, ["B-x", "a", "E-x"]) == (1.0, 1, 1)  # the right kind, a wrong letter


def test_slots_have_values_or_none(tmp_path):
    draw = np.random.default_rng(0)
    frames = {}
    for split in SPLITS:
        for n in range(30):
            drink, size = int(draw.integers(2)), int(draw.integers(3))
            slots = [("drink", "tea" if drink else "milk"), *([("size", "large")] if size == 1 else [])]
            frames[item(f"{split}{n}", split, tuple(slots))] = one_hot(
                [-1] * 6 + [drink] * 4 + [-1] * 6 + [2 + size] * 4
            )
    score = solved("slots", frames, tmp_path)
    assert score.test > 0.95 and score.also["CER"] < 0.1


def test_voices_are_told_apart_also_those_never_heard(tmp_path):
    frames = {}
    generator = torch.Generator().manual_seed(0)
    voices = torch.randn(34, 6, generator=generator)
    for n, voice in enumerate(voices):
        split = "train" if n < 30 else "test"
        for take in range(5):
            own = "val" if split == "train" and take > 2 else split
            rows = voice + 0.1 * torch.randn(12, 6, generator=generator)
            frames[item(f"{n}-{take}", own, f"v{n}", f"v{n}")] = rows[:, None]
    score = solved("verify", frames, tmp_path)
    assert score.test < 0.25


def test_trials_of_the_corpus_take_the_place_of_drawn_ones(tmp_path):
    frames = {
        item(f"{s}{n}", s, f"v{n % 2}", f"v{n % 2}"): one_hot([n % 2] * 8, seed=n) for s in SPLITS for n in range(4)
    }
    right = Task("x", "verify", tuple(frames), pairs=((0, 2, True), (0, 1, False)))
    wrong = Task("x", "verify", tuple(frames), pairs=((0, 1, True), (0, 2, False)))
    store = store_of(tmp_path, frames)
    assert [solve(task, store, HOP, QUICK).test for task in (right, wrong)] == [0.0, 1.0]


def test_who_speaks_is_decided_every_100_ms(tmp_path):
    draw = np.random.default_rng(1)
    frames = {}
    for split in SPLITS:
        for n in range(16):
            active = draw.random((12, 2)) < 0.5
            rows = torch.from_numpy(np.repeat(active, 5, 0).astype(np.float32))  # five frames of 20 ms each
            noise = 0.05 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(n))
            frames[item(f"{split}{n}", split, active, f"{n}+x")] = (rows + noise)[:, None]
    assert solved("diarize", frames, tmp_path).test < 0.1


def test_other_frame_rates_meet_the_same_grid(tmp_path):
    active = np.array([[True, False], [False, True], [True, True]])
    frames = {item(f"{s}{n}", s, active, "a+b"): torch.zeros(24, 1, 2) for s in SPLITS for n in range(2)}
    work = HEADS["diarize"](Task("x", "diarize", tuple(frames)), store_of(tmp_path, frames), 200)
    x, lengths, wanted = work.batch([0, 1])
    assert x.shape == (2, 3, 1, 2) and lengths.tolist() == [3, 3] and np.array_equal(wanted[0], active)


def test_trials_are_of_both_kinds_and_the_same_every_time():
    items = [item(f"{n}", "test", f"v{n % 5}") for n in range(30)]
    found = trials(items)
    assert found == trials(items) and len(found) == 5 * 15 + (30 * 29 // 2 - 5 * 15)
    assert all((items[a].target == items[b].target) is same for a, b, same in found)
    assert {same for *_, same in trials(items[:7])} == {True, False}


@pytest.mark.parametrize("kind", ["ctc", "slots", "verify", "diarize"])
def test_batches_hold_every_clip_of_a_split_once(kind, tmp_path):
    target = {"ctc": ("a",), "slots": (("s", "v"),), "verify": "v", "diarize": np.ones((4, 2), bool)}[kind]
    frames = {item(f"{s}{n}", s, target): one_hot([0] * (5 + n)) for s in SPLITS for n in range(3)}
    work = HEADS[kind](Task("x", kind, tuple(frames)), store_of(tmp_path, frames), HOP)
    numbers = [number for batch in work.batches("test") for number in batch]
    assert sorted(numbers) == [6, 7, 8] and [work.length(number) for number in numbers] == [5, 6, 7]
