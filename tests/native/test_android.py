"""The Android runtime, as far as it can be checked without Android's tools; see runtime/android/README.md.

All Kotlin is compiled at once, against stand-ins for the classes of Android and ExecuTorch that it uses. The unit tests
run under JUnit, and `checks/CrossCheck.kt` writes what is compared with Python here.
"""

import hashlib
import json
import math
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from answer_vectors import FOLDER as VECTORS
from safetensors.numpy import save_file

from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.bundle import digest, read_bundle
from speechpress.runtime.engine import Program, PteEngine
from speechpress.runtime.program_checks import run_golden
from speechpress.runtime.spec import NO_END, StreamSpec
from speechpress.runtime.stream import Step, StreamingExtractor

ROOT = Path(__file__).parents[2]
ANDROID = ROOT / "runtime" / "android"
JARS = Path("/usr/share/java")  # where Debian's junit4 and kotlin put them
CROSS_CHECK = "org.speechpress.checks.CrossCheckKt"
DTYPES = np.dtype(">f4"), np.dtype(">i8")
DEBIAN = "apt-get install --no-install-recommends kotlin openjdk-17-jdk-headless junit4"


class ToyEngine:
    """ToyEngine.kt in numpy: simple arithmetic with all that a model has, and the same bits."""

    heads = ()

    def __init__(self, spec):
        self.spec = spec

    def initial_state(self):
        spec = self.spec
        return {
            "count": np.array([-spec.lead_frames], np.int64),
            "end": np.array([NO_END], np.int64),
            "audio": np.zeros((1, spec.tail_samples), np.float32),
            "features": np.zeros((1, spec.lookahead_frames, spec.width), np.float32),
        }

    def step(self, chunk, state):
        spec, count, end = self.spec, int(state["count"][0]), int(state["end"][0])
        audio = np.concatenate([state["audio"], chunk], 1)
        start = np.arange(spec.chunk_frames)[:, None] * spec.hop_samples
        across = np.arange(spec.width)
        x = audio[0][start + across] - np.float32(0.5) * audio[0][start + spec.receptive_samples - 1 - across]
        x = np.where(_exists(count + np.arange(spec.chunk_frames), end), x, np.float32(0))
        features = np.concatenate([state["features"][0], x])
        ahead = features[spec.lookahead_frames :]
        frames = features[: spec.chunk_frames] + np.float32(0.25) * ahead
        numbers = count - spec.lookahead_frames + np.arange(spec.chunk_frames)
        new = {
            "count": state["count"] + spec.chunk_frames,
            "end": state["end"],
            "audio": audio[:, chunk.shape[1] :],
            "features": features[None, spec.chunk_frames :],
        }
        return Step(np.where(_exists(numbers, end), frames, np.float32(np.nan))[None], new)


class ToyWithHeads(ToyEngine):
    """The heads of the toy in CrossCheck.kt: an output is the first columns of the frames."""

    heads = (
        HeadSpec("phones", "ctc", ("", "é", "🙂", "c"), (4,)),
        HeadSpec("beam", "ctc", ("", "a", "b", "c"), (4,), decoder={"method": "beam", "wait_s": 0.2}),
        HeadSpec("units", "units", (), (6, 1)),
        HeadSpec("who", "speaker", (), (3,), decoder={"every_s": 0.2}),
        HeadSpec("speech", "vad", ("speech",), (1,), decoder={"min_speech_s": 0.02, "min_silence_s": 0.04}),
    )

    def step(self, chunk, state):
        step = super().step(chunk, state)
        return step._replace(answers={head.name: self._answer(head, step.frames) for head in self.heads})

    def _answer(self, head, frames):
        if head.kind == "units":
            return {"distances": frames[..., :6], "ids": np.zeros((1, frames.shape[1], 1), np.int64)}
        if head.kind == "speaker":
            return {"vector": np.nan_to_num(frames[:, -1:, :3])}
        return {"logits": frames[..., : head.widths[0]]}


