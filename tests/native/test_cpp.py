"""The C++ runtime: built with a plain compiler, run on real speech, compared with the checkpoint itself.

The part for arm64 runs under QEMU where it, the cross-compiler and ExecuTorch's wheel for arm64 are at hand;
SPEECHPRESS_ARM64_EXECUTORCH names the folder `executorch` of an unpacked one, or else pip is asked for it.
"""

import csv
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import select
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from bundled import NATIVE as CONFIG
from toolchain import CPP, Toolchain, sign

from speechpress.compressor.export.document import facts
from speechpress.compressor.export.export import plan
from speechpress.compressor.export.lower import Method, lower
from speechpress.compressor.export.prepare_step import prepared_step
from speechpress.compressor.export.source import Source
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.starter import SPEECH
from speechpress.compressor.targets import target_of
from speechpress.runtime.parity import compare
from speechpress.runtime.program_checks import constants

if importlib.util.find_spec("executorch") is None:
    pytest.skip("needs ExecuTorch", allow_module_level=True)

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-4
# Of an encoder with random weights, which int8 does not suit: against the checkpoint, and between two processors.
INT8_COSINE, INT8_SAME = 0.95, 0.995
CHUNKS = (4, 16)


@pytest.fixture(scope="module")
def runner(native):
    return native[1]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    made = Encoder(CONFIG).eval()
    made.measure_statistics(torch.from_numpy(speech(1))[None])
    return made


def order_of(encoder, scheme="none"):
    chunks_ms = tuple(20.0 * chunk for chunk in CHUNKS)
    return plan(Source("tiny", encoder, {}), target_of("linux-arm64"), scheme, chunks_ms, offline_s=2.0)


def write_program(path, methods, constants, scheme="none"):
    path.write_bytes(lower(methods, constants, "xnnpack", scheme).program)
    sign(path.parent)
    return path


def steps(encoder, chunks):
    made = {f"step_{chunk}": prepared_step(encoder, chunk) for chunk in chunks}
    return {
        name: Method(step, (torch.zeros(1, step.spec.chunk_samples), *step.initial_state().values()))
        for name, step in made.items()
    }


@pytest.fixture(scope="module")
def program(tmp_path_factory, encoder):
    """As `compress export` writes it, without the methods that do not stream."""
    path = tmp_path_factory.mktemp("program") / "encoder.pte"
    return write_program(path, steps(encoder, CHUNKS), constants(facts(order_of(encoder))))


@pytest.fixture(scope="module")
def int8_program(tmp_path_factory, encoder):
    path = tmp_path_factory.mktemp("int8") / "encoder.pte"
    return write_program(path, steps(encoder, CHUNKS[:1]), constants(facts(order_of(encoder, "int8"))), "int8")


@pytest.fixture(scope="module")
def other_programs(tmp_path_factory, encoder):
    """Programs that the runtime must refuse, by what is wrong with them."""
    folder, good = tmp_path_factory.mktemp("others"), constants(facts(order_of(encoder)))
    variants = {
        "foreign": {},
        "newer": {**good, "schema": 3},
        "offline": {**good, "chunk_frames": [], "end_index": -1, "state_sizes": [], "state_initial": []},
        "no step": good,
        "no width": {name: value for name, value in good.items() if name != "width"},
        "state": {**good, "state_initial": [0.0]},
    }
    plain = {"forward": Method(torch.nn.ReLU(), (torch.zeros(1, 4),))}
    return {name: write_program(folder / f"{name}.pte", plain, values) for name, values in variants.items()}


def speech(index, seconds=2.0):
    """A clip of the starter, (S,) float32 at 16 kHz, that fits into 16 bits exactly."""
    paths = sorted((SPEECH / "audio" / "en").rglob("*.opus"), key=lambda path: -path.stat().st_size)
    wave, rate = soundfile.read(paths[index], dtype="float32", frames=int(seconds * 16_000) + 37)
    assert rate == 16_000 and len(wave) > 16_000
    return (np.clip(wave, -0.9, 0.9) * 32768).astype(np.int16).astype(np.float32) / 32768


