"""Which layers of a teacher to distil: few that together are good at every task and are unlike each other.

The idea is the one behind the layers of DistilHuBERT (arXiv:2110.01900, section 2): different layers hold different
things. Here the choice is a greedy one over two kinds of coverage, both between 0 and 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from speechpress.runtime.errors import SpeechpressError

LIKENESS = 0.5  # weight of the layers' likeness beside the tasks
LEAST_GAIN = 0.02  # of both together: a head that adds less is not worth its training
# Less would be the same number in the two digits that are told.
TOLD = 0.005


@dataclass(frozen=True)
class Step:
    """One layer of the choice: what it adds, and why in words."""

    layer: int
    gain: float
    reason: str


@dataclass(frozen=True)
class Suggestion:
    """`steps` in the order of choosing, as many as were asked for; the first `heads` of them are suggested."""

    steps: tuple[Step, ...]
    heads: int
    reason: str

    @property
    def layers(self) -> tuple[int, ...]:
        return self.first(self.heads)

    def first(self, heads: int) -> tuple[int, ...]:
        """The best layers for so many heads, from low to high."""
        return tuple(sorted(step.layer for step in self.steps[:heads]))


@dataclass(frozen=True)
class Coverage:
    """What a set of layers covers.

    `shares` is, for each task and candidate, how much of the way from chance to the best layer it gets; `likeness` the
    CKA of every two candidates; `noise` the half width of a share's interval.
    """

    shares: Mapping[str, Mapping[int, float]]
    likeness: Mapping[tuple[int, int], float]
    candidates: tuple[int, ...]
    noise: Mapping[str, float] = field(default_factory=dict)

    def tasks(self, chosen: Sequence[int]) -> dict[str, float]:
        """The share of the best chosen layer, for each task."""
        return {task: max((each[k] for k in chosen), default=0.0) for task, each in self.shares.items()}

    def nearest(self, chosen: Sequence[int]) -> float:
        """Mean over all candidates of the CKA to the chosen layer that is most like it."""
        return _mean([max((self.likeness[k, c] for c in chosen), default=0.0) for k in self.candidates])

    def value(self, chosen: Sequence[int]) -> float:
        return _mean(list(self.tasks(chosen).values())) + LIKENESS * self.nearest(chosen)


def suggest(
    accuracy: Mapping[str, Sequence[float]],
    chance: Mapping[str, float],
    cka: Sequence[Sequence[float]],
    most: int = 3,
    noise: Mapping[str, float] | None = None,
) -> Suggestion:
    """Choose layers one after the other; each is the one that adds most to what those before it cover.

    Layer 0 is no candidate: a student that starts from its teacher's front end computes it by itself.

    Args:
        accuracy: for each task that of a probe on each layer 0..L alone, on clips that were not trained on (val, so
            that a test score stays untouched by the choice).
        chance: of each task, what a guess gets.
        cka: of layers 0..L with each other.
        most: how many layers at most.
        noise: half width of the interval of each task's accuracy; gains below it are said to be within noise.

    Raises:
        SpeechpressError: fewer than two layers to choose from, or no task.
    """
    coverage = measure(accuracy, chance, cka, noise or {})
    chosen: list[int] = []
    steps: list[Step] = []
    while len(chosen) < min(most, len(coverage.candidates)):
        rest = [k for k in coverage.candidates if k not in chosen]
        # Rounded, so that the order of a float sum breaks no tie; of equal layers the highest is taken.
        best = max(rest, key=lambda k: (round(coverage.value([*chosen, k]), 9), k))
        gain = coverage.value([*chosen, best]) - coverage.value(chosen)
        steps.append(Step(best, gain, _reason(coverage, chosen, best)))
        chosen.append(best)
    # The coverage is submodular, so gains only fall: these are the first ones, without gaps.
    heads = 1 + sum(step.gain >= LEAST_GAIN for step in steps[1:])
    return Suggestion(tuple(steps), heads, _conclusion(steps, heads))


def measure(
    accuracy: Mapping[str, Sequence[float]],
    chance: Mapping[str, float],
    cka: Sequence[Sequence[float]],
    noise: Mapping[str, float],
) -> Coverage:
    """Shares and likeness of layers 1..L; see `suggest`."""
    depth = len(cka) - 1
    if depth < 2:
        raise SpeechpressError(f"the teacher has {depth} layer, so there is nothing to choose; distil that one")
    if not accuracy:
        raise SpeechpressError(
            "no task was probed, so nothing says which layer is good for what; name some with --tasks"
        )
    candidates = tuple(range(1, depth + 1))
    shares, widths = {}, {}
    for task, values in accuracy.items():
        # A task at which no layer beats chance tells layers apart by luck only.
        room = max(max(values[k] for k in candidates) - chance[task], 1e-9)
        shares[task] = {k: max(0.0, (values[k] - chance[task]) / room) if room > 1e-9 else 0.0 for k in candidates}
        widths[task] = noise.get(task, 0.0) / room
    # The unbiased CKA of unrelated layers may fall below 0.
    likeness = {(i, j): max(0.0, cka[i][j]) for i in candidates for j in candidates}
    return Coverage(shares, likeness, candidates, widths)


def evenly(count: int, depth: int) -> tuple[int, ...]:
    """So many layers at equal steps up to the last, as the paper has them: 4, 8 and 12 of 12."""
    # In a shallow teacher several fall on the same layer.
    return tuple(dict.fromkeys(max(1, round(i * depth / count)) for i in range(1, count + 1)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _reason(coverage: Coverage, chosen: Sequence[int], layer: int) -> str:
    now, near = coverage.tasks([*chosen, layer]), coverage.nearest([*chosen, layer])
    if not chosen:
        each = ", ".join(f"{task} {share:.2f}" for task, share in now.items())
        return (
            f"layer {layer}: alone it goes {_mean(list(now.values())):.2f} of the way from chance to the best layer, "
            f"averaged over the tasks ({each}); the mean CKA of all layers to it is {near:.2f}"
        )
    before = coverage.tasks(chosen)
    raised = [_raised(task, before[task], now[task], coverage.noise.get(task, 0.0)) for task in now]
    words = "; ".join(filter(None, raised)) or "no task gains by it"
    twin = max(chosen, key=lambda k: coverage.likeness[layer, k])
    return (
        f"layer {layer}: {words}; its CKA to layer {twin}, the chosen one most like it, is "
        f"{coverage.likeness[layer, twin]:.2f}, and the mean CKA of all layers to their nearest chosen one goes from "
        f"{coverage.nearest(chosen):.2f} to {near:.2f}"
    )


def _raised(task: str, before: float, now: float, noise: float) -> str:
    if now - before < TOLD:
        return ""
    return f"{task} goes from {before:.2f} to {now:.2f}" + (" (within noise)" if now - before < noise else "")


def _conclusion(steps: Sequence[Step], heads: int) -> str:
    layers = ", ".join(str(step.layer) for step in sorted(steps[:heads], key=lambda step: step.layer))
    plural = "layer" if heads == 1 else "layers"
    told = f"distil {plural} {layers}"
    if heads < len(steps):
        nxt = steps[heads]
        return f"{told}: one more (layer {nxt.layer}) would add {nxt.gain:.3f} to the coverage, less than {LEAST_GAIN}"
    last = f"; the last of them adds {steps[-1].gain:.3f} to the coverage" if heads > 1 else ""
    return told + last