def _exists(numbers, end):
    return ((numbers >= 0) & (numbers < end))[:, None]


SPECS = {
    "model": StreamSpec(16, 8, lookahead_frames=2),
    "short_chunk": StreamSpec(1, 3, lookahead_frames=3),
    "no_lookahead": StreamSpec(4, 5),
    "long_field": StreamSpec(3, 4, 8_000, 5, 12, 1),
    "no_tail": StreamSpec(2, 2, 8_000, 4, 3, 2),
}
LENGTHS = {"empty": 0, "one_short": -1, "one_frame": 0, "some": 20_011}


def stream_cases():
    generator = np.random.default_rng(7)
    for name, spec in SPECS.items():
        for length, samples in LENGTHS.items():
            if length.startswith("one"):
                samples += spec.receptive_samples
            for kind in ("float32", "int16"):
                audio = _audio(generator, samples, kind)
                yield f"{name}-{length}-{kind}", spec, audio, _pieces(generator, samples, spec)


def _audio(generator, samples, kind):
    if kind == "int16":
        return generator.integers(-(2**15), 2**15, samples).astype(np.int16)
    audio = generator.normal(0, 0.5, samples).astype(np.float32)
    audio[generator.random(samples) < 0.001] = np.nan
    audio[generator.random(samples) < 0.001] = np.inf
    audio[generator.random(samples) < 0.001] = -3e38
    return audio


def _pieces(generator, samples, spec):
    sizes = []
    while sum(sizes) < samples:
        sizes.append(min(int(generator.integers(0, 3 * spec.chunk_samples)), samples - sum(sizes)))
    return sizes


CASES = {name: case for name, *case in stream_cases()}


def write_case(folder, spec, audio, pieces):
    folder.mkdir(parents=True)
    (folder / "case.json").write_text(json.dumps(spec.to_dict()))
    stored = audio.astype(np.int64) if audio.dtype == np.int16 else audio
    save_file({"audio": stored, "pieces": np.array(pieces, np.int64)}, folder / "case.safetensors")


def run(engine, audio, pieces=None):
    extractor, at, parts = StreamingExtractor(engine), 0, []
    for size in [len(audio)] if pieces is None else pieces:
        parts.append(extractor.push(audio[at : at + size]))
        at += size
    parts.append(extractor.flush())
    return np.concatenate([part.frames for part in parts]), np.concatenate([part.end_s for part in parts]), extractor


def toy_document(specs):
    """bundle.json of the toy engine, by hand from docs/bundle.md; files and digest are missing."""
    spec = specs[0]
    audio = {"sample_rate": spec.sample_rate, "hop_samples": spec.hop_samples}
    state = []
    for name, array in ToyEngine(spec).initial_state().items():
        initial = int(array[0]) if name in ("count", "end") else 0.0
        if name == "audio":
            initial = [0.0] * array.size
        state.append({"name": name, "shape": list(array.shape), "dtype": array.dtype.name, "initial": initial})
    return {
        "schema": 1,
        "name": 'toy é "quoted" \\ \u2028',
        "created": "2026-01-01T00:00:00Z",
        "audio": {**audio, "receptive_samples": spec.receptive_samples, "input_norm": "none"},
        "features": {"width": spec.width, "layer": 2, "layers": 2},
        "streams": [stream_entry(each) for each in specs],
        "state": state,
        "offline": {"method": "offline", "max_samples": 480_000, "max_s": 30.0},
        "window": None,
        "target": {"name": "android", "backend": "xnnpack", "description": "x\ty", "runs_here": True},
        "quantize": "none",
        "delegation": {},
        "parity": {"offline": {"max_abs": 1e-05, "snr_db": 120.25, "cosine": 1.0}},
        "tolerance": {"max_abs": 1e-6},
        "lineage": {"recipe": "name: toy\n", "steps": 3},
        "versions": {"speechpress": "0.1.0"},
    }


