"""What is asked of an extraction: which layers, in which form, and which share of the corpus."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speechpress.runtime.errors import SpeechpressError

FORMATS = ("npy", "safetensors", "parquet", "lhotse")
WHATS = ("features", "units", "answers")
DTYPES = ("float32", "float16")
LONGEST_S = 120.0  # by default, where attention goes over the whole recording: 2.4 GB for a HuBERT-base


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, counted from 1."""

    number: int = 1
    count: int = 1

    @property
    def ending(self) -> str:
        """What the names of its own files end with: nothing where there is one shard only."""
        width = len(str(self.count))
        return f"-{self.number:0{width}d}-of-{self.count}" if self.count > 1 else ""


@dataclass(frozen=True)
class ExtractOptions:
    """What is wanted.

    Attributes:
        out: the folder to write.
        layers: last, all, or numbers such as "0,2,4".
        what: features, units or answers.
        form: npy, safetensors, parquet or lhotse; answers have a form of their own.
        dtype: float32 or float16, of features.
        shard: which share of the corpus.
        heads: names of heads, for units and answers; none named is all that fit.
        dedup: units: each run of one unit once.
        chunk_ms: hear the audio in chunks, as a streaming student does; of a bundle: which of its chunks.
        offline: of a bundle: whole recordings at once, not in chunks.
        longest_s: longer recordings are left out; None: LONGEST_S, or none where a bundle streams.
        batch_s: audio that is heard at once, in seconds; 0: one recording at a time; None: as suits the device.
        workers: threads that hear recordings side by side; 0: as many as PyTorch has threads.
    """

    out: Path
    layers: str = "last"
    what: str = "features"
    form: str = "npy"
    dtype: str = "float32"
    shard: Shard = Shard()
    heads: tuple[str, ...] = ()
    dedup: bool = False
    chunk_ms: float | None = None
    offline: bool = False
    longest_s: float | None = None
    batch_s: float | None = None
    workers: int = 0
    device: str = "auto"
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for key, value, choices in (
            ("what", self.what, WHATS),
            ("format", self.form, FORMATS),
            ("dtype", self.dtype, DTYPES),
        ):
            if value not in choices:
                raise SpeechpressError(f"--{key} {value}: must be one of {', '.join(choices)}")
        if self.resume and self.overwrite:
            raise SpeechpressError("--resume and --overwrite contradict each other; use one of them")
        if (self.longest_s is not None and self.longest_s <= 0) or (self.batch_s or 0) < 0 or self.workers < 0:
            raise SpeechpressError("--longest-s must be above 0, --batch-s and --workers at least 0")
        self._check_what()

    def _check_what(self) -> None:
        """What goes with features only, and what with heads only."""
        if self.what == "features" and (self.heads or self.dedup):
            raise SpeechpressError("--heads and --dedup: are for --what units and answers; features have no heads")
        if self.what != "features" and self.layers != "last":
            raise SpeechpressError(f"--layers {self.layers}: is for features; heads take the layers they were made for")
        if self.what == "answers" and (self.form != "npy" or self.dedup):
            raise SpeechpressError("--what answers: are written as JSON lines; leave out --format and --dedup")
        if self.what == "units" and self.form == "lhotse":
            raise SpeechpressError(
                "--format lhotse: holds frames of numbers, not units; take npy, safetensors or parquet"
            )


def parse_shard(text: str) -> Shard:
    """Of a text such as "3/16". Raises SpeechpressError when there is no such part."""
    number, slash, count = text.partition("/")
    if slash and number.strip().isdecimal() and count.strip().isdecimal() and 1 <= int(number) <= int(count):
        return Shard(int(number), int(count))
    raise SpeechpressError(f"--shard {text}: must be K/N with K from 1 to N, as 3/16 for the third of sixteen parts")


def parse_layers(text: str, there: Sequence[int], where: str) -> tuple[int, ...]:
    """The numbers of layers that `text` asks for, in its order, of those that are `there`.

    Raises SpeechpressError for a layer that is not there or named twice, and for what is no list of numbers.
    """
    if text == "last":
        return (there[-1],)
    if text == "all":
        return tuple(there)
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise SpeechpressError(f"--layers {text}: must be last, all, or numbers such as 0,2,4")
    numbers = [int(part) for part in parts]
    if gone := [number for number in numbers if number not in there]:
        raise SpeechpressError(f"--layers {text}: {where} has no layer {gone[0]}, only {', '.join(map(str, there))}")
    if len(set(numbers)) < len(numbers):
        raise SpeechpressError(f"--layers {text}: lists a layer twice")
    return tuple(numbers)
