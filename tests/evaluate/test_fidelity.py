"""Fidelity on students and teachers whose relation is known."""

import pytest
import torch

from speechpress.compressor.distill.objectives import LayerPairs, PredictionHeads
from speechpress.compressor.evaluate.fidelity import fidelity, linear_fit
from speechpress.runtime.errors import SpeechpressError


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Encoder:
    """A frame every 320 samples, each a fixed map of its own samples; `offset` is added to the last layer."""

    def __init__(self, mapping, offset=0.0):
        self.mapping, self.offset = mapping, offset

    def frames(self, wave):
        return wave[:, : wave.shape[1] // 320 * 320].reshape(1, -1, 320) @ self.mapping + self.offset


class Student(Encoder):
    def hidden_states(self, wave):
        return [self.frames(wave)]


class Teacher(Encoder):
    def hidden_states(self, wave):
        return {0: torch.zeros(1, 1, 1), 1: self.frames(wave)}


def early(width, seed=0):
    """A map of the first half of a frame's samples, (320, D)."""
    return torch.cat([noise(160, width, seed=seed), torch.zeros(160, width)])


def late(width, seed=0):
    """A map of the second half, so that it has nothing to do with an `early` one."""
    return early(width, seed).flip(0)


def clips(count, samples=16_000):
    return [noise(1, samples, seed=k) for k in range(count)]


def test_the_linear_map_is_fitted_on_other_clips_than_it_is_measured_on():
    """As many weights as frames: on its own half a map would fit even what has nothing to do with the student."""
    student, teacher = Student(early(90)), Teacher(late(20))
    found = fidelity(student, teacher, None, clips(4))["1"]
    assert found["linear"]["r2"] < 0 and found["linear"]["cosine"] < 0.6
    same = fidelity(student, Teacher(student.mapping @ noise(90, 20, seed=3)), None, clips(8))["1"]
    assert same["linear"]["r2"] > 0.99 and same["linear"]["cosine"] > 0.99


def test_r2_is_measured_from_the_mean_of_the_target():
    """A constant explains nothing, however large it is."""
    x, test_x = noise(400, 6, seed=1), noise(300, 6, seed=2)
    offset = 100 * noise(9, seed=3)
    unrelated = linear_fit(x, noise(400, 9, seed=4) + offset, test_x, noise(300, 9, seed=5) + offset)
    assert -0.2 < unrelated["r2"] < 0.05 and unrelated["cosine"] > 0.99
    mix = noise(6, 9, seed=6)
    half = linear_fit(x, x @ mix + offset, test_x, test_x @ mix + offset + noise(300, 9, seed=7) * mix.norm(dim=0))
    assert half["r2"] == pytest.approx(0.5, abs=0.05)


def test_cka_of_unrelated_layers_is_about_zero_with_few_frames_and_any_offset():
    student, teacher = Student(early(64), offset=30.0), Teacher(late(64), offset=-50.0)
    assert abs(fidelity(student, teacher, None, clips(4))["1"]["cka"]) < 0.05
    rotated = Teacher(student.mapping @ torch.linalg.qr(noise(64, 64, seed=3)).Q * 7, offset=5.0)
    assert fidelity(student, rotated, None, clips(4))["1"]["cka"] == pytest.approx(1, abs=1e-4)


def test_hardly_any_frames_are_an_error():
    student, teacher = Student(noise(320, 8)), Teacher(noise(320, 8))
    with pytest.raises(SpeechpressError, match="the clips give 3 frames, but layers are compared on at least 4"):
        fidelity(student, teacher, None, clips(2, samples=1_000))


class Deep(Encoder):
    """A teacher of two layers, the second the double of the first, and something of another shape before them."""

    def hidden_states(self, wave):
        frames = self.frames(wave)
        return {0: torch.zeros(1, 1, 1), 1: frames, 2: 2 * frames}


def test_what_heads_predict_is_the_mean_over_all_frames_of_all_clips():
    """Also of clips of other lengths, by a loop over frames."""
    torch.manual_seed(0)
    student, teacher, heads = Student(early(12)), Deep(noise(320, 6, seed=1)), PredictionHeads([1, 2], 12, 6)
    waves = [noise(1, samples, seed=samples) for samples in (16_000, 9_000, 12_345)]
    found = fidelity(student, teacher, heads, waves)
    assert list(found) == ["1", "2"]
    for layer in (1, 2):
        guesses = torch.cat([heads(student.hidden_states(wave))[layer][0].detach() for wave in waves])
        wanted = torch.cat([teacher.hidden_states(wave)[layer][0] for wave in waves])
        pairs = list(zip(guesses, wanted, strict=True))
        cosines = [float(torch.dot(one, two) / one.norm() / two.norm()) for one, two in pairs]
        errors = [float((one - two).abs().sum()) / 6 for one, two in pairs]
        expected = {"cosine": sum(cosines) / len(pairs), "l1": sum(errors) / len(pairs)}
        assert found[str(layer)]["heads"] == pytest.approx(expected, rel=1e-4)


def test_layers_without_a_head_have_no_figures_of_one():
    """And the front end's, which a recipe may match, is no layer."""
    student, teacher = Student(early(6)), Deep(noise(320, 6, seed=1))
    heads = LayerPairs([(0, 0), (0, 1)], 6, 6)
    found = fidelity(student, teacher, heads, clips(2))
    assert set(found) == {"1", "2"} and set(found["1"]["heads"]) == {"cosine", "l1"} and found["2"]["heads"] is None
    assert [row["heads"] for row in fidelity(student, teacher, None, clips(2)).values()] == [None, None]


class Slow(Encoder):
    """A frame every 640 samples."""

    def frames(self, wave):
        return wave[:, : wave.shape[1] // 640 * 640].reshape(1, -1, 640) @ self.mapping

    def hidden_states(self, wave):
        return [torch.zeros(1, 3, 1), self.frames(wave)]


class Repeating(Slow):
    """At twice that rate, and with a frame of a half of one where the audio has it."""

    def hidden_states(self, wave):
        twice = self.frames(wave).repeat_interleave(2, 1)
        return {1: torch.cat([twice, noise(1, wave.shape[1] // 320 - twice.shape[1], twice.shape[2])], 1)}


def test_a_frame_of_a_slower_student_stands_for_those_of_its_teacher():
    mapping = noise(640, 8)
    waves = clips(4, samples=16_320)  # 25 frames and a half
    found = fidelity(Slow(mapping), Repeating(mapping @ noise(8, 8, seed=1)), None, waves, factor=2)["1"]
    assert found["linear"]["r2"] > 0.99 and found["linear"]["cosine"] > 0.99
    same = fidelity(Slow(mapping), Repeating(mapping), None, waves, factor=2)["1"]
    assert same["cka"] == pytest.approx(1, abs=1e-6)


def test_a_linear_map_is_the_ridge_regression_of_the_books():
    """Least squares with a row more for each weight; frames to fit and to test on have other means."""
    x, test_x = 3 * noise(50, 4, seed=1) + 1, noise(30, 4, seed=2) - 2
    y, test_y = noise(50, 5, seed=3) + 7, noise(30, 5, seed=4) + 6
    centred = (x - x.mean(0)).double()
    penalty = (1e-3 * centred.square().sum(0).mean()).sqrt() * torch.eye(4, dtype=torch.float64)
    wanted = torch.cat([(y - y.mean(0)).double(), torch.zeros(4, 5, dtype=torch.float64)])
    weights = torch.linalg.lstsq(torch.cat([centred, penalty]), wanted).solution
    guess = (test_x - x.mean(0)).double() @ weights + y.mean(0)
    r2 = 1 - float((guess - test_y).square().sum() / (test_y - test_y.mean(0)).square().sum())
    cosine = float((guess * test_y).sum(1).div(guess.norm(dim=1) * test_y.norm(dim=1)).mean())
    assert linear_fit(x, y, test_x, test_y) == pytest.approx({"cosine": cosine, "r2": r2}, rel=1e-4)
    assert linear_fit(100 * x, y, 100 * test_x, test_y)["r2"] == pytest.approx(r2, rel=1e-3)


def test_dead_layers_have_figures_too():
    dead = torch.zeros(20, 4)
    found = linear_fit(dead, noise(20, 3), dead, noise(20, 3, seed=1))
    assert found["r2"] == pytest.approx(0, abs=0.3)
    assert linear_fit(dead, dead, dead, dead) == {"cosine": 0.0, "r2": 1.0}


def test_one_clip_is_too_few():
    student, teacher = Student(early(6)), Teacher(late(6))
    with pytest.raises(SpeechpressError, match="at least two clips, and there are 1"):
        fidelity(student, teacher, None, clips(1))


def test_nothing_is_kept_for_gradients():
    """Of a long corpus that would be all activations of all clips."""
    seen = []

    class Watching(Student):
        def hidden_states(self, wave):
            seen.append(torch.is_grad_enabled())
            return super().hidden_states(wave)

    fidelity(Watching(early(6)), Teacher(late(6)), None, clips(2))
    assert seen == [False, False]