def pcm16(wave):
    return (wave * 32768).astype("<i2").tobytes()


@torch.inference_mode()
def wanted(encoder, wave, chunk):
    return encoder(torch.from_numpy(wave)[None], chunk_frames=chunk)[0].numpy()


def call(runner, *words, stdin=b"", cwd=None):
    done = subprocess.run([*map(str, (*runner, *words))], input=stdin, capture_output=True, check=False, cwd=cwd)
    return done.returncode, done.stdout, done.stderr.decode()


def frames_of(runner, *words, stdin=b""):
    """Frames (T, D) and the report of a run that must succeed."""
    code, out, err = call(runner, *words, stdin=stdin)
    assert code == 0, err
    return np.frombuffer(out, "<f4").reshape(-1, CONFIG.width), json.loads(err.splitlines()[-1])


def test_parts_and_streams_in_c(native, program, tmp_path):
    """The tests that are written in C++: of the parts, and of streams that share one program."""
    audio = tmp_path / "audio.f32"
    audio.write_bytes(speech(0, 1.2).tobytes())
    code, out, err = call(native[2], program, audio)
    assert code == 0, out.decode() + err
    assert out.count(b"ok ") >= 25


def test_no_flipped_bit_is_run_in_c(native, program, tmp_path):
    """200 of 200 programs with one flipped bit are refused, the whole one is not."""
    whole, draw = program.read_bytes(), np.random.default_rng(17)
    (tmp_path / "whole.pte").write_bytes(whole)
    for number, bit in enumerate(draw.choice(8 * len(whole), 200, replace=False)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << (bit % 8)
        (tmp_path / f"{number:03}.pte").write_bytes(data)
    sign(tmp_path, {path.name: whole for path in tmp_path.glob("*.pte")})
    code, out, err = call(native[2], "--corpus", tmp_path)
    lines = out.decode().splitlines()
    assert code == 0 and lines.pop() == "whole.pte taken", err
    assert len(lines) == 200 and all("refused" in line and "was replaced" in line for line in lines)


def test_no_chunk_at_all_of_frames_and_as_many_threads_as_there_may_be(runner, program):
    """Raw output of no frames at all, and the most threads, which must end as cleanly as one does."""
    frames, report = frames_of(runner, program, "--threads", 256, stdin=b"")
    assert len(frames) == 0 and report["threads"] == 256


@pytest.mark.parametrize("chunk", CHUNKS)
def test_pieces_of_any_size_give_the_checkpoints_frames(runner, program, encoder, chunk):
    wave, random = speech(0), np.random.default_rng(chunk)
    cuts = np.sort(random.integers(0, 4 * len(wave), 40))  # within samples too
    words = [*map(str, (*runner, program, "--chunk-frames", chunk))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for start, end in zip([0, *cuts], [*cuts, 4 * len(wave)], strict=True):
            process.stdin.write(wave.tobytes()[start:end])
            process.stdin.flush()
        out, err = process.communicate()
    frames = np.frombuffer(out, "<f4").reshape(-1, CONFIG.width)
    reference = wanted(encoder, wave, chunk)
    assert frames.shape == reference.shape == (CONFIG.frames(len(wave)), CONFIG.width)
    assert np.abs(frames - reference).max() <= TOLERANCE
    report = json.loads(err.decode().splitlines()[-1])
    assert report["chunk_frames"] == chunk and report["frames"] == len(frames)
    assert report["samples"] == len(wave) and report["replaced"] == report["clipped"] == 0


def test_csv_has_the_end_times(runner, program, encoder, tmp_path):
    wave, path = speech(0, 1.1), tmp_path / "frames.csv"
    code, out, err = call(runner, program, "--csv", "--out", path, stdin=wave.tobytes())
    assert code == 0 and out == b"", err
    head, *rows = csv.reader(path.read_text().splitlines())
    assert head == ["frame", "end_s", *map(str, range(CONFIG.width))]
    table = np.array(rows, np.float64)
    assert np.array_equal(table[:, 0], np.arange(CONFIG.frames(len(wave))))
    assert np.allclose(table[:, 1], CONFIG.stream_spec(4).end_s(np.arange(len(table))))
    assert np.abs(table[:, 2:] - wanted(encoder, wave, CHUNKS[0])).max() <= TOLERANCE


def test_int8_programs_run(runner, int8_program, encoder):
    wave = speech(0)
    frames, _ = frames_of(runner, int8_program, stdin=wave.tobytes())
    assert compare(frames, wanted(encoder, wave, CHUNKS[0]))["cosine"] >= INT8_COSINE


@pytest.mark.parametrize("samples", (0, 1, 399, 400, 1039, 1040))
def test_short_streams_have_the_frames_that_their_samples_make(runner, program, encoder, samples):
    wave = speech(0)[8000 : 8000 + samples]
    frames, _ = frames_of(runner, program, stdin=wave.tobytes())
    assert len(frames) == max(0, CONFIG.frames(samples))
    if len(frames):
        assert np.abs(frames - wanted(encoder, wave, CHUNKS[0])).max() <= TOLERANCE


def test_16_bits_and_wav_files_give_the_same_frames(runner, program, tmp_path):
    wave = speech(2)
    frames, _ = frames_of(runner, program, stdin=wave.tobytes())
    short, _ = frames_of(runner, program, "--format", "s16", stdin=pcm16(wave))
    assert np.array_equal(frames, short)
    for subtype in ("PCM_16", "FLOAT"):
        for kind in ("WAV", "WAVEX"):
            path = tmp_path / f"{subtype}.{kind}.wav"
            soundfile.write(path, wave, 16_000, subtype=subtype, format=kind)
            assert np.array_equal(frames, frames_of(runner, program, "--wav", path)[0])


def test_bad_samples_are_silence_and_said(runner, program):
    wave = speech(1)
    silent, bad = wave.copy(), wave.copy()
    silent[500:600] = 0.0
    bad[500:550], bad[550:600] = np.nan, -np.inf
    frames, report = frames_of(runner, program, stdin=bad.tobytes())
    assert np.array_equal(frames, frames_of(runner, program, stdin=silent.tobytes())[0])
    assert report["replaced"] == 100
    assert "100 samples are NaN" in call(runner, program, stdin=bad.tobytes())[2]
    assert frames_of(runner, program, stdin=np.full(800, 1.5, np.float32).tobytes())[1]["clipped"] == 800


def test_frames_come_while_the_audio_goes_on(runner, program):
    """A live source: the first chunk's frames are there before more audio is."""
    spec = CONFIG.stream_spec(4)
    ready = 2 * spec.chunk_frames + spec.first_frame
    words = [*map(str, (*runner, program))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(speech(0)[: 2 * spec.chunk_samples - spec.silence_samples].tobytes())
        process.stdin.flush()
        assert select.select([process.stdout], [], [], 30)[0]
        assert len(process.stdout.read(ready * 4 * spec.width)) == ready * 4 * spec.width
        process.communicate()
    assert process.returncode == 0


def test_timings_of_repetitions_and_a_trace(runner, program, tmp_path):
    wav, trace = tmp_path / "a.wav", tmp_path / "trace.etdp"
    wave = speech(0)
    soundfile.write(wav, wave, 16_000, subtype="PCM_16")
    words = ("--wav", wav, "--repeat", 3, "--threads", 1, "--json", "--etdump", trace)
    code, out, err = call(runner, program, *words)
    assert code == 0, err
    report = json.loads(out)
    assert report["samples"] == 3 * len(wave) and report["frames"] == 3 * CONFIG.frames(len(wave))
    assert report["threads"] == 1 and report["chunk_ms"] == 80 and report["worst_age_ms"] == 80 + 5 + 60
    assert 0 < report["p50_ms"] <= report["p90_ms"] <= report["p99_ms"] <= report["max_ms"]
    assert report["rtf"] == pytest.approx(report["infer_s"] / report["audio_s"], rel=1e-4)
    assert report["load_ms"] > 0 and 1e6 < report["peak_rss_bytes"] < 1e9
    blocks = {block.name: block.events for block in inspect(trace)}
    convolutions = [event for event in blocks["Execute"] if event.name.startswith("Convolution")]
    assert convolutions and all(len(event.perf_data.raw) == report["chunks"] for event in convolutions)


def inspect(trace):
    from executorch.devtools import Inspector

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Inspector(etdump_path=str(trace)).event_blocks


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{program}", "--chunk-frames", 5], r"no chunks of 5 frames; it has 4, 16"),
        (["{foreign}"], "not one that speechpress exported"),
        (["{newer}"], "has schema 3, but this runtime reads up to 2: it needs a newer speechpress"),
        (["{offline}"], "does not stream"),
        (["{no step}"], "cannot load step_4"),
        (["{no width}"], "its method 'width' is missing"),
        (["{state}"], "'state_initial' is missing or gives something unexpected"),
        (["{truncated}", "--unchecked"], "no ExecuTorch program, or a damaged one"),
        (["{text}", "--unchecked"], "no ExecuTorch program, or a damaged one"),
        (["{truncated}"], "there is no {folder}/bundle.json to hold"),
        (["{program}", "--threads", 100_000], "the number of threads is 100000, but must be at most 256"),
        (["{program}", "--wav", "pipe.wav"], "pipe.wav is a pipe, a device or a folder, but must be a file"),
        (["pipe.wav"], "pipe.wav is a pipe, a device or a folder, but must be a file"),
        (["missing.pte"], "cannot open missing.pte: No such file"),
        (["{program}", "--wav", "missing.wav"], "cannot open missing.wav"),
        (["{program}", "--wav", "stereo.wav"], "2 channels, but must be mono"),
        (["{program}", "--wav", "slow.wav"], "8000 Hz, but must have 16000"),
        (["{program}", "--wav", "deep.wav"], "coding 1 with 24 bits"),
        (["{program}", "--wav", "other.flac"], "no wav file"),
        (["{program}", "--wav", "cut.wav"], "bytes before its header says"),
        (["{program}", "--format", "s16"], "in the middle of a sample; is it really 16-bit PCM"),
        (["{program}", "--out", "no/such/folder"], "cannot write no/such/folder"),
        (["{program}", "--out", "/dev/full", "--wav", "good.wav"], "No space left"),
    ],
)
def test_what_the_user_can_mend_is_said(runner, program, other_programs, tmp_path, words, says):
    wave = speech(0)
    for name, rate, subtype in (("good", 16_000, "PCM_16"), ("slow", 8_000, "PCM_16"), ("deep", 16_000, "PCM_24")):
        soundfile.write(tmp_path / f"{name}.wav", wave, rate, subtype=subtype)
    soundfile.write(tmp_path / "stereo.wav", np.stack([wave, wave], 1), 16_000)
    soundfile.write(tmp_path / "other.flac", wave, 16_000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "good.wav").read_bytes()[:-1000])
    (tmp_path / "truncated.pte").write_bytes(program.read_bytes()[:-5000])
    (tmp_path / "text.pte").write_text("no program at all, " * 20)
    os.mkfifo(tmp_path / "pipe.wav")
    names = {"program": program, **other_programs}
    names |= {"truncated": tmp_path / "truncated.pte", "text": tmp_path / "text.pte"}
    words = [str(word).format(**names) for word in words]
    code, _, err = call(runner, *words, stdin=b"odd", cwd=tmp_path)
    assert code == 1, err
    last = err.strip().splitlines()[-1]
    assert last.startswith("speechpress-run: ") and says.format(folder=tmp_path) in last, err


