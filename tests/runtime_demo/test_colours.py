import numpy as np
import pytest

from speechpress.runtime.demo.colours import Colours, to_rgb

LOUD = -25.0


def sounds(count, seed, kinds=6, width=32):
    """Frames that are noisy copies of a few sounds, and which."""
    random = np.random.default_rng(seed)
    which = np.repeat(random.integers(0, kinds, count // 5 + 1), 5)[:count]
    kinds_at = 3 * np.random.default_rng(7).standard_normal((kinds, width))
    return (kinds_at[which] + 0.3 * random.standard_normal((count, width))).astype(np.float32), which


def of(colours, frames, size=4):
    return np.concatenate([colours.of(f, np.full(len(f), LOUD)) for f in np.array_split(frames, len(frames) // size)])


def test_the_same_sound_keeps_its_colour_and_others_have_another():
    colours = Colours(32)
    of(colours, sounds(900, 1)[0])
    frames, which = sounds(400, 2)
    shown = of(colours, frames).astype(float)
    means = np.stack([shown[which == kind].mean(0) for kind in range(6)])
    within = max(shown[which == kind].std(0).max() for kind in range(6))
    between = min(np.linalg.norm(a - b) for i, a in enumerate(means) for b in means[:i])
    assert within < 25 and between > 40


def test_nothing_changes_after_the_first_seconds():
    colours = Colours(32)
    of(colours, sounds(900, 1)[0])
    frames, _ = sounds(40, 3)
    before = of(colours, frames)
    of(colours, 9 * sounds(2000, 4, kinds=3)[0])
    assert np.array_equal(of(colours, frames), before)


def test_refits_keep_the_sign_of_the_axes():
    """Colours before and after a refit are near each other for nearly all frames."""
    colours = Colours(32)
    frames, _ = sounds(60, 5)
    of(colours, sounds(380, 1)[0])
    before = of(colours, frames[:20]).astype(float)
    of(colours, sounds(600, 2)[0])
    after = of(colours, frames[:20]).astype(float)
    assert np.median(np.abs(after - before)) < 60


def test_silence_is_dark_and_louder_is_lighter():
    colours = Colours(32)
    of(colours, sounds(900, 1)[0])
    frames, _ = sounds(50, 2)
    quiet = colours.of(frames, np.full(50, -90.0))
    assert quiet.max() < 110 and np.ptp(quiet, axis=0).max() == 0


def test_before_anything_is_known_all_is_grey():
    assert (Colours(32).of(sounds(4, 1)[0], np.full(4, LOUD)) == 90).all()


@pytest.mark.parametrize("place", [(-1, 0, 0), (1, 0, 0), (0, 1, 1), (0, -1, -1)])
def test_colours_are_colours(place):
    assert to_rgb(np.array([place], float)).dtype == np.uint8


def test_grey_has_no_hue_and_lightness_rises():
    greys = to_rgb(np.array([[-1, 0, 0], [0, 0, 0], [1, 0, 0]], float)).astype(int)
    assert np.ptp(greys, axis=1).max() <= 1 and (np.diff(greys[:, 0]) > 40).all()
