"""Features as colours: their first three principal components, learned from the first seconds of the stream.

Shapes: n frames, D width.
"""

import numpy as np

# Half a second to 16 s; then the colours stay what they are.
FIT_AT_FRAMES = (25, 50, 100, 200, 400, 800)
# What is loud counts more, or the axes would tell silence from speech and little else.
SILENT_DB, QUIET_DB, LOUD_DB = -70.0, -60.0, -20.0
SPREAD = 2.2  # standard deviations from the middle of a colour axis to its end
LIGHTNESS, CHROMA = (0.40, 0.86), 0.17  # of OKLab, all of it inside what screens show or nearly so
# OKLab's own matrices, from Ottosson's page (see the class): to cube roots of LMS, and to linear sRGB.
_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.707614701],
    ]
)


class Colours:
    """One stream's colours: similar frames look alike, and a colour keeps its meaning.

    The axes are refitted a few times while little was heard, each new axis keeping the place and the sign of the old
    one that it resembles; after 16 s nothing changes any more. The first axis is lightness (its sign such that
    louder is lighter), the others are green to red and blue to yellow. Colours are made in OKLab, where equal distances
    look equal (Ottosson 2020, bottosson.github.io/posts/oklab).
    """

    def __init__(self, width: int) -> None:
        self._count, self._sum, self._squares = 0, np.zeros(width), np.zeros((width, width))
        self._with_level, self._levels, self._weight = np.zeros(width), 0.0, 0.0
        self._axes: np.ndarray | None = None  # (3, D)
        self._middle, self._scale = np.zeros(3), np.ones(3)

    def of(self, frames: np.ndarray, level_db: np.ndarray) -> np.ndarray:
        """Frames (n, D) and their levels (n,) -> colours (n, 3) uint8, red, green, blue."""
        if self._count < FIT_AT_FRAMES[-1]:
            self._learn(frames.astype(np.float64), level_db)
        if self._axes is None:
            # Grey until half a second was heard: axes of a few frames would mean nothing.
            return np.full((len(frames), 3), 90, np.uint8)
        places = np.clip((frames @ self._axes.T - self._middle) * self._scale, -1, 1)
        # Silence is unlike all speech, so it would have the brightest colour of all.
        heard = np.clip((level_db - SILENT_DB) / (QUIET_DB + 15 - SILENT_DB), 0, 1)[:, None]
        return to_rgb(places * heard - np.array([0.7, 0, 0]) * (1 - heard))

    def _learn(self, frames: np.ndarray, level_db: np.ndarray) -> None:
        before = self._count
        # Only sums are kept, so that 16 s cost no more memory than one frame's covariance.
        self._count += len(frames)
        # 0.05 and not 0: of a stream that is all quiet, the sums must still be divided by something.
        weights = np.clip((level_db - QUIET_DB) / (LOUD_DB - QUIET_DB), 0.05, 1.0)
        self._weight += float(weights.sum())
        self._sum += weights @ frames
        self._squares += (frames * weights[:, None]).T @ frames
        self._with_level += (weights * level_db) @ frames
        self._levels += float(weights @ level_db)
        if any(before < limit <= self._count for limit in FIT_AT_FRAMES):
            self._fit()

    def _fit(self) -> None:
        mean = self._sum / self._weight
        variances, vectors = np.linalg.eigh(self._squares / self._weight - np.outer(mean, mean))
        axes = vectors[:, ::-1][:, :3].T
        # Rounding makes variances of 0 slightly negative.
        spread = np.sqrt(np.maximum(variances[::-1][:3], 1e-12))
        if self._axes is None:
            louder = self._with_level / self._weight - mean * self._levels / self._weight
            signs = np.sign(axes[np.arange(3), np.abs(axes).argmax(1)])
            # eigh leaves signs open; louder must be lighter. sign(0) is 0, which would erase the axis.
            signs[0] = np.sign(axes[0] @ louder) or 1.0
        else:
            order, signs = _alike(axes, self._axes)
            axes, spread = axes[order], spread[order]
        self._axes = axes * signs[:, None]
        self._middle, self._scale = self._axes @ mean, 1 / (SPREAD * spread)


def _alike(axes: np.ndarray, old: np.ndarray) -> tuple[list[int], np.ndarray]:
    """For each old axis (3, D) the new one that is most like it, each taken once, and its sign."""
    likeness, order = old @ axes.T, [0, 0, 0]
    rest = np.abs(likeness)
    for _ in range(3):
        place, new = np.unravel_index(rest.argmax(), rest.shape)
        order[int(place)] = int(new)
        # Below any likeness, so that neither of the two is taken again.
        rest[place], rest[:, new] = -1, -1
    return order, np.array([np.sign(likeness[place, new]) or 1.0 for place, new in enumerate(order)])


def to_rgb(places: np.ndarray) -> np.ndarray:
    """Places (n, 3) within -1..1 -> sRGB (n, 3) uint8; the first is lightness, the others are OKLab's a and b."""
    low, high = LIGHTNESS
    lab = np.stack([low + (high - low) * (places[:, 0] + 1) / 2, CHROMA * places[:, 1], CHROMA * places[:, 2]], axis=1)
    # Clipped, because corners of the OKLab box lie outside what a screen can show.
    linear = np.clip((lab @ _TO_LMS.T) ** 3 @ _TO_RGB.T, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * curved).astype(np.uint8)
