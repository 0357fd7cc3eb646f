"""Hostile and odd documents for every border where files come in, made by code, and what the product does with each.

Run as a program it tries every n-th case of one border in a process of its own, whose memory and time are watched and
in which nothing may be executed or connected, and prints one JSON line per case.
"""

import copy
import io
import itertools
import json
import math
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

MEMORY_BYTES, HANG_S = 10**9, 30
EVENTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "pty.spawn")
DEEP = 100_000


def deep(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


WRONG = {
    "null": None,
    "true": True,
    "text": "wrong",
    "surrogate": "\ud800",
    "escape": "\x1b[2J\n",
    "long": "9" * 200_000,
    "list": [],
    "nested": [[1], {"a": None}],
    "object": {},
    "negative": -1,
    "zero": 0,
    "part": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "1e9": 10**9,
    "1e30": 10**30,
}


def paths(value, path=()):
    """Every place of a document, its own included, except single items after the first of a list."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in inner:
        yield from paths(item, (*path, key))


def put(document, path, value):
    changed = copy.deepcopy(document)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return changed


def at(document, path):
    for key in path:
        document = document[key]
    return document


def without(document, path):
    changed = copy.deepcopy(document)
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    return changed


def kind(value):
    return "number" if type(value) in (int, float) else type(value).__name__


def mutations(document, where=(), values=WRONG):
    """(name, changed document, whether its JSON type fits): each place with each value, and without it."""
    for path in paths(at(document, where)):
        place = (*where, *path)
        before = at(document, place)
        name = ".".join(map(str, place))
        for word, value in values.items():
            fits = kind(value) == kind(before) and not (kind(value) == "number" and not math.isfinite(value))
            if type(before) is int and type(value) is float:
                fits = False
            if value != before:
                yield f"{name}={word}", put(document, place, value), fits
        yield f"{name} missing", without(document, place), False


def nested(document, path):
    """The document as text with 100,000 lists in one place."""
    return json.dumps(put(document, path, "DEEP")).replace('"DEEP"', "[" * DEEP + "]" * DEEP)


def encoder_folder(folder):
    """A checkpoint of four tiny layers, as the fixture `tiny_config` has them."""
    from speechpress.compressor.models.checkpoint import save_encoder
    from speechpress.compressor.models.config import EncoderConfig
    from speechpress.compressor.models.encoder import Encoder

    sizes = {"conv_channels": (16,) * 7, "width": 32, "head_dim": 8, "pos_conv_kernel": 16, "pos_conv_groups": 4}
    save_encoder(folder, Encoder(EncoderConfig(num_heads=(4,) * 4, ffn_widths=(64,) * 4, **sizes)))


# ---- borders: each yields (name, must be refused, function without arguments) ----


def own_config(folder):
    from speechpress.compressor.cli.show import show
    from speechpress.compressor.models.checkpoint import load_checkpoint

    encoder_folder(folder / "a")
    path = folder / "a" / "config.json"
    document = {"model_type": "hubert", "speechpress": json.loads(path.read_text())["speechpress"]}
    encoder = document["speechpress"]["encoder"]

    def load(text):
        def run():
            path.write_text(text, encoding="utf-8", errors="surrogatepass")
            opened = load_checkpoint(path.parent)
            found, meant = opened.encoder.config.to_dict(), json.loads(text)["speechpress"]["encoder"]
            assert all(found[key] == value for key, value in meant.items()), "another config than was asked for"
            show(str(path.parent))

        return run

    for name, changed, fits in mutations(document, ("speechpress",)):
        optional = name.endswith((" missing", "=null"))
        yield name, not (fits or optional or _unread(name)), load(json.dumps(changed))
    sizes = {"num_heads": [4] * 10**4, "ffn_widths": [64] * 10**4}
    layers = {"num_heads": [4] * 999, "ffn_widths": [64] * 999}
    for name, more in {
        "10^4 layers": sizes,
        "999 layers": layers,
        "wide": {"width": 65536, "ffn_widths": [10**6] * 4},
        "many heads": {"num_heads": [4096] * 4},
        "long kernel": {"pos_conv_kernel": 8192},
        "hop": {"conv_strides": [16000] * 7},
        "no front end": {"conv_channels": [], "conv_kernels": [], "conv_strides": []},
        "unknown key": {"wings": 2},
    }.items():
        yield name, True, load(json.dumps(put(document, ("speechpress", "encoder"), encoder | more)))
    for path_in in (("speechpress",), ("speechpress", "encoder"), ("speechpress", "encoder", "width"), ("x",)):
        yield f"deep {path_in}", True, load(nested(document, path_in))


def _unread(name):
    return name == "speechpress.encoder.pos_conv_future=zero"  # it may be null or a number


def card(folder):
    from speechpress.compressor.cli.show import show
    from speechpress.compressor.cli.show_tables import show_table
    from speechpress.compressor.models.checkpoint import ancestry, load_checkpoint

    encoder_folder(folder / "a")
    path = folder / "a" / "card.json"
    parent = {"path": "runs/a", "sha256": "a" * 64, "recipe": "mine", "steps": 3, "prune": None}
    document = {
        "schema": 1,
        "finished": True,
        "supervised": False,
        "recipe": {"name": "mine", "train": {"seed": 0}},
        "teacher": {"source": "a/b", "sha256": "b" * 64, "width": 32},
        "match": {"layers": [4]},
        "parents": [parent],
        "prune": {"method": "l0", "width": [64, 32], "units": {"head": [[4, 2]]}, "layers": {"a.b": 0.5}},
        "quantize": {"scheme": "int8", "parent": {"path": "runs/q", "sha256": "c" * 64}},
        "notes": ["said"],
        "data": {"source": "clips", "hours": 1.0, "fingerprint": "d"},
        "steps": 7,
        "audio_h": 0.5,
        "valid": {"start": {"4": {"cosine": 0.1}}, "end": {"4": {"cosine": 0.2}}},
        "versions": {"torch": "2"},
    }

    def load(text):
        def run():
            from rich.console import Console

            path.write_text(text, encoding="utf-8", errors="surrogatepass")
            load_checkpoint(path.parent)
            ancestry(str(path.parent))
            Console(file=io.StringIO(), width=100).print(show_table(show(str(path.parent))))

        return run

    few = {word: WRONG[word] for word in ("null", "text", "surrogate", "list", "object", "negative", "nan", "1e9")}
    for name, changed, fits in mutations(document, values=few):
        measured = any(word in name for word in ("cosine", "audio_h", "layers.a.b")) and name.endswith(("nan", "inf"))
        whole = name.split("=")[0] in ("recipe", "parents.0.recipe")  # a name, a text or a section
        optional = name.endswith((" missing", "=null")) or measured or whole
        yield name, not (fits or optional), load(json.dumps(changed))
    for place in [("notes",), ("valid", "end"), ("x",)]:
        yield f"deep {place}", True, load(nested(document, place))


def eval_file(folder):
    from speechpress.compressor.models.checkpoint import sha256
    from speechpress.compressor.models.scores import scores_of, stamped, write_back
    from speechpress.runtime.json_file import read_json

    encoder_folder(folder / "a")
    task = {
        "metric": "accuracy",
        "student": 0.5,
        "teacher": 0.6,
        "quality": {"student": 0.5},
        "ci95": {"student": [0.4, 0.6]},
    }
    document = {
        "suite": "mini",
        "created": "now",
        "of": {"weights_sha256": sha256(folder / "a" / "model.safetensors")},
        "layers": "weighted",
        "latency": {"chunk_ms": 320.0},
        "tasks": {"ks": task},
    }
    (folder / "a" / "card.json").write_text("{}")

    def load(text, refused):
        def run():
            path = folder / "a" / "eval.json"
            path.write_text(text, encoding="utf-8", errors="surrogatepass")
            assert not (refused and scores_of(path.parent) is not None), "accepted"
            scores_of(path.parent)
            new = {"tasks": {"sid": task}, "layers": "weighted", "latency": None, "budget": None, "against": []}
            write_back(stamped(new, "mini", path.parent), path.parent)
            assert read_json(path)["tasks"]["sid"] == task

        return run

    for name, changed, fits in mutations(document):
        loose = name.endswith((" missing", "=null", "nan", "inf"))
        yield name, False, load(json.dumps(changed), not (fits or loose))
    yield "deep", False, load(nested(document, ("tasks",)), True)


def quantize(folder):
    from speechpress.compressor.quantize.scheme import load_quantization

    static = {"how": "static", "input": [-1.0, 1.0], "output": [0.5, 2.5]}
    document = {"schema": 1, "scheme": "int8", "operators": {"a.b": static}, "parent": {"path": "runs/a"}}

    def load(text):
        def run():
            (folder / "quantize.json").write_text(text, encoding="utf-8", errors="surrogatepass")
            load_quantization(folder)

        return run

    for name, changed, fits in mutations(document):
        optional = name.startswith("parent") and name.endswith("missing")
        yield name, not (fits or optional or name == "operators.a.b missing"), load(json.dumps(changed))
    for place in [("operators",), ("x",)]:
        yield f"deep {place}", True, load(nested(document, place))


def profile(folder):
    from profiled import made

    from speechpress.compressor.cli.measure_tables import profile_table, report_table, summary
    from speechpress.devices.record import read_record
    from speechpress.devices.report import build, find_records, write_csv, write_html, write_markdown

    document = made()
    for pace in document["paces"].values():  # short, so that many can be drawn
        pace.update(start_s=pace["start_s"][:3], ms=pace["ms"][:3], samples=pace["samples"][:1])
    document["accuracy"]["scores"] = {
        "of": "bundle",
        "suite": "mini",
        "layers": "last",
        "chunk_ms": 320.0,
        "qualities": {"ks": 0.5},
    }
    document["warnings"] = [{"name": "heat", "text": "hot"}]
    bar = {"operator": "GEMM", "where": "outside", "ms": 1.0, "share": 0.5, "calls": 2}
    layer = {"layer": "layer 1", "ms": 1.0, "share": 0.5, "outside_ms": 0.0}
    shares = {"outside_share": 0.1, "known_share": 1.0, "total_ms": 2.0}
    document["operators"] = {**shares, "by_operator": [bar], "by_layer": [layer]}
    (folder / "b").mkdir()
    (folder / "b" / "good.json").write_text(json.dumps(document))
    good = read_record(folder / "b" / "good.json")

    def load(text):
        def run():
            path = folder / "a.json"
            path.write_text(text, encoding="utf-8", errors="surrogatepass")
            record = find_records([path])[0]
            view = build([record, good], [good])
            for name, write in (("html", write_html), ("md", write_markdown), ("csv", write_csv)):
                write(folder / f"out.{name}", view)
            report_table(view.document()), profile_table(record), summary(record, path)

        return run

    values = {word: WRONG[word] for word in ("null", "text", "list", "negative", "nan")}
    loose = (
        "bundle.path",
        "bundle.digest",
        "bundle.method",
        "bundle.lineage",
        "device",
        "settings",
        "load",
        "accuracy",
    )
    loose += ("golden", "paces.real", "paces.flat", "result", "operators", "stopped")
    for name, changed, fits in mutations(document, values=values):
        unread = name.startswith(loose) and name.endswith(("missing", "null", "nan"))
        ignored = name.startswith(UNREAD_OF_A_PROFILE)
        yield name, not (fits or unread or ignored), load(json.dumps(changed))
    for place in [("device",), ("paces", "real", "ms"), ("x",)]:
        yield f"deep {place}", True, load(nested(document, place))


UNREAD_OF_A_PROFILE = (
    "bundle.lineage.fidelity",
    "bundle.lineage.parents",
    "accuracy.tolerance.max_abs",
    "device.memory_bytes",
    "device.cores.0.core",
    "device.cores.0.min_khz",
    "device.cores.0.capacity",
    "device.load_1min",
    "device.cpu_limit_cores",
    "device.on_battery",
    "device.power_saving",
    "device.throttled",
    "settings.chunks",
    "golden.method",
    "golden.tolerance",
    "load.base_rss_bytes",
    "load.peak_rss_bytes",
    "operators.total_ms",
    "operators.by_operator.0.calls",
    "bundle.versions.",
    "warnings.0 missing",
    "paces.real.samples",
    "paces.flat.samples",
    "settings.cores",
    "result.chunks",
)


# ---- trying them ----


def tried(name, must_refuse, run, events):
    """One case as it ended: refused, accepted, wrong (accepted though it must not be), trace or hang."""
    from speechpress.runtime.errors import SpeechpressError

    def ring(*_):
        raise TimeoutError

    Path("/proc/self/clear_refs").write_text("5")  # the peak of resident memory begins anew
    before, start = memory_bytes("VmRSS"), time.monotonic()
    events.clear()
    signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANG_S)
    try:
        run()
        outcome, text = ("wrong", "") if must_refuse else ("accepted", "")
    except SpeechpressError as error:
        outcome, text = "refused", str(error)
    except TimeoutError:
        outcome, text = "hang", traceback.format_exc(limit=-3)
    except BaseException:
        outcome, text = "trace", traceback.format_exc(limit=-6)
    finally:
        signal.alarm(0)
    return {
        "name": name,
        "outcome": outcome,
        "text": text[-1500:],
        "executed": [event for event in events if event in EVENTS],
        "peak_bytes": memory_bytes("VmHWM") - before,
        "seconds": time.monotonic() - start,
    }


def memory_bytes(field):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def main(border, every):
    import hostile_models

    hostile_models.opened(hostile_models.DATA / "unilm_wavlm_base.pt")  # imports take long, and run what they like
    events = []
    sys.addaudithook(lambda event, _: events.append(event) if event in EVENTS else None)
    borders = {item.__name__: item for item in (own_config, card, eval_file, quantize, profile)}
    borders |= {item.__name__: item for item in hostile_models.BORDERS}
    with tempfile.TemporaryDirectory() as folder:
        cases = borders[border](Path(folder))
        for name, must_refuse, run in itertools.islice(cases, 0, None, every):
            sys.stdout.write(json.dumps(tried(name, must_refuse, run, events)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
