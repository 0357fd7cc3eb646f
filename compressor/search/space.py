"""What a search may change of a student: choices per key, from a YAML file, and what a choice makes of a recipe."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.regular import check_regular

from ..distill.resolve import student_config
from ..models.config import SAMPLE_RATE, EncoderConfig
from ..models.costs import frames_per_s, macs_per_s, stream_costs
from ..quantize.scheme import by_scheme
from ..recipe.schema import Recipe
from ..recipe.strict_yaml import check_keys, fill, key, parse, places
from ..targets import check_scheme, target_of

Shape = dict[str, Any]
OF_STUDENT = ("conv_channels", "width", "num_heads", "ffn_widths", "pos_conv_kernel")
DEFAULT = "spaces/default.yaml"
WINDOW_S = 1.0  # what is timed of an encoder that does not stream


@dataclass(frozen=True)
class Space:
    """The choices for each key; one without any stays as the recipe has it. `places` says where each was written."""

    conv_channels: tuple[tuple[int, ...], ...] = key((), low=1, high=8192)
    layers: tuple[int, ...] = key((), low=1, high=100)
    width: tuple[int, ...] = key((), low=1, high=8192)
    num_heads: tuple[int, ...] = key((), low=1, high=128)
    ffn_widths: tuple[int, ...] = key((), low=1, high=65_536)
    pos_conv_kernel: tuple[int, ...] = key((), low=1, high=1024)
    chunk_ms: tuple[float, ...] = key((), above=0, high=60_000)
    quantize: tuple[str, ...] = key(())
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def choices(self) -> dict[str, tuple[Any, ...]]:
        """The keys that have any."""
        names = [item.name for item in fields(self) if item.name != "places"]
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    @property
    def size(self) -> int:
        """How many shapes there are."""
        return math.prod(map(len, self.choices.values()))

    def shape(self, numbers: Mapping[str, int]) -> Shape:
        """The shape of the numbers of its choices."""
        return {name: choices[numbers[name]] for name, choices in self.choices.items()}

    def numbers(self, shape: Mapping[str, Any]) -> dict[str, int]:
        """The numbers of a shape's choices; raises ValueError for one that is none."""
        # JSON and YAML give lists, choices are tuples.
        return {name: choices.index(_plain(shape[name])) for name, choices in self.choices.items()}

    def where(self, name: str) -> str:
        return self.places.get(name, "the search space")

    def to_dict(self) -> dict[str, Any]:
        return {name: [_listed(choice) for choice in choices] for name, choices in self.choices.items()}

    def text(self) -> str:
        """The space as YAML."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=120)


def load_space(path: Path | None) -> Space:
    """The space of a file, or the one that ships.

    Raises SpeechpressError, with `file:line`, for an unknown key, a choice that is none or stands twice, or no choices.
    """
    shown = str(path) if path else DEFAULT
    root = parse(_read(path), shown)
    check_keys(root.value, [item.name for item in fields(Space) if item.name != "places"], "", {})
    space = replace(fill(Space, root), places=places(root))
    for name, choices in space.choices.items():
        twice = next((choice for choice in choices if choices.count(choice) > 1), None)
        if twice is not None:
            raise SpeechpressError(f"{space.where(name)}: {name} names {_listed(twice)} twice. Remove one")
    for scheme in space.quantize:
        try:
            check_scheme(target_of("host"), scheme)
            by_scheme(scheme)
        except SpeechpressError as error:
            raise SpeechpressError(f"{space.where('quantize')}: {error}") from None
    if space.size < 2:
        raise SpeechpressError(f"{shown}: has one shape, so there is nothing to search. Give a key several choices")
    return space


def _read(path: Path | None) -> str:
    if path is None:
        return (resources.files("speechpress.recipes") / DEFAULT).read_text(encoding="utf-8")
    check_regular(path)
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpeechpressError(
            f"--space {path}: there is no such file. Leave it out for the space that ships"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpeechpressError(f"--space {path}: cannot be read as a search space ({error})") from None


def narrowed(space: Space, recipe: Recipe) -> tuple[Space, list[str]]:
    """The space without what this recipe settles, and notes that say so.

    Keys given by --set, chunks of a student that does not stream, quantisation where its cost could not be measured;
    and channels for another number of convolutions, if there are others.

    Raises SpeechpressError when nothing is left.
    """
    notes: list[str] = []
    without: dict[str, Any] = {}
    for name in space.choices:
        dotted = "streaming.chunk_ms" if name == "chunk_ms" else f"student.{name}"
        if recipe.places.get(dotted, "").startswith("--set"):
            without[name] = ()
            notes.append(f"space: {name} is given by {recipe.places[dotted]} and not searched")
    if space.chunk_ms and recipe.streaming is None:
        without["chunk_ms"] = ()
        notes.append(f"space: {recipe.name} does not stream, so chunk_ms is not searched; windows of 1 s are timed")
    if set(space.quantize) > {"none"} and recipe.match.style != "heads":
        without["quantize"] = ()
        notes.append(
            f"space: {recipe.name} matches hidden layers, which a quantised program does not give, so its fidelity "
            "could not be measured: quantize is not searched, all programs are float32"
        )
    fitting = tuple(choice for choice in space.conv_channels if len(choice) == convolutions(recipe))
    if fitting:  # else they are refused with the place at which they were written
        without.setdefault("conv_channels", fitting)
    space = replace(space, **without)
    if space.size < 2:
        raise SpeechpressError("the search space has one shape left, so there is nothing to search")
    return space, notes


def convolutions(recipe: Recipe) -> int:
    """How many the student's front end has; where the recipe does not say, as many as HuBERT's."""
    return len(recipe.student.config.get("conv_channels", EncoderConfig.conv_channels))


def shaped(recipe: Recipe, shape: Shape) -> Recipe:
    """The recipe with a student of this shape. `quantize` is no part of a recipe: it is for the export.

    The chunk becomes the smallest one that the student is trained with.

    Raises SpeechpressError when the recipe matches a student layer that this shape lacks.
    """
    layers = shape.get("layers", recipe.student.layers)
    deepest = max((student for student, _ in recipe.match.pairs), default=0)
    if deepest > layers:
        raise SpeechpressError(f"layers is {layers}, but match.pairs of {recipe.name} has student layer {deepest}")
    config = {**recipe.student.config, **{name: shape[name] for name in OF_STUDENT if name in shape}}
    streaming = recipe.streaming
    if streaming is not None and "chunk_ms" in shape:
        # The largest chunk of the recipe may be below the smallest of the shape.
        streaming = replace(streaming, chunk_ms=(shape["chunk_ms"], max(shape["chunk_ms"], streaming.chunk_ms[1])))
    return replace(recipe, student=replace(recipe.student, layers=layers, config=config), streaming=streaming)


def check_choices(space: Space, recipe: Recipe, teacher: EncoderConfig | None, teacher_width: int) -> None:
    """Try each choice alone in the recipe's student.

    Raises SpeechpressError, with `file:line`, for one of which no encoder can be built, or a chunk of no whole frames.
    """
    for name, choices in space.choices.items():
        # Alone, not all combinations, which are too many; one that does not go together fails as a trial.
        for choice in choices:
            try:
                config = student_config(shaped(recipe, {name: choice}), teacher, teacher_width)[0]
                if name == "chunk_ms":
                    chunk_of(config, choice)
            except SpeechpressError as error:
                raise SpeechpressError(f"{space.where(name)}: {name} {_listed(choice)}: {error}") from None


def chunk_of(config: EncoderConfig, chunk_ms: float) -> int:
    """Frames of a chunk; raises SpeechpressError when they are no whole ones."""
    frames = chunk_ms * frames_per_s(config) / 1000
    # Milliseconds are not exact in floats.
    if frames < 1 or not math.isclose(frames, round(frames)):
        raise SpeechpressError(f"is not made of whole frames of {1000 * config.hop_samples / SAMPLE_RATE:g} ms")
    return round(frames)


def default_chunk_ms(recipe: Recipe) -> float | None:
    """The chunk that is measured where a shape names none: the smallest that the recipe trains; None: no streaming."""
    return recipe.streaming.chunk_ms[0] if recipe.streaming else None


def chunk_macs(config: EncoderConfig, chunk_ms: float | None) -> float:
    """Multiply-accumulates of one chunk, all included; of a window of one second when the encoder does not stream."""
    if chunk_ms is None:
        return macs_per_s(config) * WINDOW_S
    return stream_costs(config, chunk_of(config, chunk_ms))["macs_per_s"] * chunk_ms / 1000


def cheapest(space: Space, recipe: Recipe, teacher: EncoderConfig | None, teacher_width: int) -> Shape:
    """The shape with the fewest multiply-accumulates per chunk: each key's cheapest choice, given the others' first."""
    best = {name: choices[0] for name, choices in space.choices.items()}

    def macs(shape: Shape) -> float:
        made = shaped(recipe, shape)
        config, _ = student_config(made, teacher, teacher_width)
        return chunk_macs(config, shape.get("chunk_ms", default_chunk_ms(made)))

    # Key by key: of all combinations there may be too many to be built.
    for name, choices in space.choices.items():
        # It changes the time of a multiply-accumulate, not their number.
        if name != "quantize":
            best[name] = min(choices, key=lambda choice: macs({**best, name: choice}))
    return best


def recipe_shape(space: Space, recipe: Recipe) -> Shape | None:
    """The recipe's own student where it is among the choices, with each first choice for what a recipe does not say."""
    own: Shape = {"layers": recipe.student.layers, **recipe.student.config}
    if recipe.streaming is not None:
        own["chunk_ms"] = recipe.streaming.chunk_ms[0]
    shape = {name: own.get(name, choices[0]) for name, choices in space.choices.items()}
    return shape if all(shape[name] in choices for name, choices in space.choices.items()) else None


def described(shape: Shape) -> str:
    """A shape in a few words."""
    words = {"layers": "{} layers", "width": "width {}", "num_heads": "{} heads", "ffn_widths": "FFN {}"}
    words |= {"pos_conv_kernel": "kernel {}", "chunk_ms": "{:g} ms", "quantize": "{}"}
    said = [words[name].format(shape[name]) for name in words if name in shape]
    if "conv_channels" in shape:
        said.insert(0, f"front end {'-'.join(map(str, dict.fromkeys(shape['conv_channels'])))}")
    return ", ".join(said)


def _plain(choice: Any) -> Any:
    return tuple(choice) if isinstance(choice, list) else choice


def _listed(choice: Any) -> Any:
    return list(choice) if isinstance(choice, tuple) else choice
