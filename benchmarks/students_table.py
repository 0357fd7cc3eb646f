"""Tables of benchmarks/students.py, from results/students.json; `students_picture.py` draws.

python benchmarks/students_table.py
"""

import statistics
from collections.abc import Sequence
from typing import Any

from common import Parts

from speechpress.compressor.evaluate.retention import retention
from speechpress.compressor.tasks.kinds import quality

SEEDS, SCHEME = range(3), "int8-linear"
POCKET, POCKET_S, DISTILHUBERT = (
    tuple(f"{name}-{seed}" for seed in SEEDS) for name in ("pocket-conv", "pocket-conv-s", "distilhubert")
)
COLUMNS = {
    "teacher": ("teacher",),
    "DistilHuBERT": DISTILHUBERT,
    "the same, `pocket-conv`'s targets": ("distilhubert-standardised-0",),
    "`pocket-conv`": POCKET,
    "`pocket-conv-s`": POCKET_S,
    "`pocket-conv-s`, clusters too": ("pocket-conv-s-clusters-too-0",),
    "random weights": ("random",),
    "log-mel": ("logmel",),
}
ABLATION = {
    "as it is, three seeds": POCKET_S,
    "as it is, the first seed": ("pocket-conv-s-0",),
    "targets as they are": ("pocket-conv-s-plain-0",),
    "without the lag": ("pocket-conv-s-no-lag-0",),
    "with masks": ("pocket-conv-s-masks-0",),
    "with noise": ("pocket-conv-s-noise-0",),
    "with all six layers": ("pocket-conv-s-all-layers-0",),
    "with clusters too": ("pocket-conv-s-clusters-too-0",),
    "whole recordings first": ("pocket-conv-s-whole-first-0",),
}
VARIANTS = {
    "`pocket-conv`, three seeds": POCKET,
    "`pocket-conv`, the first seed": ("pocket-conv-0",),
    "RMS norm": ("pocket-conv-rms-0",),
    "patch front end": ("pocket-patch-0",),
}
FRAMES = ("pocket-conv-frames-0",)
LATER_COLUMNS = {
    "DistilHuBERT, 101 h": DISTILHUBERT,
    "`pocket-conv`, 101 h": POCKET,
    "`pocket-conv` as in this section, 15 h": FRAMES,
}
FLAGSHIP, SMALL_STEPS = (tuple(f"{name}-{seed}" for seed in SEEDS) for name in ("pocket", "distilhubert-20s"))
FLAGSHIP_COLUMNS = {
    "teacher": ("teacher",),
    "DistilHuBERT": SMALL_STEPS,
    "`pocket-heads`": FLAGSHIP,
    "random weights": ("random",),
    "log-mel": ("logmel",),
}
POCKET_110, EVEN_110, POCKET_S_110, DISTILHUBERT_110 = (
    tuple(f"{name}-longest-{seed}" for seed in SEEDS)
    for name in ("pocket", "pocket-more-even", "pocket-s", "distilhubert")
)
LAYERS_110 = tuple(f"pocket-layers-longest-{seed}" for seed in SEEDS)
LONGEST_COLUMNS = {
    "teacher": ("teacher",),
    "DistilHuBERT": DISTILHUBERT_110,
    "the same, `pocket-s`'s targets": ("distilhubert-targets-longest-0",),
    "`pocket`": LAYERS_110,
    "`pocket-heads`": EVEN_110,
    "`pocket-s`": POCKET_S_110,
    "random weights": ("random",),
    "log-mel": ("logmel",),
}
FIRST_SEEDS = {label: names[:1] for label, names in LONGEST_COLUMNS.items()}
POWERS = {
    "0.5": POCKET_110,
    "0.75": EVEN_110,
    "1": ("pocket-even-longest-0",),
    "0.5, eight layers x 288": ("pocket-deep-longest-0",),
}
PARTS_OF_POCKET = {
    "`pocket`": LAYERS_110,
    "the first seed": LAYERS_110[:1],
    "heads in place of pairs": ("pocket-twice-longest-0",),
    "four layers, passed once, behind two convolutions": ("pocket-once-layers-longest-0",),
    "targets divided by the square root": ("pocket-layers-root-longest-0",),
    "targets as they are": ("pocket-layers-plain-longest-0",),
    "`pocket-s` in the same way": ("pocket-s-layers-longest-0",),
}
HOURS = {
    "DistilHuBERT, 8 h": SMALL_STEPS,
    "DistilHuBERT, 110 h": DISTILHUBERT_110,
    "`pocket-heads`, 8 h": FLAGSHIP,
    "`pocket-heads`, 50 h": ("pocket-long-0",),
    "`pocket-heads`, 110 h": POCKET_110,
    "`pocket-s`, 50 h": ("pocket-s-long-0",),
    "`pocket-s`, 110 h": POCKET_S_110,
}
SCALES = {
    "the square root of the deviation": ("pocket-long-0",),
    "the deviation, and their own scale beside it": ("pocket-both-long-0",),
}
TARGETS = {
    "square root of the deviation": ("five-pocket-0",),
    "deviation": ("five-pocket-even-0",),
    "nothing, layers 4, 8 and 12 only": ("five-pocket-plain-0",),
}
WAYS = {"whole": "whole recordings", "bundle, whole": "the program, 320 ms"}  # 320 ms is what a bundle has first
WAYS |= {f"bundle, {size} ms": f"the program, {size} ms" for size in (80, 160)}
SMALL, TARGET = "small_", "targets_"  # parts of students that were trained in small steps, with floors of their own
LATER = "frames_"  # parts of students that were scored after the others, on the same tasks and items
LONG = "long_"  # parts of longer runs in small steps; their random weights are scaled by measured speech
LONGEST = "longest_"  # parts of the longest runs in small steps, three seeds each; the others are in parts of their own
MORE = ("longest_s_", "longest_variants_", "longest_targets_")
LAYERS = "layers_"  # `pocket` with its layers matched one by one; its random weights are of that shape
LAYERS_MORE = (*MORE, LONGEST, "layers_variants_")
DIARISED = ("layers_sd_suite", "longest_sd_suite")  # the tenth task, asked of the first seed of each: it is in no mean
SCALED = {SMALL: "random", "": "random-pocket-conv"}  # those random weights, of the shape of a part's students
Values = dict[str, float]


