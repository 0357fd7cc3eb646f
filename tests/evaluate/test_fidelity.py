"""Fidelity on students and teachers whose relation is known."""

import pytest
import torch

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
