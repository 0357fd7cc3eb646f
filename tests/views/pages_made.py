"""Documents that stand for real runs, and the pages that are made of them."""

import numpy as np
from profiled import made

from speechpress.compressor.evaluate.report import write_report
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.search.report import Report
from speechpress.compressor.search.rows import blank
from speechpress.compressor.search.space import load_space
from speechpress.compressor.study.report import write_study
from speechpress.devices.etdump import Event, share_out
from speechpress.devices.record import settle
from speechpress.devices.report import build, write_html

LONG = "distilhubert-streaming-with-a-rather-long-name"


def write_all(folder):
    """{name: path} of a page of every kind."""
    write_report([evaluation("runs/pocket"), evaluation(f"runs/{LONG}", against=False)], folder / "eval.html")
    write_html(folder / "profile.html", build(profiles(), [made(10.0, seed=9)]))
    write_study(study(), folder / "study")
    search(folder / "search")
    return {
        "evaluation": folder / "eval.html",
        "profile": folder / "profile.html",
        "study": folder / "study" / "study.html",
        "search": folder / "search" / "search.html",
    }


def profiles():
    """Three bundles, one with operators, one that stopped."""
    events = [Event("Convolution #1", 2.0, True), Event("DELEGATE_CALL", 2.1, False)]
    events.append(Event("native_call_add.out", 0.3, False))
    fast = made(4.0, seed=1, quantize="int8", size_bytes=8_900_000)
    fast["accuracy"]["parity"] = {"max_abs": 0.1, "snr_db": 18.0, "cosine": 0.99}
    fast["operators"] = share_out(events, {"kernels": {"add.out": ["stream"]}, "partitions": [["feature_extractor.0"]]})
    stopped = made(9.0, seed=2, name=LONG)
    reason = {"message": "ssh:pi@board: the connection was lost", "exit_code": 1}
    stopped |= {"finished": False, "paces": {}, "stopped": reason}
    settle(stopped)
    slow = made(12.0, seed=3)
    slow["warnings"] = [{"name": "heat", "text": "it became 84 °C hot"}]
    return [slow, fast, stopped]


def evaluation(checkpoint, against=True):
    """As `evaluate.suite.evaluate_suite` returns it."""

    def task(metric, *scores):
        found = dict(
            zip(("student", "teacher", "random", "logmel", *(["tiny"] if against else [])), scores, strict=False)
        )
        return {
            "metric": metric,
            **found,
            "ci95": {name: [max(0, score - 0.02), score + 0.02] for name, score in found.items()},
            "ci95_method": "bootstrap over clips and seeds",
            "notes": [f"a note on {metric}"],
        }

    sizes = {"student": 34e6, "random": 34e6, "logmel": 0, "teacher": 378e6, **({"tiny": 5e6} if against else {})}
    return {
        "checkpoint": checkpoint,
        "layers": "weighted",
        "latency": None,
        "hours": 1.5,
        "budget": {"steps": 300, "batch": 16, "lrs": [0.001, 0.01], "seeds": 3},
        "size_bytes": sizes,
        "against": ["tiny"] if against else [],
        "tasks": {
            "ks": task("accuracy", 0.8, 0.9, 0.4, 0.3, 0.3),
            "ic": task("accuracy", 0.71, 0.88, 0.35, 0.2, 0.3),
            "pr": task("PER", 0.3, 0.1, 0.8, 0.9, 0.7),
            "asr": task("WER", 0.35, 0.15, 0.9, 0.95, 0.8),
            "asv": task("EER", 0.3, 0.2, 0.4, 0.1, 0.3),
        },
        "notes": ["asv: logmel above the student: the student kept nothing of the teacher here"],
        "seconds": {"features": 1.0, "all": 2.0},
    }


def study(layers=7):
    """As `study.study.study_layers` returns it, of a teacher of six layers."""
    near = 1 - np.abs(np.subtract.outer(np.arange(layers), np.arange(layers))) / layers

    def score(test):
        return {"test": test, "val": test, "ci95": [test - 0.03, test + 0.03]}

    def task(shift):
        tests = 0.35 + 0.5 * np.exp(-((np.arange(layers) - shift) ** 2) / 10)
        return {
            "layers": [{"layer": k, **score(float(test))} for k, test in enumerate(tests)],
            "weighted": {**score(0.86), "layer_weights": (tests / tests.sum()).tolist()},
            "best_layer": shift,
            "random": score(0.3),
            "logmel": score(0.42),
            "chance": 0.1,
            "classes": 10,
            "clips": {"test": 400},
            "notes": [],
        }

    tasks = {"ks": task(5), "sid": task(2)}
    names = ("2-5", "3-6", "6")
    students = {
        name: {
            "layers": [int(part) for part in name.split("-")],
            "tasks": {name: score(0.6 + 0.05 * n) for name in tasks},
            "r2": 0.5 + 0.1 * n,
            "parameters": 23_500_000,
            "steps": 200,
        }
        for n, name in enumerate(names)
    }
    kinds = (["suggested-2"], ["even-2"], ["last"])
    arms = [
        {"student": name, "layers": students[name]["layers"], "kinds": kind, "accuracy": 0.6, "noise": 0.02, "r2": 0.5}
        for name, kind in zip(names, kinds, strict=True)
    ]
    steps = [{"layer": layer, "gain": 0.2, "reason": f"layer {layer} adds most to the coverage"} for layer in (5, 2, 6)]
    return {
        "teacher": {
            **{"source": "facebook/hubert-base-ls960", "family": "hubert", "depth": layers - 1, "width": 768},
            **{"parameters": 94_370_000, "supervised": False},
        },
        "tasks": tasks,
        "suggestion": {"layers": [2, 5], "heads": 2, "steps": steps, "reason": "distil layers 2 and 5"},
        "cka": {
            "teacher": near.tolist(),
            "students": {name: near[:, :5].tolist() for name in names},
            "frames": 12_000,
            "seconds": 240.0,
        },
        "students": students,
        "comparison": {
            **{"arms": arms, "recipe": "distilhubert", "steps": 200, "data": ["speechocean762"], "sets": []},
            "verdict": ["2 heads: suggested 0.62, evenly spaced 0.60", "the suggestion holds: 0.62 against 0.60"],
        },
        "notes": [],
        "skipped": [],
        "hours": 1.2,
        "seeds": 1,
        "seconds": 600.0,
    }


def search(folder):
    """A search of a dozen trials, with its files."""
    space, rows = load_space(None), []
    for number in range(12):
        p50_ms, fidelity = 1.0 + 0.5 * number, 0.35 + 0.02 * number + 0.03 * (number % 3)
        figures = {"state": "done", "p50_ms": p50_ms, "p99_ms": 1.2 * p50_ms, "ms_per_s": 10 * p50_ms, "chunk_ms": 80.0}
        figures |= {"macs_per_s": 3e8 * p50_ms, "size_bytes": 2.5e6 * p50_ms, "fidelity": fidelity}
        row = blank(number, space.shape(dict.fromkeys(space.choices, 0))) | figures
        over = {"state": "skipped", "fidelity": None, "reason": "over budget by measurement"}
        rows.append(row | (over if p50_ms > 5.0 else {}))
    report = Report(load_recipe("pocket-heads"), space, folder, 5.0, "chunk", "host", 20, "hubert-mini")
    return report.write(rows)