def part_of(document: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The same with the tasks and items of a part in place of the first ones; None where it was not measured."""
    suite, abx = (document.get(f"{name}{kind}") for kind in ("suite", "abx"))  # of "", the first ones
    if suite is None or abx is None:
        return None
    rest = {key: value for key, value in document.items() if key != "speed"}
    speed = {"speed": document[f"{name}speed"]} if f"{name}speed" in document else {}
    return {**rest, **speed, "suite": suite, "abx": abx}


def joined(document: dict[str, Any], part: str, *others: str) -> dict[str, Any]:
    """`part` in the place of the first tasks and items, and in it what other parts have measured of other models."""
    found = floored(document, part) if part in SCALED else part_of(document, part)
    if found is None:
        return document
    suite, abx = found["suite"], found["abx"]
    for other in others:
        later = document.get(f"{other}suite", {"tasks": {}})["tasks"]
        tasks = {name: among(later.get(name, {}), task) for name, task in suite["tasks"].items()}
        errors = {**document.get(f"{other}abx", {"errors": {}})["errors"], **abx["errors"]}
        suite, abx = {**suite, "tasks": tasks}, {**abx, "errors": errors}
    return {**found, "suite": suite, "abx": abx}


def floored(document: dict[str, Any], part: str) -> dict[str, Any] | None:
    """A part with random weights that are scaled by measured speech, of the long runs, in the place of its own."""
    found, scaled, name = part_of(document, part), part_of(document, LONG), SCALED[part]
    if found is None or scaled is None or name not in scaled["abx"]["errors"]:
        return found
    tasks = {}
    for task, one in found["suite"]["tasks"].items():
        other = scaled["suite"]["tasks"].get(task)
        if other is not None:
            tasks[task] = {**one, **{key: {**one[key], "random": other[key][name]} for key in ("scores", "ci95")}}
    errors = {**found["abx"]["errors"], "random": scaled["abx"]["errors"][name]}
    return {**found, "suite": {**found["suite"], "tasks": tasks}, "abx": {**found["abx"], "errors": errors}}


def among(later: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """A task with the scores that another part has of other models."""
    return {**task, **{key: {**later.get(key, {}), **task[key]} for key in ("scores", "ci95")}}


def mean(values: Values, names: Sequence[str]) -> float | None:
    """Over the seeds; None where one was not measured."""
    found = [values[name] for name in names if values.get(name) is not None]
    return statistics.fmean(found) if len(found) == len(names) else None


def cell(value: float | None, decimals: int = 3) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def task_rows(document: dict[str, Any]) -> list[tuple[str, Values, int]]:
    tasks = document["suite"]["tasks"]
    return [(f"{name}, {task['metric']}", task["scores"], 3) for name, task in tasks.items()]


def diarised_rows(document: dict[str, Any]) -> list[tuple[str, Values, int]]:
    found = [document[name]["tasks"]["sd"] for name in DIARISED if name in document]
    scores = {name: value for task in reversed(found) for name, value in task["scores"].items()}
    return task_rows({"suite": {"tasks": {"sd": {**found[0], "scores": scores}}}}) if found else []


def abx_rows(errors: dict[str, Any]) -> list[tuple[str, Values, int]]:
    return [(f"ABX {mode} speakers, %", best_abx(errors, mode), 1) for mode in ("within", "across")]


def main_rows(document: dict[str, Any], schemes: Sequence[str] = (SCHEME,)) -> list[tuple[str, Values, int]]:
    """(label, values of models, decimals) of the table of all students; time and size in each of the schemes."""
    students, errors = document["students"], document["abx"]["errors"]
    rows: list[tuple[str, Values, int]] = [
        ("parameters, M", {name: one["parameters"] / 1e6 for name, one in students.items()}, 2),
        ("GMAC/s", {name: one["macs_per_s"] / 1e9 for name, one in students.items()}, 2),
    ]
    for scheme in schemes if "speed" in document else ():
        speed = {name: one[scheme]["320 ms"] for name, one in document["speed"]["sides"].items()}
        rows.append((f"{scheme}, ms per second of audio", by_kind(speed, "cpu_ms_per_s"), 1))
        if len(schemes) > 1:
            rows.append((f"{scheme}, dB from float32", by_kind(speed, "snr_db"), 0))
        size_mb = {name: value / 1e6 for name, value in by_kind(speed, "size_bytes").items()}
        rows.append(("program, MB" if len(schemes) == 1 else f"{scheme}, MB", size_mb, 1))
    rows += task_rows(document)
    rows += abx_rows(errors)
    return [*rows, kept_row(document)]


def kept_row(document: dict[str, Any]) -> tuple[str, Values, int]:
    return "kept above the floor, %", kept_percent(document["suite"]), 0


def by_kind(speed: dict[str, Any], key: str) -> Values:
    """What was measured of one student of a kind stands for all of its seeds: their arithmetic is the same."""
    found = {}
    for names in (*COLUMNS.values(), *FLAGSHIP_COLUMNS.values(), *LONGEST_COLUMNS.values()):
        measured = [name for name in names if name in speed]
        found |= dict.fromkeys(names, speed[measured[0]][key]) if measured else {}
    return found


def table(head: str, columns: dict[str, Sequence[str]], rows: Sequence[tuple[str, Values, int]]) -> list[str]:
    lines = [f"| {head} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for label, values, decimals in rows:
        cells = (cell(mean(values, names), decimals) for names in columns.values())
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def markdown(document: dict[str, Any]) -> str:
    """The tables of docs/benchmarks.md."""
    lines = [*longest_tables(document), *flagship_tables(document)]
    document = joined(document, "", LATER)
    students, errors = document["students"], document["abx"]["errors"]
    abx = abx_rows(errors)
    cosines = {name: value for name, one in students.items() if (value := cosine_6(one)) is not None}
    lines += [*table("of the ten tasks", COLUMNS, main_rows(document)), ""]
    lines += [*table("norm or front end", VARIANTS, [*task_rows(document), *abx]), ""]
    if FRAMES[0] in document["abx"]["errors"]:
        lines += [*table("of the ten tasks", LATER_COLUMNS, main_rows(document)), ""]
    rows = {label: names for label, names in ABLATION.items() if mean(abx[0][1], names) is not None}
    lines += ["| `pocket-conv-s` | ABX within, % | across, % | cosine at layer 6 |", "|---|---|---|---|"]
    for label, names in rows.items():
        found = [cell(mean(values, names), 1) for _, values, _ in abx]
        lines.append(f"| {label} | {' | '.join([*found, cell(mean(cosines, names))])} |")
    lines += (
        ["", *ways_table("`pocket-conv`, the first seed", document["ways"]["pocket-conv-0"])]
        if "ways" in document
        else []
    )
    lines += ["", *five_hours_table(document["five_hours"])] if "five_hours" in document else []
    return "\n".join([*lines, "", *(f"- {line}" for line in wins(document))])


def flagship_tables(document: dict[str, Any]) -> list[str]:
    """`pocket` and DistilHuBERT in small steps, task by task, and what their targets are divided by."""
    lines: list[str] = []
    small, targets = floored(document, SMALL), part_of(document, TARGET)
    if small is not None:
        rows = main_rows(small, ("int8", SCHEME))
        lines += [*table("of the ten tasks, 8 h of audio", FLAGSHIP_COLUMNS, rows), ""]
        lines += [*(f"- {line}" for line in wins(small, FLAGSHIP, SMALL_STEPS)), ""]
    if f"{SMALL}ways" in document:
        lines += [*ways_table("`pocket-heads`, the first seed", document[f"{SMALL}ways"][FLAGSHIP[0]]), ""]
    if targets is not None:
        abx = [(f"ABX {mode}, %", best_abx(targets["abx"]["errors"], mode), 1) for mode in ("within", "across")]
        rows = [*task_rows(targets), *abx]
        lines += [*turned("`pocket-heads`, 5 h of audio, targets divided by", TARGETS, rows), ""]
    return lines


def longest_tables(document: dict[str, Any]) -> list[str]:
    """The longest runs in small steps: at equal audio, what their targets are divided by, and how runs go on."""
    if part_of(document, LONGEST) is None or part_of(document, LAYERS) is None:
        return []
    found = layers_found(document)
    rows = main_rows(found, ("int8", SCHEME))
    lines = [*table("of the ten tasks, 110 h of audio", LONGEST_COLUMNS, rows), ""]
    lines += [*(f"- {line}" for line in wins(found, LAYERS_110, DISTILHUBERT_110)), ""]
    lines += [*table("the first seed of each", FIRST_SEEDS, diarised_rows(document)), ""]
    lines += [*turned("`pocket`, 110 h", PARTS_OF_POCKET, parts_rows(found)), ""]
    found = joined(document, LONGEST, *MORE)
    rows = [*task_rows(found), *abx_rows(found["abx"]["errors"]), kept_row(found)]
    lines += [*table("targets divided by the deviation to the power of", POWERS, rows), ""]
    shorter = joined(document, LONGEST, "longest_s_", LONG, SMALL)
    lines += [*table("steps of 20 s", HOURS, [*abx_rows(shorter["abx"]["errors"]), kept_row(shorter)]), ""]
    both = joined(document, LONGEST, LONG, "both_")
    rows = [*task_rows(both), *abx_rows(both["abx"]["errors"]), kept_row(both)]
    lines += [*table("`pocket-heads`, 50 h of audio, targets divided by", SCALES, rows), ""]
    every = {**document.get(f"{LAYERS}ways", {}), **document.get(f"{LONGEST}ways", {})}
    for name, ways in every.items():
        label = next(label for label, names in LONGEST_COLUMNS.items() if name in names)
        lines += [*ways_table(f"{label}, 110 h", ways), ""]
    return lines


def layers_found(document: dict[str, Any], *others: str) -> dict[str, Any]:
    """`pocket` as it is, with what other parts have of DistilHuBERT, of what `pocket` was, and of `pocket-s`."""
    found = joined(document, LAYERS, *LAYERS_MORE, *others)
    second = document[f"{LONGEST}suite"]["tasks"]
    tasks = {name: with_better_floor(task, second[name]) for name, task in found["suite"]["tasks"].items()}
    found |= {"suite": {**found["suite"], "tasks": tasks}}
    sides = {**document[f"{LONGEST}speed"]["sides"], **document.get(f"{LAYERS}speed", {"sides": {}})["sides"]}
    return {**found, "speed": {"sides": sides}}


def with_better_floor(task: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A task with those random weights, of two shapes, that do better in it: both are floors of all students."""
    better = max(task, other, key=lambda one: quality(one["metric"], one["scores"]["random"]))
    return {**task, **{key: {**task[key], "random": better[key]["random"]} for key in ("scores", "ci95")}}


def parts_rows(found: dict[str, Any]) -> list[tuple[str, Values, int]]:
    """What every variant was asked: ABX, intents and slots."""
    tasks = dict(zip(found["suite"]["tasks"], task_rows(found), strict=True))
    return [*abx_rows(found["abx"]["errors"]), tasks["ic"], tasks["sf"]]


def turned(head: str, columns: dict[str, Sequence[str]], rows: Sequence[tuple[str, Values, int]]) -> list[str]:
    """`table` with a line for each of the columns."""
    lines = [f"| {' | '.join((head, *(label for label, _, _ in rows)))} |", "|---" * (len(rows) + 1) + "|"]
    for label, names in columns.items():
        cells = (cell(mean(values, names), decimals) for _, values, decimals in rows)
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def card_table(document: dict[str, Any], name: str, run: str) -> list[str]:
    """What stands in the card of a student that comes with the package: its scores, its teacher's, and both floors."""
    if part_of(document, LONGEST) is None:
        return []
    found = layers_found(document) if run in LAYERS_110 else joined(document, LONGEST, *MORE)
    columns = {f"`{name}`": (run,), "teacher": ("teacher",), "random weights": ("random",), "log-mel": ("logmel",)}
    rows = [*task_rows(found), *abx_rows(found["abx"]["errors"])]
    return [
        *table("", columns, rows),
        f"| kept above the floor, % | {cell(kept_percent(found['suite'])[run], 0)} | | | |",
    ]


def five_hours_table(part: dict[str, Any]) -> list[str]:
    """What short runs of `pocket-conv-s` had, and what came of it."""
    heads = ("norm of the convolutions", "norms", "seconds a step", "learning rate", "clusters")
    found = ("cosine at layer 6", "ABX within, %", "across, %", "int8, dB")
    lines = [f"| {' | '.join((*heads, *found))} |", "|---" * (len(heads) + len(found)) + "|"]
    best = {mode: best_abx(part["errors"], mode) for mode in ("within", "across")}
    for name, run in part["runs"].items():
        asked = (run["conv_norm"], "before blocks" if run["pre_norm"] else "after", f"{run['batch_s']:g}")
        asked += (f"{run['lr']:g}", f"{run['clusters_weight']:g}")
        errors = (f"{best[mode][name]:.1f}" for mode in ("within", "across"))
        cells = (*asked, f"{run['valid_cosine']['6']:.3f}", *errors, f"{run['int8_snr_db']:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def ways_table(head: str, ways: dict[str, Any]) -> list[str]:
    """ABX of the last layer of one run, as it hears whole recordings and chunks, in float32 and as a program."""
    lines = [f"| {head} | ABX within, % | across, % |", "|---|---|---|"]
    for way, one in ways.items():
        within, across = (100 * one[mode][-1] for mode in ("within", "across"))
        lines.append(f"| {WAYS.get(way, way)} | {within:.1f} | {across:.1f} |")
    return lines


def cosine_6(student: dict[str, Any]) -> float | None:
    return student["valid_cosine"].get("6")


def wins(document: dict[str, Any], ours: Sequence[str] = POCKET, peers: Sequence[str] = DISTILHUBERT) -> list[str]:
    """Task by task, whether the mean of our seeds is better, and whether each of our runs beats each of the peer's."""
    found = []
    for name, values, smaller in judged(document):
        if mean(values, ours) is None or mean(values, peers) is None:
            continue
        a, b = ([(-1 if smaller else 1) * values[one] for one in side] for side in (ours, peers))
        verdict = "better" if statistics.fmean(a) > statistics.fmean(b) else "worse"
        apart = min(a) > max(b) or min(b) > max(a)
        found.append(f"{name}: {verdict}" + (", each of the runs" if apart else ", the runs overlap"))
    return found


def judged(document: dict[str, Any]) -> list[tuple[str, Values, bool]]:
    """(name, values, whether smaller is better) of every task and of ABX."""
    lower = {"EER", "DER", "PER", "WER"}
    tasks = [(name, task["scores"], task["metric"] in lower) for name, task in document["suite"]["tasks"].items()]
    errors = document["abx"]["errors"]
    return [*tasks, *((f"abx-{mode}", best_abx(errors, mode), True) for mode in ("within", "across"))]


def kept_percent(suite: dict[str, Any]) -> Values:
    """What each student keeps above the floor, the mean over the tasks that count, see `evaluate.retention`."""
    tasks = {name: {**task, **task["scores"]} for name, task in suite["tasks"].items()}
    names = [name for name in next(iter(tasks.values()))["scores"] if name not in ("teacher", "random", "logmel")]
    means = retention({"tasks": tasks, "against": names})["mean"]
    return {name: 100 * means[name]["kept_above_floor"] for name in names}


def best_abx(errors: dict[str, Any], mode: str) -> Values:
    """Of the best layer of each model, which is chosen on these very items, for all of them alike."""
    return {name: 100 * one[mode][one["best"]] for name, one in errors.items()}


def main() -> None:
    print(markdown(Parts("students")), flush=True)


if __name__ == "__main__":
    main()
