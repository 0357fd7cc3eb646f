import numpy as np
import pytest
import torch
from torch.nn import functional as F

from speechpress.compressor.heads.kinds import KINDS
from speechpress.compressor.heads.words import SubCentreLoss, WordsHead, pair_loss, pooled
from speechpress.runtime.answers.words import PARTS, vector_of


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(0)
    return WordsHead(layers=3, width=16, embedding=5, hidden=12, kernel=4).eval()


@torch.no_grad()
def heard(head, layers, exists, sizes):
    """The outputs, chunk by chunk."""
    state, parts, at = head.initial_state(len(layers)), [], 0
    for size in sizes:
        (out,), state = head(layers[:, at : at + size], exists[:, at : at + size], state)
        parts.append(out)
        at += size
    return torch.cat(parts, 1)


@pytest.mark.parametrize("sizes", [[1] * 24, [4] * 6, [2, 7, 15]])
def test_chunks_give_what_the_whole_recording_gives(head, sizes):
    layers, exists = torch.randn(2, 24, 3, 16), torch.ones(2, 24, dtype=torch.bool)
    whole = heard(head, layers, exists, [24])
    assert whole.shape == (2, 24, 6)
    torch.testing.assert_close(heard(head, layers, exists, sizes), whole)


def test_frames_before_the_stream_say_nothing_to_later_ones(head):
    """A stream begins with frames for which there is no audio; offline there are none."""
    layers = torch.randn(1, 20, 3, 16)
    exists = torch.arange(20)[None] >= 3
    streamed = heard(head, layers, exists, [4] * 5)[:, 3:]
    torch.testing.assert_close(streamed, heard(head, layers[:, 3:], exists[:, 3:], [17]))


def test_a_frame_hears_only_itself_and_the_ones_before(head):
    layers, exists = torch.randn(1, 20, 3, 16), torch.ones(1, 20, dtype=torch.bool)
    other = layers.clone()
    other[:, 10:] += 1
    torch.testing.assert_close(heard(head, layers, exists, [20])[:, :10], heard(head, other, exists, [20])[:, :10])


def test_another_head_of_its_arguments_takes_its_weights(head):
    arguments = KINDS["words"].arguments_of(head)
    KINDS["words"].make(3, 16, **arguments).load_state_dict(head.state_dict())
    assert arguments == {"embedding": 5, "hidden": 12, "kernel": 4} and head.widths == (6,)


def test_vectors_in_training_are_those_on_a_device():
    outputs = torch.randn(2, 40, 6) * 3
    windows = torch.tensor([[0, 3, 20], [1, 0, 40], [1, 17, 21]])
    found = pooled(outputs, *windows.unbind(1))
    wanted = [vector_of(outputs[row, start:stop].numpy()) for row, start, stop in windows.tolist()]
    np.testing.assert_allclose(found.numpy(), np.stack(wanted), atol=1e-5)


def test_pair_loss_is_its_formula():
    vectors, words = F.normalize(torch.randn(7, 4), dim=1), torch.tensor([0, 0, 1, 1, 1, 2, -1])
    parts = []
    for i in range(7):
        alike = [j for j in range(7) if j != i and words[j] == words[i] >= 0]
        below = sum(torch.exp(16 * vectors[i] @ vectors[k]) for k in range(7) if k != i)
        if alike:
            parts.append(-sum(torch.log(torch.exp(16 * vectors[i] @ vectors[j]) / below) for j in alike) / len(alike))
    torch.testing.assert_close(pair_loss(vectors, words), torch.stack(parts).mean())


def test_pair_loss_of_words_that_occur_once_is_nothing():
    assert pair_loss(torch.eye(3), torch.tensor([0, 1, -1])) == 0


def test_the_nearest_centre_counts_and_nothing_is_near_none():
    loss = SubCentreLoss(words=2, width=4, centres=2)
    with torch.no_grad():
        loss.centres.copy_(torch.eye(4).reshape(2, 2, 4))
    for row, word in ((0, 0), (1, 0), (2, 1), (3, 1)):
        near = loss(torch.eye(4)[row : row + 1], torch.tensor([word]))
        far = loss(torch.eye(4)[row : row + 1], torch.tensor([1 - word]))
        none = loss(torch.eye(4)[row : row + 1], torch.tensor([-1]))
        assert near < 0.1 < 5 < none < far
    between = F.normalize(torch.ones(1, 4), dim=1) * torch.tensor([1.0, -1, 1, -1])
    assert loss(-between.abs(), torch.tensor([-1])) < 0.1


def test_words_of_many_speakers_are_learned():
    """Two words whose frames differ in the order of two sounds only, in noise: the head learns to tell them."""
    torch.manual_seed(1)
    head, loss = WordsHead(2, 8, embedding=4, hidden=16, kernel=2), SubCentreLoss(2, PARTS * 4)
    sounds = torch.randn(2, 2, 8)
    words = torch.arange(16) % 2
    order = torch.stack([words, 1 - words], 1)

    def vectors(seed):
        layers = sounds[order].repeat_interleave(9, 1)
        layers = layers + 0.7 * torch.randn(layers.shape, generator=torch.Generator().manual_seed(seed))
        (out,), _ = head(layers, torch.ones(16, 18, dtype=torch.bool), head.initial_state(16))
        return pooled(out, torch.arange(16), torch.zeros(16, dtype=torch.long), torch.full((16,), 18))

    optimizer = torch.optim.Adam([*head.parameters(), *loss.parameters()], lr=1e-2)
    for step in range(60):
        found = vectors(step)
        optimizer.zero_grad()
        (loss(found, words) + pair_loss(found, words)).backward()
        optimizer.step()
    with torch.no_grad():
        near = vectors(1000) @ vectors(1001).T
    same = words[:, None] == words
    assert near[same].min() > near[~same].max() + 0.3