def test_a_wrong_command_shows_the_right_one(runner):
    code, _, err = call(runner, "a.pte", "--chunk", 4)
    assert code == 2 and "'--chunk' is not understood" in err and "--chunk-frames N" in err
    code, out, _ = call(runner, "--help")
    assert code == 0 and b"--etdump FILE" in out


def test_cmake_builds_the_same_files():
    text = (CPP / "CMakeLists.txt").read_text()
    assert set(re.findall(r"[\w/]+\.cpp", text)) == {
        path.relative_to(CPP).as_posix()
        for folder in ("src", "run", "tests")
        for path in CPP.glob(f"{folder}/**/*.cpp")
    }


def test_the_example_in_the_docs_runs(native, program, tmp_path):
    (example,) = re.findall(r"^```cpp\n(.*?)^```", (ROOT / "docs" / "cpp.md").read_text(), flags=re.M | re.S)
    source = tmp_path / "example.cpp"
    source.write_text(example)
    toolchain, runner, _ = native
    objects = [
        toolchain.compile(source, tmp_path),
        *(path for kind in ("src", "answers") for path in Path(runner[-1]).parent.glob(f"{kind}-*.o")),
    ]
    code, out, err = call(toolchain.link(objects, tmp_path / "example"), program)
    assert code == 0, err
    *rows, last = out.decode().splitlines()
    assert rows[0].startswith("0.025 s: ") and len(rows) + int(last.split()[0]) == CONFIG.frames(16_000)


