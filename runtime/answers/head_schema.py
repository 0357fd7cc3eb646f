"""What bundle.json must hold of heads, see docs/bundle.md; no head may contradict itself or the rest of the bundle."""

from typing import Any

from ..schema import Anything, Fields, Items, Maybe, Real, Table, Text, Unfit, Whole, unfit
from .head_spec import KINDS, OUTPUT_DTYPES

SCHEMA = 2  # of bundle.json with heads; without it is 1
MOST_LABELS = 65_536
NAME, METHOD = "[a-z0-9][a-z0-9_-]{0,39}", "[a-z][a-z0-9_]{0,99}"
SIZE = Whole(1, 2**31 - 1)
# What is measured of an output: those of frames, and the share of rows with the same answer.
FIGURES = Fields(
    {}, {"max_abs": Real(0, 1e12), "snr_db": Real(-1e12, 1e12), "cosine": Real(-1.001, 1.001), "agreement": Real(0, 1)}
)
OUTPUT = Fields(
    {
        "name": Text(100),
        "per": Text(choices=("frame", "chunk")),
        "width": Whole(1, 2**20),
        "dtype": Text(choices=("float32", "int64")),
    }
)
_NUMBER = Real(-1e12, 1e12)
METRICS = Fields(
    {},
    {
        "note": Text(2000, lines=True),
        "metric": Text(100),
        "better": Text(choices=("lower", "higher")),
        "before": _NUMBER,
        "after": _NUMBER,
        "lost": _NUMBER,
        "tolerance": _NUMBER,
        "method": Text(pattern=METHOD),
        "clips": Whole(0, 2**31 - 1),
        "seconds": Real(0, 1e9),
    },
)
HEAD = Fields(
    {
        "name": Text(pattern=NAME),
        "kind": Text(choices=tuple(KINDS)),
        "labels": Items(Text(200), most=MOST_LABELS),
        "widths": Items(Whole(1, 2**20), 1, 10),
        "hop_samples": SIZE,
        "receptive_samples": SIZE,
        "sample_rate": Whole(1, 1_000_000),
        "decoder": Table(Anything(), 100),
        "threshold": Maybe(Real()),
        "delay_ms": Real(0, 60_000),
        "outputs": Items(OUTPUT, 1, 10),
    },
    {
        "metrics": Maybe(METRICS),
        "parity": Table(Table(FIGURES, 10), 1000, METHOD),
        "tolerance": FIGURES,
    },
)
HEADS = Items(HEAD, 1, 100)


def check_heads(document: dict[str, Any]) -> None:
    """Raises Unfit where heads contradict each other, themselves, or the rest of a document that is checked already."""
    heads, schema = document.get("heads"), document["schema"]
    if (heads is not None) != (schema >= SCHEMA):
        raise Unfit(f"heads is {'there' if heads else 'missing'}, but schema is {schema}; {SCHEMA} has heads, 1 none")
    names = [head["name"] for head in heads or []]
    for place, head in enumerate(heads or []):
        path = f"heads[{place}]"
        if head["name"] in names[:place]:
            raise Unfit(f"{path}.name is {head['name']!r}, as that of another")
        for key in ("hop_samples", "receptive_samples", "sample_rate"):
            if head[key] != document["audio"][key]:
                raise unfit(f"{path}.{key}", head[key], f"{document['audio'][key]}, as audio.{key} says")
        _check_outputs(head, path)
        _check_labels(head, path)
    _check_state([entry["name"] for entry in document["state"]], names)


def _check_outputs(head: dict[str, Any], path: str) -> None:
    """They are those of the kind, in its order, as wide as is said."""
    wanted, outputs = KINDS[head["kind"]], head["outputs"]
    if [(output["name"], output["per"]) for output in outputs] != list(wanted.items()):
        raise Unfit(f"{path}.outputs are {_listed(outputs)}, but those of kind {head['kind']} are {', '.join(wanted)}")
    if (widths := [output["width"] for output in outputs]) != list(head["widths"]):
        raise Unfit(f"{path}.widths are {head['widths']}, but those of its outputs are {widths}")
    for place, output in enumerate(outputs):
        dtype = OUTPUT_DTYPES.get(output["name"], "float32")
        if output["dtype"] != dtype:
            raise unfit(f"{path}.outputs[{place}].dtype", output["dtype"], dtype)
        if dtype != "float32" and output["width"] != 1:
            raise unfit(f"{path}.outputs[{place}].width", output["width"], "1")


def _check_labels(head: dict[str, Any], path: str) -> None:
    """As many as columns, each once; CTC's first is the blank. Units and vectors have none."""
    kind, labels = head["kind"], head["labels"]
    if kind == "words":
        return
    if kind in ("units", "speaker"):
        if labels:
            raise Unfit(f"{path}.labels has {len(labels)} values, but the kind {kind} has none")
        return
    if len(labels) != head["widths"][0]:
        raise Unfit(f"{path}.labels has {len(labels)} values, but its logits are {head['widths'][0]} wide")
    if len(set(labels)) < len(labels):
        raise Unfit(f"{path}.labels has one of them twice")
    if kind == "ctc" and (labels[0] or len(labels) < 2):
        raise Unfit(f'{path}.labels must begin with the blank, "", and have an alphabet after it')
    if "" in labels[kind == "ctc" :]:
        raise Unfit(f"{path}.labels has one that is empty")


def _check_state(state: list[str], heads: list[str]) -> None:
    """The state of heads comes after the encoder's, head by head."""
    if not heads:
        return
    owners = [name.split("/")[0] if "/" in name else "" for name in state]
    for place, owner in enumerate(owners):
        if owner and owner not in heads:
            raise Unfit(f"state[{place}].name is {state[place]!r}, but there is no head of that name")
    order = [-1 if not owner else heads.index(owner) for owner in owners]
    if order != sorted(order):
        raise Unfit("state is out of order: that of the encoder comes first, then that of each head, in their order")


def _listed(outputs: list[dict[str, Any]]) -> str:
    return ", ".join(f"{output['name']} per {output['per']}" for output in outputs)
