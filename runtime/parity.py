"""How close features are to those that they should be.

Shapes: T frames, D width.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Parity = dict[str, float]


def compare(frames: "np.ndarray", wanted: "np.ndarray") -> Parity:
    """How close frames (T, D) are to the wanted ones: largest error, signal to error in dB, mean cosine of frames.

    Frames of another shape, or with numbers that are not finite, are infinitely far.
    """
    import numpy as np

    if frames.shape != wanted.shape or not np.isfinite(frames).all():
        return {"max_abs": float("inf"), "snr_db": float("-inf"), "cosine": -1.0}
    # In float64: sums of squares over a long clip lose digits in float32.
    error, wanted = (frames - wanted).astype(np.float64), wanted.astype(np.float64)
    norms = np.linalg.norm(frames, axis=-1) * np.linalg.norm(wanted, axis=-1)
    # 1e-12, because frames of silence may be all zeros.
    cosine = np.sum(frames * wanted, axis=-1) / np.maximum(norms, 1e-12)
    noise, signal = np.square(error).sum(), np.square(wanted).sum()
    # 200 dB is beyond float32; infinity is no JSON.
    snr_db = 200.0 if noise <= signal * 1e-20 else 10 * np.log10(max(signal, 1e-30) / noise)
    return {"max_abs": float(np.abs(error).max()), "snr_db": float(snr_db), "cosine": float(cosine.mean())}


def compare_layers(frames: "np.ndarray", wanted: "np.ndarray", layers: int) -> Parity:
    """`compare` of frames with several layers side by side, (T, layers x D): the worst of each figure over the layers.

    At once, a layer of large numbers would hide what is wrong with the others.
    """
    if frames.shape != wanted.shape:
        return compare(frames, wanted)
    each = (array.reshape(len(array), layers, -1).swapaxes(0, 1) for array in (frames, wanted))
    return worst([compare(*pair) for pair in zip(*each, strict=True)])


def within(parity: Parity, tolerance: dict[str, float]) -> bool:
    """Whether every limit holds: `max_abs` from above, `snr_db` and `cosine` from below."""
    return all(
        parity[name] <= limit if name == "max_abs" else parity[name] >= limit for name, limit in tolerance.items()
    )


def worst(parities: list[Parity]) -> Parity:
    """The worst of each figure."""
    return {
        "max_abs": max(parity["max_abs"] for parity in parities),
        "snr_db": min(parity["snr_db"] for parity in parities),
        "cosine": min(parity["cosine"] for parity in parities),
    }


def describe(figures: dict[str, float]) -> str:
    """Parity or a tolerance for people."""
    words = {"max_abs": "error {:.2g}", "snr_db": "SNR {:.1f} dB", "cosine": "cosine {:.4f}"}
    return ", ".join(words[name].format(value) for name, value in figures.items())
