"""What is read back of the documents that commands leave in a checkpoint's folder; further keys may be anything.

A measured number may be NaN: a run that diverged has a card as well.
"""

from pathlib import Path
from typing import Any, TypedDict, cast

from speechpress.runtime.json_file import read_json
from speechpress.runtime.schema import (
    Anything,
    Either,
    Fields,
    Flag,
    Items,
    Kind,
    Maybe,
    Real,
    Table,
    Text,
    Whole,
    check,
)


class Card(TypedDict, total=False):
    """The keys of card.json, the lineage of a checkpoint; which of them are there depends on the command."""

    schema: int
    kind: str
    finished: bool
    supervised: bool
    recipe: Any  # a document, or a text in cards of the first versions
    teacher: dict[str, Any] | None
    match: dict[str, Any] | None
    parents: list[dict[str, Any]] | None
    prune: dict[str, Any] | None
    quantize: dict[str, Any] | None
    notes: list[str] | None
    data: dict[str, Any] | None
    steps: int | None
    audio_h: float | None
    train_s: float | None
    audio_s_per_s: float | None
    parameters: int | None
    macs_per_s: float | None
    streaming: list[dict[str, float]]
    valid: dict[str, Any] | None
    versions: dict[str, str]
    heads: dict[str, dict[str, Any]] | None


_COUNT, _NAME, _PATH = Whole(), Maybe(Text(500)), Text(4096)
_MEASURED = Maybe(Real(measured=True))
_PAIR = Items(_COUNT, 2, 2)
_SCORES = Table(Table(_MEASURED))  # layer -> {"cosine", "l1"}

_PRUNE = Fields(
    {"method": Text(100)},
    {
        "asked": Table(Anything()),
        "width": Maybe(_PAIR),
        "units": Table(Items(_PAIR)),
        "layers": Table(Real(measured=True)),
        "parameters": _PAIR,
        "macs_per_s": Items(Real(measured=True), 2, 2),
    },
)
_PARENT = Fields({"path": _PATH, "sha256": Text(64)}, {"recipe": _NAME, "steps": Maybe(_COUNT), "prune": Maybe(_PRUNE)})
_RECIPE = Fields({}, {"name": Text(500), "match": Anything(), "train": Fields({}, {"seed": Whole(0, 2**31 - 1)})})

# What a command says of a head that it trained, see `heads.train.line`.
HEAD = Fields(
    {},
    {
        "kind": Text(100),
        "task": Text(200),
        "labels": Fields({"count": _COUNT, "list": Items(Text(200), most=65_536)}),
        "metric": Maybe(Text(100)),
        "value": _MEASURED,
        "ci95": Maybe(Items(_MEASURED, 2, 2)),
        "chance": _MEASURED,
        "data": Maybe(Fields({}, {"source": _PATH, "hours": Real(0), "fingerprint": Text(200)})),
        "parameters": Maybe(_COUNT),
        "layer_weights": Maybe(Items(_MEASURED)),
    },
)

CARD = Fields(
    {},
    {
        "schema": Whole(1, 1),
        "kind": Text(100),
        "finished": Flag(),
        "supervised": Flag(),
        "recipe": Maybe(Either((_RECIPE, Text(100_000, lines=True)))),
        "teacher": Maybe(
            Fields(
                {},
                {"source": Text(4096), "sha256": Text(64), "width": Whole(1, 1_000_000), "revision": Maybe(Text(100))},
            )
        ),
        "match": Maybe(Fields({}, {"layers": Maybe(Items(_COUNT))})),
        "parents": Maybe(Items(_PARENT)),
        "prune": Maybe(_PRUNE),
        "quantize": Maybe(Fields({"scheme": Text(100)}, {"parent": Fields({"path": _PATH, "sha256": Text(64)})})),
        "notes": Maybe(Items(Text(10_000, lines=True))),
        "data": Maybe(Fields({}, {"source": _PATH, "fingerprint": Text(200), "hours": Real(0)})),
        "steps": Maybe(_COUNT),
        "audio_h": _MEASURED,
        "train_s": _MEASURED,
        "parameters": Maybe(_COUNT),
        "macs_per_s": Maybe(Real(0)),
        "valid": Maybe(Fields({}, {"start": _SCORES, "end": _SCORES, "chunk_ms": _MEASURED})),
        "versions": Table(Text(200)),
        "heads": Maybe(Table(HEAD, 1000, key="[a-z0-9][a-z0-9_-]{0,39}")),
    },
)

_TASK = Fields(
    {
        "metric": Text(100),
        "student": _MEASURED,
        "teacher": _MEASURED,
        "quality": Fields({"student": _MEASURED}, {"teacher": _MEASURED}),
        "ci95": Fields({"student": Maybe(Items(_MEASURED, 2, 2))}),
    }
)
EVAL = Fields(
    {"suite": Text(200), "tasks": Table(_TASK, 1000)},
    {
        "of": Fields({}, {"weights_sha256": Text(64), "digest": Text(64)}),
        "layers": Text(100),
        "latency": Maybe(Fields({}, {"chunk_ms": Maybe(Real(0, above=0))})),
        "created": Text(100),
    },
)

# Not `measured`: a program computes with these, so NaN must not pass here.
_RANGE = Items(Real(), 2, 2)
# Nothing static can be exported without its ranges; the other ways only may have some.
_FIXED = Fields({"how": Text(choices=("static",)), "input": _RANGE, "output": _RANGE})
_FREE = Fields(
    {"how": Text(choices=("float", "half", "dynamic", "int4"))}, {"input": Maybe(_RANGE), "output": Maybe(_RANGE)}
)


def quantization_kind(schemes: tuple[str, ...]) -> Kind:
    """Of quantize.json."""
    return Fields(
        {"schema": Whole(1, 1), "scheme": Text(choices=schemes), "operators": Table(Either((_FIXED, _FREE)))},
        {"parent": Fields({"path": _PATH}, {"sha256": Text(64)})},
    )


def read_card(path: Path) -> Card:
    """A card.json; raises SpeechpressError when it is missing, or holds what no card does."""
    card = read_json(path)
    check(card, CARD, str(path))
    return cast(Card, card)
