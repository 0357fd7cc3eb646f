"""Tables and the picture of benchmarks/students.py, from results/students.json.

python benchmarks/students_table.py            # prints the tables, draws docs/students.svg
"""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from common import ROOT, Parts

from speechpress.compressor.evaluate.retention import retention

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
    "`pocket`": FLAGSHIP,
    "random weights": ("random",),
    "log-mel": ("logmel",),
}
SHOWN = {
    "pocket, 8 h": FLAGSHIP,
    "DistilHuBERT, 8 h": SMALL_STEPS,
    "DistilHuBERT, 101 h": DISTILHUBERT,
    "pocket-conv, 101 h": POCKET,
    "pocket-conv-s, 101 h": POCKET_S,
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
Values = dict[str, float]


def part_of(document: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The same with the tasks and items of a part in place of the first ones; None where it was not measured."""
    suite, abx = (document.get(f"{name}{kind}") for kind in ("suite", "abx"))
    if suite is None or abx is None:
        return None
    rest = {key: value for key, value in document.items() if key != "speed"}
    speed = {"speed": document[f"{name}speed"]} if f"{name}speed" in document else {}
    return {**rest, **speed, "suite": suite, "abx": abx}


def joined(document: dict[str, Any]) -> dict[str, Any]:
    """The same with students that were scored later among the others."""
    if not {f"{LATER}suite", f"{LATER}abx"} <= set(document):
        return document
    later = document[f"{LATER}suite"]["tasks"]
    tasks = {
        name: {**task, **{key: {**later.get(name, {}).get(key, {}), **task.get(key, {})} for key in ("scores", "ci95")}}
        for name, task in document["suite"]["tasks"].items()
    }
    errors = {**document[f"{LATER}abx"]["errors"], **document["abx"]["errors"]}
    return {**document, "suite": {**document["suite"], "tasks": tasks}, "abx": {**document["abx"], "errors": errors}}


def mean(values: Values, names: Sequence[str]) -> float | None:
    """Over the seeds; None where one was not measured."""
    found = [values[name] for name in names if values.get(name) is not None]
    return statistics.fmean(found) if len(found) == len(names) else None


def cell(value: float | None, decimals: int = 3) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def task_rows(document: dict[str, Any]) -> list[tuple[str, Values, int]]:
    tasks = document["suite"]["tasks"]
    return [(f"{name}, {task['metric']}", task["scores"], 3) for name, task in tasks.items()]


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
    rows += [(f"ABX {mode} speakers, %", best_abx(errors, mode), 1) for mode in ("within", "across")]
    return [*rows, ("kept above the floor, %", kept_percent(document["suite"]), 0)]


def by_kind(speed: dict[str, Any], key: str) -> Values:
    """What was measured of one student of a kind stands for all of its seeds: their arithmetic is the same."""
    found = {}
    for names in (*COLUMNS.values(), *FLAGSHIP_COLUMNS.values()):
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
    lines = flagship_tables(document)
    document = joined(document)
    students, errors = document["students"], document["abx"]["errors"]
    abx = [(f"ABX {mode} speakers, %", best_abx(errors, mode), 1) for mode in ("within", "across")]
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
    small, targets = part_of(document, SMALL), part_of(document, TARGET)
    if small is not None:
        rows = main_rows(small, ("int8", SCHEME))
        lines += [*table("of the ten tasks, 8 h of audio", FLAGSHIP_COLUMNS, rows), ""]
        lines += [*(f"- {line}" for line in wins(small, FLAGSHIP, SMALL_STEPS)), ""]
    if f"{SMALL}ways" in document:
        lines += [*ways_table("`pocket`, the first seed", document[f"{SMALL}ways"][FLAGSHIP[0]]), ""]
    if targets is not None:
        abx = [(f"ABX {mode}, %", best_abx(targets["abx"]["errors"], mode), 1) for mode in ("within", "across")]
        rows = [*task_rows(targets), *abx]
        heads = ["`pocket`, 5 h of audio, targets divided by", *(label for label, _, _ in rows)]
        lines += [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for label, names in TARGETS.items():
            cells = (cell(mean(values, names), decimals) for _, values, decimals in rows)
            lines.append(f"| {label} | {' | '.join(cells)} |")
        lines.append("")
    return lines


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


def picture(document: dict[str, Any]) -> Any:
    """Cost against ABX across speakers of all, and what is kept of those in small steps; a point for each run."""
    from matplotlib import pyplot

    small = part_of(document, SMALL) or document
    students, kept = document["students"], kept_percent(small["suite"])
    errors = best_abx({**document["abx"]["errors"], **small["abx"]["errors"]}, "across")
    figure, (left, right) = pyplot.subplots(1, 2)
    for label, names in SHOWN.items():
        for panel, values in ((left, errors), (right, kept)):
            there = [name for name in names if name in values]
            costs = [students[name]["macs_per_s"] / 1e9 for name in there]
            panel.scatter(costs, [values[name] for name in there], s=36, label=label)
    left.axhline(errors["logmel"], linestyle="--", linewidth=1, color="#5b6776")
    left.axhline(errors["teacher"], linestyle=":", linewidth=1, color="#5b6776")
    left.annotate("log-mel", (0.06, errors["logmel"]), xytext=(2, 3), textcoords="offset points")
    left.annotate("teacher", (0.06, errors["teacher"]), xytext=(2, 3), textcoords="offset points")
    left.set(title="ABX across speakers, % (lower is better)", xlabel="GMAC per second of audio", xlim=(0, 1))
    right.axhline(0, linestyle="--", linewidth=1, color="#5b6776")
    right.set(title="Kept above the floor, %, after 8 h", xlabel="GMAC per second of audio", xlim=(0, 1))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def main() -> None:
    from speechpress.compressor.views.figures import drawn
    from speechpress.runtime.atomic import write_text

    document = Parts("students")
    print(markdown(document), flush=True)
    draw: Callable[[], Any] = partial(picture, document)
    write_text(ROOT / "docs" / "students.svg", drawn(draw, "students")[0])


if __name__ == "__main__":
    main()