def stream_entry(spec):
    return {
        "method": f"step_{spec.chunk_frames}",
        "chunk_frames": spec.chunk_frames,
        "chunk_samples": spec.chunk_samples,
        "lookahead_frames": spec.lookahead_frames,
        "silence_samples": spec.silence_samples,
        "first_frame": spec.first_frame,
        **spec.latency(),
    }


def write_bundle(folder, change=lambda document: None, golden_error=0.0, program=b"a toy program"):
    specs = [SPECS["model"], StreamSpec(4, 8, lookahead_frames=2)]
    folder.mkdir(parents=True)
    clip = np.random.default_rng(3).normal(0, 0.1, 32_000).astype(np.float32)
    frames = {f"frames_{spec.chunk_frames}": run(ToyEngine(spec), clip)[0] + golden_error for spec in specs}
    save_file(
        {"audio": clip, **{name: f.astype(np.float32) for name, f in frames.items()}}, folder / "golden.safetensors"
    )
    (folder / "encoder.pte").write_bytes(program)
    document = toy_document(specs)
    document["files"] = {name: facts(folder / name) for name in ("encoder.pte", "golden.safetensors")}
    change(document)
    document["digest"] = digest(document)
    write_document(folder, document)


def write_document(folder, document):
    (folder / "bundle.json").write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")


def facts(path):
    content = Path(path).read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def write_bundles(folder):
    """Good ones, and one for every way of being wrong."""
    write_bundle(folder / "good")
    write_bundle(folder / "far_off", golden_error=1e-3)
    write_bundle(folder / "newer", lambda document: document.update(schema=3))
    for name, heads in HEADS.items():
        write_bundle(folder / name, lambda document, heads=heads: document.update(schema=2, heads=heads))
    write_bundle(folder / "no_stream", lambda document: document.update(streams=[]))
    write_bundle(folder / "no_state", lambda document: document.pop("state"))
    write_bundle(folder / "other_lookahead", lambda document: document["streams"][0].update(first_frame=-1))
    write_bundle(folder / "other_type", lambda document: document["state"][2].update(dtype="float16"))
    write_bundle(folder / "by_hand")
    text = (folder / "by_hand" / "bundle.json").read_text(encoding="utf-8")
    (folder / "by_hand" / "bundle.json").write_text(text.replace('"steps": 3', '"steps": 4'), encoding="utf-8")
    write_bundle(folder / "exchanged")
    (folder / "exchanged" / "encoder.pte").write_bytes(b"another prog.")
    write_bundle(folder / "cut_short")
    (folder / "cut_short" / "encoder.pte").write_bytes(b"a toy")
    write_bundle(folder / "leads_out", lambda document: document["files"].update({"../out": facts(__file__)}))
    write_bundle(folder / "deep", lambda document: document.update(lineage=json.loads("[" * 200 + "]" * 200)))
    write_bundle(folder / "no_hop", lambda document: document["audio"].update(hop_samples=0))


GOOD_HEADS = [head.to_dict() for head in ToyWithHeads.heads]
HEADS = {
    "heads": GOOD_HEADS,
    "empty_alphabet": [HeadSpec("phones", "ctc", ("",), (1,)).to_dict()],
    "unknown_kind": [HeadSpec("nose", "smell", (), (1,)).to_dict()],
    "unknown_parameter": [HeadSpec("phones", "ctc", ("", "a"), (2,), decoder={"beams": 3}).to_dict()],
    "heads_of_one_name": [GOOD_HEADS[0], GOOD_HEADS[0]],
}