@pytest.fixture(scope="module")
def arm64(tmp_path_factory):
    """Commands that run the runner and the C++ tests as arm64 programs."""
    compiler, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64-static")
    if not compiler or not emulator:
        pytest.skip("needs g++-aarch64-linux-gnu and qemu-user-static")
    package = Path(os.environ.get("SPEECHPRESS_ARM64_EXECUTORCH") or arm64_package(tmp_path_factory.mktemp("wheel")))
    # QEMU's default processor gives wrong results in int8.
    emulate = [emulator, "-L", "/usr/aarch64-linux-gnu", "-cpu", "cortex-a76"]
    return Toolchain(compiler, package, emulate).build(tmp_path_factory.mktemp("arm64"), together=True)


def arm64_package(folder):
    wheel = f"executorch=={importlib.metadata.version('executorch').split('+')[0]}"
    kind = ("--no-deps", "--only-binary=:all:", "--platform", "manylinux_2_28_aarch64", "--python-version", "311")
    pip = [sys.executable, "-m", "pip", "-q", "--retries", "0", "--timeout", "10"]
    words = [*pip, "download", *kind, "-d", folder, wheel]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip(f"pip cannot get {wheel} for arm64")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        parts = ("executorch/include/", "executorch/lib/")
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(parts)])
    return folder / "executorch"


@pytest.mark.skipif(platform.machine() == "aarch64", reason="this is arm64 itself")
def test_arm64_gives_the_same_frames(runner, arm64, program, int8_program, encoder):
    emulated, tests = arm64
    wave = speech(0, 1.1)
    frames, report = frames_of(emulated, program, "--threads", 1, stdin=wave.tobytes())
    reference = wanted(encoder, wave, CHUNKS[0])
    assert frames.shape == reference.shape and report["frames"] == len(frames)
    assert np.abs(frames - reference).max() <= TOLERANCE
    int8, int8_here = (frames_of(each, int8_program, stdin=wave.tobytes())[0] for each in (emulated, runner))
    assert compare(int8, int8_here)["cosine"] >= INT8_SAME
    code, out, err = call(tests)
    assert code == 0, out.decode() + err
