"""What a profile read from disk must hold for a report to be drawn of it, see `record`."""

from typing import Any

from ..runtime.errors import SpeechpressError
from ..runtime.schema import Anything, Fields, Flag, Items, Kind, Maybe, Real, Table, Text, Whole, check

_COUNT, _BYTES = Whole(), Maybe(Real(0, 1e18))  # bounds: sums and drawings of them stay finite


_LINE, _WORDS = Text(4096), Text(100_000, lines=True)


_SOME_LINE, _SOME_TIME = Maybe(_LINE), Maybe(Real(0, 1e12))


_TIME = Real(high=1e12, above=0)


_MEASURED = Maybe(Real(measured=True))  # silence may give an infinite SNR, which is no damage


_MOST_CHUNKS = 10_000_000  # days of audio in chunks of 80 ms


_VERSIONS = Table(_SOME_LINE, 100)


_PARITY = {"snr_db": _MEASURED, "max_abs": _MEASURED, "cosine": _MEASURED}


_LINEAGE = Fields(
    {"steps": Maybe(_COUNT), "parents": Items(Anything())},
    {
        "teacher": Maybe(Fields({}, {"source": _SOME_LINE})),
        "data": Maybe(Fields({}, {"source": _SOME_LINE})),
        "checkpoint_sha256": _SOME_LINE,
        "parameters": Maybe(_COUNT),
        "recipe": Maybe(_WORDS),
    },
)


_BUNDLE = Fields(
    {
        **dict.fromkeys(("name", "quantize", "target", "backend", "program_sha256"), _LINE),
        "size_bytes": Real(1, 1e18),
        "lineage": _LINEAGE,
        "versions": _VERSIONS,
    },
    dict.fromkeys(("path", "digest", "method"), _LINE),
)


_SCORES = Fields(
    {"of": _LINE, "suite": _SOME_LINE, "layers": _LINE, "chunk_ms": Maybe(_TIME), "qualities": Table(Real(-1e6, 1e6))}
)


_ACCURACY = Fields(
    {"parity": Maybe(Fields({}, _PARITY)), "fidelity": Maybe(Table(Fields({"cosine": Real(-1e6, 1e6)}), 1000))},
    {"scores": Maybe(_SCORES), "delegated_time": _MEASURED, "tolerance": Table(Anything())},
)


_CORE = Fields({}, {"name": _SOME_LINE, "max_khz": Maybe(Real(0, 1e12)), "governor": _SOME_LINE})


_DEVICE = Fields(
    {"address": _LINE, "model": _SOME_LINE, "chipset": _SOME_LINE, "cores": Items(_CORE)},
    {
        **dict.fromkeys(("known", "os", "kernel", "abi"), _SOME_LINE),
        "versions": Maybe(_VERSIONS),
        "engine": Maybe(Fields({"name": _LINE, "about": _LINE})),
    },
)


_SETTINGS = Fields(
    {
        "chunk_ms": _TIME,
        "threads": Whole(0, 100_000),
        "cores": Maybe(Items(Whole(0, 100_000))),
        "paces": Items(_LINE, 0, 2),
        "side": _LINE,
        "duration_s": _SOME_TIME,
        "method": _LINE,
        "warmup": _COUNT,
    },
    {"budget_ms": Maybe(_TIME), "per_op": Flag()},
)


_ENERGY = Fields({"source": _LINE, **dict.fromkeys(("joules", "watts", "seconds"), Real(0, 1e12))})


_PACE = Fields(
    {"start_s": Items(Real(0, 1e12), most=_MOST_CHUNKS), "ms": Items(_TIME, most=_MOST_CHUNKS)},
    {
        "samples": Items(Fields({}), most=_MOST_CHUNKS),
        **dict.fromkeys(("wall_s", "cpu_s", "p50_ms", "p90_ms", "p99_ms", "max_ms"), _SOME_TIME),
        "late": Maybe(_COUNT),
        "energy": Maybe(_ENERGY),
    },
)


_RESULT = Fields(
    {
        **dict.fromkeys(("p50_ms", "p90_ms", "p99_ms", "max_ms", "budget_ms"), Maybe(_TIME)),
        "peak_rss_bytes": _BYTES,
        "over_budget": Maybe(Flag()),
        **dict.fromkeys(("load_ms", "first_chunk_ms", "rtf", "budget_share", "streams_per_core"), _SOME_TIME),
    },
    # Absent in profiles of before.
    {"chunks": _COUNT, "cpu_rtf": _SOME_TIME, "joules_per_h": _SOME_TIME},
)


_SHARE = Real(0, 1e6)


_OPERATORS = Fields(
    {
        "outside_share": _SHARE,
        "known_share": _SHARE,
        "by_operator": Items(Fields({"operator": _LINE, "where": _LINE, "ms": Real(0, 1e12), "share": _SHARE})),
        "by_layer": Items(Fields({"layer": _LINE, "ms": Real(0, 1e12), "share": _SHARE, "outside_ms": Real(0, 1e12)})),
    }
)


RECORD: Kind = Fields(
    {
        "created": _LINE,
        "finished": Flag(),
        "stopped": Maybe(Fields({"message": _WORDS, "exit_code": Whole(0, 255)})),
        "bundle": _BUNDLE,
        "accuracy": _ACCURACY,
        "device": _DEVICE,
        "settings": _SETTINGS,
        "golden": Maybe(Fields({"ok": Flag(), "snr_db": _MEASURED}, _PARITY)),
        "load": Maybe(Fields({}, {"load_ms": _SOME_TIME, "first_chunk_ms": _SOME_TIME})),
        "paces": Fields({}, {"real": _PACE, "flat": _PACE}, closed=True),
        "result": _RESULT,
        "operators": Maybe(_OPERATORS),
        "warnings": Items(Fields({"name": _LINE, "text": _WORDS})),
    }
)


_FIGURES = ("p50_ms", "p90_ms", "p99_ms", "max_ms")


def check_record(record: dict[str, Any], shown: str) -> None:
    """Raises SpeechpressError, naming the key, for what no profile holds."""
    advice = "`compress profile` writes one"
    check(record, RECORD, shown, advice)
    for name, pace in record["paces"].items():
        if len(pace["start_s"]) != len(pace["ms"]):
            text = f"paces.{name} has {len(pace['start_s'])} start_s for {len(pace['ms'])} ms"
            raise SpeechpressError(f"{shown}: {text}; {advice}")
        missing = [figure for figure in _FIGURES if pace["ms"] and pace.get(figure) is None]
        if missing:
            raise SpeechpressError(f"{shown}: paces.{name}.{missing[0]} is missing, though chunks were timed; {advice}")
    timed = any(pace["ms"] for pace in record["paces"].values())
    for figure in (*_FIGURES, "budget_ms", "budget_share", "over_budget", "rtf", "load_ms", "first_chunk_ms"):
        if timed and record["result"][figure] is None:
            raise SpeechpressError(f"{shown}: result.{figure} is null, though chunks were timed; {advice}")
    for figure in _FIGURES:
        if not timed and record["result"][figure] is not None:
            raise SpeechpressError(f"{shown}: result.{figure} is set, though no chunk was timed; {advice}")