def write_flipped(folder):
    """200 bundles, each with one flipped bit in a program of 2,000 bytes."""
    draw = np.random.default_rng(17)
    program = draw.bytes(2000)
    write_bundle(folder / "whole", program=program)
    for number, bit in enumerate(draw.choice(8 * len(program), 200, replace=False)):
        own = folder / f"flipped_{number:03}"
        shutil.copytree(folder / "whole", own, copy_function=os.link, ignore=shutil.ignore_patterns("*.pte"))
        data = bytearray(program)
        data[bit // 8] ^= 1 << (bit % 8)
        (own / "encoder.pte").write_bytes(data)


@pytest.fixture(scope="module")
def class_path(tmp_path_factory):
    """The class path of the compiled checks."""
    missing = [tool for tool in ("kotlinc", "javac", "java") if not shutil.which(tool)]
    missing += [jar for jar in ("junit4.jar", "kotlin-stdlib.jar", "hamcrest-core.jar") if not (JARS / jar).is_file()]
    if missing:
        pytest.skip(f"no {', '.join(missing)}; on Debian: {DEBIAN}")
    return compile_kotlin(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def checked(class_path, tmp_path_factory):
    """The folder in which the checks have run that need no program."""
    folder = tmp_path_factory.mktemp("android")
    for name, case in CASES.items():
        write_case(folder / "streams" / name, *case)
    write_bundles(folder / "bundles")
    write_flipped(folder / "bundles")
    shutil.copytree(VECTORS, folder / "answers")
    call("java", "-cp", class_path, CROSS_CHECK, str(folder))
    return folder


def compile_kotlin(folder):
    """Everything in one go, because kotlinc takes long to start; the class path with which it runs."""
    stubs, jar = folder / "stubs", folder / "android.jar"
    stubs.mkdir()
    call("javac", "--release", "8", "-nowarn", "-d", str(stubs), *map(str, (ANDROID / "checks").rglob("*.java")))
    libraries = [str(JARS / name) for name in ("junit4.jar", "hamcrest-core.jar", "kotlin-stdlib.jar")]
    path = ":".join([str(stubs), *libraries])
    sources = sorted(
        str(source) for source in ANDROID.rglob("*.kt") if "build" not in source.relative_to(ANDROID).parts
    )
    call("kotlinc", "-jvm-target", "1.8", "-Werror", "-cp", path, *sources, "-d", str(jar))
    return f"{jar}:{path}"


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command[0]}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_unit_tests_of_core(class_path):
    sources = sorted((ANDROID / "core/src/test/kotlin").rglob("*Test.kt"))
    tests = [f"org.speechpress.core.{source.stem}" for source in sources]
    report = call("java", "-cp", class_path, "org.junit.runner.JUnitCore", *tests)
    assert int(re.search(r"OK \((\d+) tests?\)", report)[1]) >= 13


@pytest.mark.parametrize("name", CASES)
def test_streams_as_python_does(checked, name):
    folder = checked / "streams" / name
    spec, audio, pieces = CASES[name]
    frames, end_s, extractor = run(ToyEngine(spec), audio, pieces)
    assert len(frames) == spec.frames(len(audio))
    found = np.fromfile(folder / "frames.f32", np.float32).reshape(-1, spec.width)
    np.testing.assert_array_equal(found, frames)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(np.fromfile(folder / "end_s.f64"), end_s)
    counts = [int(count) for count in (folder / "counts.txt").read_text().split()]
    assert counts == [extractor.counts.samples, extractor.counts.replaced, extractor.counts.clipped]


def report(checked, name):
    return (checked / "bundles" / name / "report.txt").read_text(encoding="utf-8").split("\n")


def test_a_bundle_of_python_is_read_and_its_golden_clip_met(checked):
    assert report(checked, "good")[:8] == [
        "ok",
        'toy é "quoted" \\ \u2028',
        "step_16 true 99 0.0 365.0",
        "step_4 true 99 0.0 125.0",
        "count [1] -1.0",
        "end [1] 2.147483647E9",
        "audio [1, 80] 0.0",
        "features [1, 2, 8] 0.0",
    ]


def test_every_vector_of_heads_holds_in_kotlin(checked):
    for path in VECTORS.glob("*.json"):
        lines = (checked / "answers" / f"{path.name}.txt").read_text(encoding="utf-8").split("\n")
        names = [case["name"] for case in json.loads(path.read_text(encoding="utf-8"))["cases"]]
        assert lines == [f"{name}: ok" for name in names]


def test_events_of_a_bundles_heads_are_those_of_python(checked):
    """Through the lib module, the outputs taken apart from the program's; the toy engine gives the same bits."""
    lines = report(checked, "heads")
    assert lines[0] == "ok" and [line.split()[1] for line in lines[2:4]] == ["true", "true"]
    found = [json.loads(line) for line in lines[4:] if line.startswith("{")]
    clip = np.random.default_rng(3).normal(0, 0.1, 32_000).astype(np.float32)
    stream = StreamingExtractor(ToyWithHeads(SPECS["model"]))
    parts = [stream.push(clip[at : at + 1000]) for at in range(0, len(clip), 1000)] + [stream.flush()]
    wanted = [event.to_dict() for part in parts for event in part.events]
    assert {event["head"] for event in wanted} == {head.name for head in ToyWithHeads.heads}
    assert len(found) == len(wanted) > 100
    for one, two in zip(found, wanted, strict=True):
        for key, value in two.items():
            assert one[key] == (value if isinstance(value, (str, bool)) else pytest.approx(value, abs=1.01e-4))


def test_frames_that_are_off_fail_the_golden_clip(checked):
    line = report(checked, "far_off")[2].split()
    assert line[:3] == ["step_16", "false", "99"]
    assert float(line[3]) == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("newer", "schema 3.*update the app"),
        ("empty_alphabet", r"head phones \(ctc\): has 1 labels for 1 columns, but must have .*at least 2"),
        ("unknown_kind", "head nose: there is no decoder for the kind smell; update the app"),
        ("unknown_parameter", r'head phones \(ctc\): its decoder has an unknown parameter "beams"'),
        ("heads_of_one_name", "two heads of one name"),
        ("no_state", r'bundle\.json: has no "state"; export the bundle again'),
        ("other_lookahead", r'streams\[0\]: "first_frame" is -1, but must be -3'),
        ("other_type", "state audio is of type float16"),
        ("by_hand", "changed after the export"),
        ("exchanged", r"encoder\.pte: is damaged or was replaced"),
        ("cut_short", r"encoder\.pte: has 5 bytes instead of 13"),
        ("leads_out", r'files: names "\.\./out", which is not a plain name'),
        ("deep", r"nested deeper than 64"),
        ("no_hop", r'audio: "hop_samples" is 0, but must be at least 1'),
    ],
)
def test_a_wrong_bundle_is_refused_with_the_reason(checked, name, message):
    status, text = report(checked, name)
    assert status == "error"
    assert re.search(message, text)


