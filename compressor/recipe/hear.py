"""The section `hear` of a recipe: what only the student hears, while its teacher hears the whole, clean recording."""

from dataclasses import dataclass

from .strict_yaml import key

NOISES = ("pink", "babble", "reverb")
SNR_DB = (5.0, 20.0)  # where a recipe says nothing of it
MASK_LENGTH = 10  # frames, HuBERT's


@dataclass(frozen=True)
class Hear:
    """Frames hidden behind the student's own mask vector, and noise under some of the recordings.

    Validation hears neither.
    """

    mask_prob: float | None = key(None, above=0, high=1, doc="share of frames to hide from the student alone")
    mask_length: int | None = key(None, low=1, high=1000, doc="mean frames of a hidden span")
    noise_prob: float | None = key(None, above=0, high=1, doc="share of the recordings that the student hears in noise")
    snr_db: tuple[float, float] | None = key(
        None, low=-20, high=60, doc="how far the noise lies below the speech, [lowest, highest]"
    )
    noise: tuple[str, ...] = key((), choices=NOISES, doc="kinds of noise, each as often: pink, babble, reverb")

    @property
    def span_frames(self) -> int:
        return self.mask_length or MASK_LENGTH

    @property
    def snr_range_db(self) -> tuple[float, float]:
        return self.snr_db or SNR_DB

    @property
    def kinds(self) -> tuple[str, ...]:
        """The noises that are drawn from; none where there is no noise."""
        return (self.noise or NOISES) if self.noise_prob is not None else ()
