"""The C++ runtime under AddressSanitizer and UndefinedBehaviorSanitizer: its own tests, and 300 damaged files.

ExecuTorch's own libraries are not instrumented: what they do with a damaged program is not seen here, which is why the
runtime gives them none that its hash does not know.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from answer_vectors import FOLDER
from toolchain import Toolchain, package_folder, sign

from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.choice import SHIPPED

SANITIZE = ("-O0", "-g1", "-fsanitize=address,undefined", "-fno-sanitize=vptr", "-fno-sanitize-recover=all")
WAVS, DOCUMENTS, PROGRAMS = 130, 90, 80


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """Commands that run the runner and the C++ tests, built with both sanitizers."""
    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs g++ on Linux")
    folder = tmp_path_factory.mktemp("sanitized")
    (folder / "try.cpp").write_text("int main() { return 0; }")
    words = [compiler, *SANITIZE, str(folder / "try.cpp"), "-o", str(folder / "try")]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("this g++ lacks libasan and libubsan")
    return Toolchain(compiler, package_folder(), flags=SANITIZE).build(folder, together=True)


def call(command, *words, stdin=b""):
    done = subprocess.run([*map(str, (*command, *words))], input=stdin, capture_output=True, check=False, timeout=300)
    said = done.stderr.decode(errors="replace")
    assert "AddressSanitizer" not in said and "runtime error" not in said and "LeakSanitizer" not in said, said[-3000:]
    return done.returncode, done.stdout, said


def noise(samples):
    return np.random.default_rng(samples).normal(0, 0.1, samples).astype("<f4").tobytes()


def wav(coding=1, bits=16, channels=1, rate=16_000, data=b"\1\2" * 3000, more=b""):
    head = struct.pack("<HHIIHH", coding, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + more + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def damaged(content, number):
    """The bytes with one fault of seven kinds, always the same for a number."""
    draw, data = np.random.default_rng(number), bytearray(content)
    place = int(draw.integers(min(len(data), 120) if number % 2 else len(data)))
    match number % 7:
        case 0:
            data[place] ^= 1 << int(draw.integers(8))
        case 1:
            del data[place:]
        case 2:
            data[place : place + 4] = struct.pack("<I", int(draw.choice([0, 1, 2**31, 2**32 - 1, 2**31 - 1])))
        case 3:
            data[place:place] = draw.bytes(int(draw.integers(1, 64)))
        case 4:
            del data[place : place + int(draw.integers(1, 64))]
        case 5:
            data[place:place] = bytes(data[: int(draw.integers(len(data)))])
        case 6:
            data[:] = draw.bytes(int(draw.integers(400)))
    return bytes(data)


def write_corpus(folder):
    """300 damaged files; of the documents half are damaged in ways that only JSON can be."""
    kinds = [wav(), wav(3, 32, data=noise(2000)), wav(more=b"LIST" + struct.pack("<I", 3) + b"odd\0"), wav(0xFFFE)]
    for number in range(WAVS):
        (folder / f"{number:03}.wav").write_bytes(damaged(kinds[number % len(kinds)], number))
    document = (SHIPPED / "bundle.json").read_bytes()
    files = {"encoder.pte": {"size_bytes": 3, "sha256": "a" * 64}}
    heads = [
        HeadSpec("p", "ctc", ("", "\u00e9\U0001f642"), (2,), decoder={"method": "beam", "wait_s": 0.5}).to_dict(),
        HeadSpec("v", "vad", ("speech",), (1,), threshold=0.5).to_dict(),
    ]
    small = json.dumps({"name": 'a "\\ b', "heads": heads, "files": files}).encode()
    odd = [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"files": {"encoder.pte": {"sha256": "\\',
        b"{",
        b"",
        b'{"a" 1}',
        b"\0",
    ]
    for number in range(DOCUMENTS):
        content = odd[number] if number < len(odd) else damaged((document, small)[number % 2], number)
        (folder / f"{number:03}.json").write_bytes(content)
    program = np.random.default_rng(1).bytes(20_000)
    names = [f"{number:03}.pte" for number in range(PROGRAMS)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(damaged(program, number))
    sign(folder, dict.fromkeys(names, program))


def test_the_tests_in_c_are_clean(sanitized, tmp_path):
    (tmp_path / "audio.f32").write_bytes(noise(19_200))
    code, out, err = call(sanitized[1], SHIPPED / "encoder.pte", tmp_path / "audio.f32")
    assert code == 0, out.decode() + err
    assert out.count(b"ok ") >= 25


def test_the_vectors_are_clean(sanitized):
    code, out, err = call(sanitized[1], "--vectors", FOLDER)
    assert code == 0 and b"FAILED" not in out and out.count(b"ok ") >= 60, out.decode() + err


def test_300_damaged_files(sanitized, tmp_path):
    """Every one is taken or refused with a reason; a crash, a hang or another exception would end the list early."""
    write_corpus(tmp_path)
    code, out, err = call(sanitized[1], "--corpus", tmp_path)
    lines = [
        line for line in out.decode(errors="replace").splitlines() if re.match(r"\d{3}\.\w+ (taken|refused: .+)", line)
    ]
    assert code == 0 and len(lines) == WAVS + DOCUMENTS + PROGRAMS == 300, (
        err[-2000:] + out.decode(errors="replace")[-500:]
    )
    programs = [line for line in lines if ".pte " in line]
    assert len(programs) == PROGRAMS and all("damaged or was replaced" in line for line in programs)
    assert 0 < sum("taken" in line for line in lines) < 200


@pytest.mark.parametrize("words", [("--csv",), ("--out", os.devnull), ("--json", "--times", "-"), ("--threads", 256)])
def test_the_runner_on_audio_of_all_lengths(sanitized, words):
    for samples in (0, 1, 400, 5000):
        code, _, err = call(sanitized[0], SHIPPED / "encoder.pte", *words, stdin=noise(samples))
        assert code == 0, err
