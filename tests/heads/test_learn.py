"""Heads in training, and what is put together of them afterwards; how well a finished head answers."""

import numpy as np
import pytest
import torch
from tiny_heads import heard, tiny_head, whole

from speechpress.compressor.data.sounds import clip, identity
from speechpress.compressor.evaluate.heads import Budget, LinearTokens, Voice
from speechpress.compressor.evaluate.probes import Probe
from speechpress.compressor.evaluate.solve import solve_classes, solve_trained
from speechpress.compressor.heads.judge import counted, equal_error_threshold, judged
from speechpress.compressor.heads.learn import LEARNERS, Shape, Training, made
from speechpress.compressor.tasks.kinds import Item
from speechpress.compressor.tasks.task import Task

HOP, LAYERS, WIDTH = 320, 2, 8
QUICK = Budget(steps=60, batch=8, lrs=(3e-2,), seeds=1)


class Store:
    """Frames of clips by identity, (T, L, D), normalised as the suite's are."""

    def __init__(self, frames):
        self.kept = {name: torch.nn.functional.layer_norm(one, one.shape[-1:]) for name, one in frames.items()}

    def frames(self, name):
        return self.kept[name].numpy()

    def means(self, names):
        return torch.stack([self.kept[name].mean(0) for name in names])


DIRECTIONS = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(3)) * 3


def frames_of(numbers, seed):
    """Frames that say one of six things each, in noise; layer 1 is louder noise."""
    draw = torch.Generator().manual_seed(seed)
    clean = DIRECTIONS[torch.as_tensor(numbers)]
    noise = torch.randn(len(numbers), LAYERS, WIDTH, generator=draw)
    return clean[:, None] + noise * torch.tensor([0.3, 1.5])[:, None]


def build(kind, answer, clips=(24, 8, 12)):
    """A task of clips with known frames: `answer(draw)` gives (what each frame says, the target)."""
    draw, items, frames = np.random.default_rng(0), [], {}
    for split, count in zip(("train", "val", "test"), clips, strict=True):
        for number in range(count):
            says, target = answer(draw)
            item = Item(clip(f"/nowhere/{split}-{number}.wav"), split, target)
            items.append(item)
            frames[identity(item.sound)] = frames_of(says, len(frames))
    return Task("x", kind, tuple(items)), Store(frames)


def classes(draw):
    number = int(draw.integers(3))
    return [number] * 12, "abc"[number]


def tokens(draw):
    said = draw.integers(1, 4, size=3).tolist()
    return [n for one in said for n in [0, 0, one, one, 0]], tuple("abc"[n - 1] for n in said)


def speech(draw):
    active = np.repeat(draw.integers(2, size=6), 4).astype(bool)
    active[:4], active[-4:] = True, False
    return active.astype(int).tolist(), np.repeat(active, HOP // 160)


def speakers(draw):
    number = int(draw.integers(5))
    return [number] * 10, f"s{number}"


def two(draw):
    bins = np.array([[True, False], [True, True], [False, True], [False, False]])[draw.integers(4, size=5)]
    return np.repeat(bins @ [1, 2], 5).tolist(), bins


CASES = {
    "classify": classes,
    "ctc": tokens,
    "words": tokens,
    "speech": speech,
    "verify": speakers,
    "match": speakers,
    "diarize": two,
}


@pytest.mark.parametrize("kind", CASES)
def test_every_kind_learns_and_the_finished_head_answers_as_well_as_it_did_in_training(kind):
    task, store = build(kind, CASES[kind])
    head_kind, learner = LEARNERS[kind]
    found = []
    if learner is None:
        score = solve_classes(task, store, QUICK, found.append)
        head, labels = made(head_kind, found[0], classes=3), task.classes
    else:
        teaching = learner(task, store, HOP, Shape(kernel=3, hidden=16))
        score = solve_trained(teaching, QUICK, keep=found.append)
        from speechpress.compressor.heads.kinds import KINDS

        head = made(head_kind, found[0], **KINDS[head_kind].arguments_of(teaching.head().head))
        labels = ("", *getattr(teaching, "tokens", ()))
    again, threshold = judged(head, labels, task, store, HOP)
    assert again.test == pytest.approx(score.test, abs=0.02)
    assert (again.test > 0.9) if kind == "classify" else (again.test < 0.25)
    assert head.sum.weights[0] > head.sum.weights[1]  # the layer of less noise
    assert (threshold is not None) == (kind in ("speech", "verify", "diarize"))


@pytest.mark.parametrize("kind", ["ctc", "speaker", "vad", "segment"])
def test_a_head_in_training_gives_what_the_finished_one_gives(kind):
    head = tiny_head(kind, -1)
    training, layers = Training(head), heard(9)
    with torch.no_grad():
        training.mix.logits.copy_(torch.randn(head.layers))
    scale, shift = head.sum.scale.clone(), head.sum.shift.clone()
    normal = torch.nn.functional.layer_norm(layers, layers.shape[-1:])
    wanted = training.outputs(normal * scale + shift, torch.tensor([9]))
    from speechpress.compressor.heads.kinds import KINDS

    tensors = {**training.state_dict(), "scale": scale, "shift": shift}
    finished = made(kind, tensors, **KINDS[kind].arguments_of(head))
    for one, other in zip(whole(finished, layers), wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_heads_of_the_suite_become_heads_of_a_stream():
    torch.manual_seed(0)
    layers = heard(7, layers=LAYERS, width=WIDTH)
    scale, shift = torch.rand(LAYERS, WIDTH) + 0.5, torch.randn(LAYERS, WIDTH)
    scaled = torch.nn.functional.layer_norm(layers, (WIDTH,)) * scale + shift
    own = {"scale": scale, "shift": shift}
    probe, linear, voice = Probe(LAYERS, WIDTH, 3), LinearTokens(LAYERS, WIDTH, 4), Voice(LAYERS, WIDTH, 5)
    for module in (probe, linear, voice):
        for value in module.parameters():
            value.data.add_(torch.randn_like(value) * 0.2)
    head = made("classify", {**probe.state_dict(), **own}, classes=3)
    torch.testing.assert_close(whole(head, layers)[0].mean(1), probe(scaled.mean(1)))
    head = made("ctc", {**linear.state_dict(), **own}, tokens=4, kernel=1, hidden=0)
    wanted = linear(scaled, torch.tensor([7]))[0]
    torch.testing.assert_close(whole(head, layers)[0].log_softmax(-1), wanted)
    head = made("speaker", {**voice.state_dict(), **own}, hidden=192, embedding=96)
    torch.testing.assert_close(whole(head, layers)[0][:, 0], voice(scaled, torch.tensor([7]))[0])


def test_a_head_of_other_numbers_is_not_put_together():
    with pytest.raises((KeyError, RuntimeError)):
        made("vad", {"mix.logits": torch.zeros(2), "scale": torch.ones(2, 8), "shift": torch.zeros(2, 8)}, kernel=3)


def test_the_threshold_lies_where_misses_and_false_alarms_are_equal():
    trials = np.array([(0.9, 1), (0.8, 1), (0.4, 1), (0.7, 0), (0.2, 0), (0.1, 0)])
    # At 0.7: one miss of three, one false alarm of three.
    assert equal_error_threshold(trials) == 0.7


def test_letters_are_counted_as_words_too():
    task, store = build("words", tokens)
    head = tiny_head("ctc", 0, layers=LAYERS, width=WIDTH)
    counts = counted(head, ("", "a", "b", "c", " "), task, store, HOP, "test")
    assert counts.shape == (12, 4) and set(counts[:, 3]) == {3.0}