def test_no_flipped_bit_is_run(checked):
    found = [report(checked, path.name) for path in sorted((checked / "bundles").glob("flipped_*"))]
    assert len(found) == 200 and report(checked, "whole")[0] == "ok"
    assert all(lines[0] == "error" and "encoder.pte: is damaged or was replaced" in lines[1] for lines in found)


def test_a_bundle_that_does_not_stream_opens(checked):
    assert report(checked, "no_stream")[0] == "ok"


def test_an_exported_program_gives_the_same_frames(class_path, small_bundle, tmp_path):
    folder = tmp_path / "served" / "small"
    shutil.copytree(small_bundle, folder)
    with subprocess.Popen(
        ["java", "-cp", class_path, CROSS_CHECK, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        serve(Program(folder / "encoder.pte"), process.stdout, process.stdin)
    assert process.returncode == 0
    bundle, lines = read_bundle(folder), (folder / "report.txt").read_text(encoding="utf-8").split("\n")
    assert lines[:2] == ["ok", bundle.name]
    parities = run_golden(bundle)
    for entry, line in zip(bundle.document["streams"], lines[2:], strict=False):
        method, passed, frames, max_abs, age = line.split()
        assert (method, passed, float(age)) == (entry["method"], "true", entry["worst_age_ms"])
        assert int(frames) == len(bundle.golden[f"frames_{entry['chunk_frames']}"])
        assert float(max_abs) == pytest.approx(parities[method].frames["max_abs"], rel=1e-6)
    check_sums(lines[2 + len(bundle.document["streams"]) :], bundle)


def test_an_exported_program_with_heads_gives_the_same_events(class_path, heads_bundle, tmp_path):
    folder = tmp_path / "served" / "small"
    shutil.copytree(heads_bundle, folder)
    with subprocess.Popen(
        ["java", "-cp", class_path, CROSS_CHECK, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        serve(Program(folder / "encoder.pte"), process.stdout, process.stdin)
    assert process.returncode == 0
    lines = (folder / "report.txt").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "ok" and lines[2].split()[:2] == ["step_4", "true"]
    found = [json.loads(line) for line in lines if line.startswith("{")]
    stream = StreamingExtractor(PteEngine(folder))
    audio = read_bundle(folder).golden["audio"]
    parts = [stream.push(audio[at : at + 1000]) for at in range(0, len(audio), 1000)] + [stream.flush()]
    wanted = [event.to_dict() for part in parts for event in part.events]
    assert {event["head"] for event in wanted} == {"phones", "units", "vad", "voice"}
    for name in ("head", "number", "label", "start_s", "end_s", "final"):
        assert [event[name] for event in found] == [event[name] for event in wanted]
    assert [event["score"] for event in found] == pytest.approx([event["score"] for event in wanted], abs=1.01e-4)


def check_sums(lines, bundle):
    """The state in its order, then the golden clip: names, shapes and sums."""
    fields = [re.fullmatch(r"(\w+) (\[.*\]) (\S+)", line).groups() for line in lines]
    read = [(name, (shape, total)) for name, shape, total in fields]
    state = bundle.initial_state()
    check_tensors(dict(read[: len(state)]), state)
    assert [name for name, _ in read[: len(state)]] == list(state)
    check_tensors(dict(read[len(state) :]), bundle.golden)


def check_tensors(read, wanted):
    assert set(read) == set(wanted)
    for name, (shape, total) in read.items():
        assert shape == str(list(wanted[name].shape))
        assert float(total) == pytest.approx(wanted[name].astype(np.float64).sum(), rel=1e-6, abs=1e-6)


def serve(program, calls, answers):
    """Run what ServedProgram.kt asks for until it ends; see there for the format."""
    while head := calls.read(2):
        method = calls.read(struct.unpack(">H", head)[0]).decode()
        outputs = program.run(method, *[read_tensor(calls) for _ in range(read_int(calls))])
        answers.write(struct.pack(">i", len(outputs)) + b"".join(map(packed, outputs)))
        answers.flush()


def read_int(stream):
    return struct.unpack(">i", stream.read(4))[0]


def read_tensor(stream):
    dtype = DTYPES[read_int(stream)]
    shape = [struct.unpack(">q", stream.read(8))[0] for _ in range(read_int(stream))]
    content = stream.read(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(content, dtype).astype(dtype.newbyteorder("=")).reshape(shape)


def packed(value):
    if not isinstance(value, np.ndarray):
        return struct.pack(">iq", len(DTYPES), value)
    kind = 1 if value.dtype == np.int64 else 0
    shape = struct.pack(f">ii{value.ndim}q", kind, value.ndim, *value.shape)
    return shape + np.ascontiguousarray(value, DTYPES[kind]).tobytes()


def test_names_in_kotlin_are_those_of_the_contract():
    contract = (ROOT / "docs" / "bundle.md").read_text(encoding="utf-8")
    words = set(re.findall(r"[A-Za-z_0-9.]+", contract))
    readers = r'\b(?:text|long|int|positive|number|ints|numbers|fields|list|golden)\((?:bundle, )?"([a-z_0-9.]+)[^"]*"'
    others = r'"([a-z_.]+)" (?:to|in) (?!Tolerance)'
    constants = r'const val \w+ = "([a-z_.]+)"'
    used = {}
    for name in ("Manifest", "GoldenCheck", "Engine"):
        source = (ANDROID / f"core/src/main/kotlin/org/speechpress/core/{name}.kt").read_text(encoding="utf-8")
        used |= {word: name for pattern in (readers, others, constants) for word in re.findall(pattern, source)}
    assert {"schema", "digest", "chunk_frames", "first_frame", "end_index", "golden.safetensors", "snr_db"} <= set(used)
    unknown = {word for word in used if word not in words and f"{word}C" not in words}
    assert not unknown, f"not in docs/bundle.md: {unknown}"


@pytest.mark.parametrize("path", sorted(ANDROID.rglob("*.xml")), ids=lambda path: str(path.relative_to(ANDROID)))
def test_xml_is_well_formed(path):
    ElementTree.parse(path)


def test_manifest_names_what_exists():
    android = "{http://schemas.android.com/apk/res/android}"
    app = ElementTree.parse(ANDROID / "app/src/main/AndroidManifest.xml").getroot()
    activity = app.find("application/activity").get(f"{android}name")
    assert (ANDROID / "app/src/main/kotlin" / (activity.replace(".", "/") + ".kt")).is_file()
    label = app.find("application").get(f"{android}label").removeprefix("@string/")
    strings = ElementTree.parse(ANDROID / "app/src/main/res/values/strings.xml").getroot()
    assert label in {string.get("name") for string in strings}
    lib = ElementTree.parse(ANDROID / "lib/src/main/AndroidManifest.xml").getroot()
    assert lib.find("uses-permission").get(f"{android}name") == "android.permission.RECORD_AUDIO"


@pytest.mark.parametrize("path", sorted(ANDROID.rglob("*.gradle.kts")), ids=lambda path: str(path.relative_to(ANDROID)))
def test_gradle_files_close_what_they_open(path):
    text = re.sub(r'"[^"\n]*"|//[^\n]*', "", path.read_text(encoding="utf-8"))
    assert '"' not in text
    for opening, closing in ("{}", "()"):
        depth = 0
        for char in text:
            depth += (char == opening) - (char == closing)
            assert depth >= 0
        assert depth == 0


def test_gradle_knows_every_module_and_its_package():
    modules = re.findall(r'":(\w+)"', (ANDROID / "settings.gradle.kts").read_text(encoding="utf-8"))
    assert modules == ["core", "lib", "app"]
    for module in modules:
        build = (ANDROID / module / "build.gradle.kts").read_text(encoding="utf-8")
        assert set(re.findall(r'project\(":(\w+)"\)', build)) <= set(modules)
        for source in (ANDROID / module / "src").rglob("*.kt"):
            package = re.match(r"package (\S+)", source.read_text(encoding="utf-8"))[1]
            assert source.parent.as_posix().endswith(package.replace(".", "/")), source
            if namespace := re.search(r'namespace = "(.*)"', build):
                assert package == namespace[1]


def test_core_is_free_of_android():
    for source in (ANDROID / "core").rglob("*.kt"):
        imports = re.findall(r"^import (\S+)", source.read_text(encoding="utf-8"), re.MULTILINE)
        assert all(name.startswith(("java.", "kotlin.", "org.junit.")) for name in imports), source


def test_executorch_is_of_the_version_that_exports():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    build = (ANDROID / "lib/build.gradle.kts").read_text(encoding="utf-8")
    android = re.search(r"executorch-android:(\d+\.\d+)\.", build)[1]
    assert android == re.search(r"ExecuTorch (\d+\.\d+)", project)[1]
