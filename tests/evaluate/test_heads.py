"""The heads and the loop that trains them: shapes, padding, losses by hand, and that they learn what can be learned."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from speechpress.compressor.evaluate.heads import (
    Activity,
    BothWays,
    Budget,
    Frames,
    LinearTokens,
    Mix,
    RecurrentTokens,
    SlotValues,
    Voice,
    ctc_loss,
    greedy,
    inside,
    margin_loss,
    padded_frames,
    permutation_free_loss,
    train,
)

L, D = 3, 5


def clips(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, L, D, generator=generator) for length in lengths]


HEADS = [
    (LinearTokens, (7,), lambda out: out[0]),
    (RecurrentTokens, (7,), lambda out: out[0]),
    (Activity, (), lambda out: out),
    (Voice, (4,), lambda out: out[0]),
    (SlotValues, ([3, 2],), lambda out: torch.cat(out, 1)),
]


@pytest.mark.parametrize(("kind", "sizes", "values"), HEADS, ids=lambda value: getattr(value, "__name__", ""))
def test_padding_is_not_heard(kind, sizes, values):
    torch.manual_seed(0)
    head = kind(L, D, *sizes).eval()
    short, long = clips(6, 11)
    padded = torch.nn.utils.rnn.pad_sequence([short, long], batch_first=True)
    together = values(head(padded, torch.tensor([6, 11])))[0]
    alone = values(head(short[None], torch.tensor([6])))[0]
    assert torch.allclose(together[: len(alone)], alone, atol=1e-5)


def test_both_ways_is_a_bidirectional_lstm_on_packed_rows():
    torch.manual_seed(0)
    ours, packed = BothWays(D, 4), torch.nn.LSTM(D, 4, batch_first=True, bidirectional=True)
    for name, parameter in packed.named_parameters():
        side = ours.backwards if name.endswith("_reverse") else ours.forwards
        parameter.data.copy_(getattr(side, name.removesuffix("_reverse")))
    x, lengths = torch.randn(3, 9, D), torch.tensor([4, 9, 1])
    rows = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    wanted, _ = torch.nn.utils.rnn.pad_packed_sequence(packed(rows)[0], batch_first=True)
    mask = inside(lengths, 9)[..., None]
    assert torch.allclose(ours(x, lengths) * mask, wanted, atol=1e-6)


@pytest.mark.parametrize("kind", [LinearTokens, RecurrentTokens])
def test_transcribers_start_from_silence(kind):
    torch.manual_seed(0)
    scores, lengths = kind(L, D, 30)(torch.randn(2, 20, L, D), torch.tensor([20, 12]))
    assert greedy(scores, lengths) == [[], []]


def test_a_mix_is_the_weighted_sum_and_starts_even():
    mix = Mix(L)
    x = torch.randn(2, 4, L, D)
    assert torch.allclose(mix(x), x.mean(2), atol=1e-6)
    with torch.no_grad():
        mix.logits[1] = 50.0
    assert torch.allclose(mix(x), x[:, :, 1], atol=1e-6)


def test_frames_are_scaled_as_the_training_clips_are():
    rows = [clip * 7 + 3 for clip in clips(40, 60, 50)]
    frames = Frames(lambda number: rows[number], range(2))
    assert (frames.layers, frames.width) == (L, D)
    x, lengths = frames.batch([0, 1])
    assert lengths.tolist() == [40, 60] and x.shape == (2, 60, L, D)
    heard = torch.cat([x[0, :40], x[1]])
    assert torch.allclose(heard.mean(0), torch.zeros(L, D), atol=1e-5)
    assert torch.allclose(heard.std(0, correction=0), torch.ones(L, D), atol=1e-4)


def test_padded_frames_are_the_rows_and_zeros_with_each_layer_in_one_piece():
    rows = clips(4, 9)
    x, lengths = padded_frames(rows)
    assert torch.equal(x, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)) and lengths.tolist() == [4, 9]
    assert all(x[:, :, layer].is_contiguous() for layer in range(L))


def test_stacked_frames_of_letters_last_as_long_whatever_the_frame_rate():
    scores, lengths = RecurrentTokens(L, D, 7, stack=4)(torch.randn(2, 10, L, D), torch.tensor([10, 3]))
    assert scores.shape == (2, 3, 7) and lengths.tolist() == [3, 1]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 12))
def test_greedy_reading_is_merging_and_dropping_blanks(path, length):
    scores = F.one_hot(torch.tensor(path), 4).float()[None]
    expected, last = [], None
    for token in path[:length]:
        if token != last and token != 0:
            expected.append(token)
        last = token
    assert greedy(scores, torch.tensor([length])) == [expected]


def test_ctc_is_the_probability_of_all_paths_by_hand():
    scores = torch.tensor([[[0.6, 0.4], [0.5, 0.5]]]).log()
    said = -math.log(0.4 * 0.5 + 0.4 * 0.5 + 0.6 * 0.5)  # a a, a -, - a
    assert float(ctc_loss(scores, torch.tensor([2]), [torch.tensor([1])])) == pytest.approx(said, rel=1e-5)
    impossible = ctc_loss(scores, torch.tensor([2]), [torch.tensor([1, 1])])
    assert float(impossible) == 0.0


def test_the_order_of_speakers_does_not_matter_to_the_loss():
    logits = torch.randn(2, 5, 2)
    wanted = (torch.rand(2, 5, 2) > 0.5).float()
    lengths = torch.tensor([5, 3])
    loss = permutation_free_loss(logits, wanted, lengths)
    assert torch.allclose(loss, permutation_free_loss(logits, wanted.flip(-1), lengths))
    assert torch.allclose(loss, permutation_free_loss(logits.flip(-1), wanted, lengths))
    right = 20 * (2 * wanted - 1)
    assert float(permutation_free_loss(right.flip(-1), wanted, lengths)) < 1e-6


def test_the_margin_asks_for_more_than_being_right():
    cosines = torch.tensor([[0.9, 0.8]])
    plain = F.cross_entropy(30 * cosines, torch.tensor([0]))
    assert margin_loss(cosines, torch.tensor([0])) > plain + 1


def test_voices_have_length_one():
    voice, cosines = Voice(L, D, 4)(torch.randn(3, 6, L, D), torch.tensor([6, 4, 6]))
    assert torch.allclose(voice.norm(dim=1), torch.ones(3), atol=1e-5) and cosines.abs().max() <= 1 + 1e-5
    assert inside(torch.tensor([1, 3]), 3).tolist() == [[True, False, False], [True, True, True]]


class Sign:
    """Whether the mean of layer 1 is positive; the other layers say nothing."""

    train_count = 24

    def __init__(self):
        self.rows = clips(*[4] * self.train_count)
        for number, row in enumerate(self.rows):
            row[:, 1] += 2.0 if number % 2 else -2.0

    def head(self):
        return Voice(L, D, 2, hidden=8, embedding=4)

    def loss(self, head, rows):
        x = torch.stack([self.rows[row] for row in rows])
        return F.cross_entropy(5 * head(x, torch.full((len(rows),), 4))[1], torch.tensor([row % 2 for row in rows]))


def test_training_learns_and_finds_the_layer_that_knows():
    work = Sign()
    head = train(work, Budget(steps=60, batch=8), 1e-2, seed=0)
    assert not head.training
    with torch.no_grad():
        assert work.loss(head, list(range(24))) < 0.3
    assert head.mix.weights.argmax() == 1


def test_training_is_reproducible_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    one, other, third = (train(Sign(), Budget(steps=5, batch=4), 1e-2, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(one.embed.weight, third.embed.weight)


def test_training_can_be_ended_from_outside():
    steps = []

    def breathe():
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Sign(), Budget(steps=50, batch=4), 1e-2, seed=0, breathe=breathe)
    assert len(steps) == 3
