"""k-means on frames, as everything that has units finds them.

Shapes: F frames, D width, K units.
"""

import numpy as np

from speechpress.runtime.errors import SpeechpressError

BATCH = 4096


def require_sklearn() -> None:
    """Raises SpeechpressError where scikit-learn is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise SpeechpressError(
            "units are found by k-means, which needs scikit-learn: pip install 'speechpress[heads]'"
        ) from error


def centres_of(frames: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Centres (K, D) float32 of `count` clusters of frames (F, D), the same for the same frames and seed."""
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(count, batch_size=max(BATCH, 4 * count), n_init=3, max_iter=100, random_state=seed)
    return np.asarray(means.fit(frames).cluster_centers_, np.float32)
