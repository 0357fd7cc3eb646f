"""`speechpress-runtime`: its wheel is built, unpacked, and run without torch; it gives what the bindings give."""

import importlib.metadata
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tomllib
import wave
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bundled import CHUNK_MS, copied, speech_like
from toolchain import package_folder

from speechpress.devices import record
from speechpress.devices.known import known_devices
from speechpress.devices.open import HostDevice
from speechpress.devices.profile import ProfileOptions, profile
from speechpress.runtime.bundle import digest, read_bundle
from speechpress.runtime.engine import Program, PteEngine
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.native import choose, health, library, processor
from speechpress.runtime.native.pairing import warn_of_other_versions
from speechpress.runtime.program_checks import heard
from speechpress.runtime.stream import StreamingExtractor

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "sympy", "executorch", "typer", "rich", "pandas", "yaml", "soundfile", "speechpress")
# As on a board: what the wheel does not ask for is not there.
BARE = f"import sys\nfor name in {HEAVY!r}: sys.modules[name] = None\nsys.argv = sys.argv[1:]\n"
HEARD = """
import numpy as np
from speechpress_runtime import StreamingExtractor, load_bundle
from speechpress_runtime.runtime.program_checks import heard
folder, audio, out = sys.argv
wave, found = np.load(audio), {}
engine = load_bundle(folder, threads=1)
assert engine.program.library.name == 'native'
every = heard(engine, wave)
found["frames"] = every.frames
found |= {f"{head}/{name}": rows for head, outputs in every.answers.items() for name, rows in outputs.items()}
found["offline"] = engine.offline(wave)
stream, events = StreamingExtractor(engine), []
for piece in np.array_split(wave, 13): events += stream.push(piece).events
events += stream.flush().events
found["events"] = np.array([str(event.to_dict()) for event in events])
np.savez(out, **found)
"""

if sys.platform != "linux" or shutil.which("g++") is None:
    pytest.skip("needs g++ on Linux", allow_module_level=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, ROOT / "runtime" / "wheel" / "backend.py", folder, "--executorch", package_folder()]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder to import from, with the wheel installed in it as pip does it."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def light(site, code, *words):
    """Run code where only the wheel, numpy and soxr can be imported."""
    command = [sys.executable, "-P", "-c", BARE + code, *map(str, words)]
    env = {name: value for name, value in os.environ.items() if name != choose.VARIABLE} | {"PYTHONPATH": str(site)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def command(site, name, *words):
    code = f"from speechpress_runtime.{name} import main\nsys.argv.insert(0, 'x')\ncode = main(sys.argv[1:])"
    return light(site, f"{code}\nsys.exit(code)", *words)


@pytest.fixture
def natively(site, monkeypatch):
    """speechpress in an environment that has speechpress-runtime as well."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.delenv(choose.VARIABLE, raising=False)


@pytest.fixture(scope="module")
def bundles(small_bundle, small_int8, heads_bundle):
    return {"float32": small_bundle, "int8": small_int8, "heads": heads_bundle}


def test_it_gives_bit_by_bit_what_the_bindings_give(bundles, site, tmp_path, monkeypatch):
    monkeypatch.setenv(choose.VARIABLE, "bindings")
    for name, folder in bundles.items():
        bundle = read_bundle(folder)
        engine = PteEngine(bundle, threads=1)
        assert engine.program.library.name == "bindings"
        for audio in (bundle.golden["audio"], speech_like(17_003, seed=3)):
            np.save(tmp_path / "audio.npy", audio)
            done = light(site, HEARD, folder, tmp_path / "audio.npy", tmp_path / "out.npz")
            assert done.returncode == 0, done.stderr
            found = dict(np.load(tmp_path / "out.npz"))
            every = heard(engine, audio)
            wanted = {f"{head}/{output}": rows for head, said in every.answers.items() for output, rows in said.items()}
            wanted |= {"frames": every.frames, "offline": engine.offline(audio)}
            stream = StreamingExtractor(engine)
            events = [event for piece in np.array_split(audio, 13) for event in stream.push(piece).events]
            wanted["events"] = np.array([str(event.to_dict()) for event in (*events, *stream.flush().events)])
            assert found.keys() == wanted.keys() and len(every.frames) > 10
            assert bool(len(wanted["events"])) == bool(bundle.heads)
            for key, value in wanted.items():
                assert np.array_equal(found[key], value) and found[key].dtype == value.dtype, (name, key)


def test_nothing_heavy_is_loaded_where_it_could_be(bundles, site):
    """In this environment, which has torch and all."""
    code = (
        "import sys, numpy\nfrom speechpress_runtime import StreamingExtractor, load_bundle, profile, verify\n"
        "stream = StreamingExtractor(load_bundle(sys.argv[1], threads=1), 8_000)\n"
        "assert len(stream.push(numpy.zeros(8_000, numpy.float32)).frames)\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    words = [sys.executable, "-P", "-c", code, str(bundles["heads"])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": site})
    assert done.returncode == 0, done.stderr
    assert {"numpy", "soxr", "speechpress_runtime"} <= set(done.stdout.split())
    assert not set(done.stdout.split()) & set(HEAVY)


def test_every_module_of_the_wheel_can_be_imported_by_itself(site):
    """What a module needs is in the wheel, or is only for who has the extra libraries."""
    code = (
        "import importlib, pkgutil, speechpress_runtime as top\n"
        "for found in pkgutil.walk_packages(top.__path__, top.__name__ + '.'):\n"
        "    try: importlib.import_module(found.name)\n"
        "    except ImportError as error: print(found.name, error.name)\n"
        "    else: print(found.name)"
    )
    done = light(site, code)
    failed = [line for line in done.stdout.splitlines() if " " in line]
    assert failed == ["speechpress_runtime.runtime.sound.sound_file soundfile"], done.stderr
    assert {"speechpress_runtime.runtime.demo.worker", "speechpress_runtime.devices.ssh"} <= {*done.stdout.split()}


def test_speechpress_runs_it_where_it_is_installed_and_the_bindings_where_it_is_asked_to(
    bundles, natively, monkeypatch, cli
):
    """Both in one process, as in a test of one against the other."""
    audio, found = speech_like(8_000), {}
    for name in ("native", "bindings"):
        monkeypatch.setenv(choose.VARIABLE, name)
        engine = PteEngine(bundles["float32"], threads=1)
        assert engine.program.library.name == name
        found[name] = heard(engine, audio).frames
    assert np.array_equal(found["native"], found["bindings"])
    monkeypatch.delenv(choose.VARIABLE)
    assert PteEngine(bundles["float32"]).program.library.name == "native"
    said = {check["name"]: check for check in json.loads(cli("doctor", "--json").stdout)["checks"]}
    assert said["engine"]["ok"] and "native, without torch" in said["engine"]["detail"]
    monkeypatch.setenv(choose.VARIABLE, "nativ")
    with pytest.raises(SpeechpressError, match="SPEECHPRESS_ENGINE is 'nativ'"):
        PteEngine(bundles["float32"])


def test_without_it_native_cannot_be_had(small_bundle, monkeypatch):
    monkeypatch.setenv(choose.VARIABLE, "native")
    monkeypatch.setattr(choose, "installed", lambda: None)
    with pytest.raises(SpeechpressError, match="pip install speechpress-runtime"):
        PteEngine(small_bundle)


def test_a_recording_is_heard_in_the_terminal(bundles, site, tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((2, 2, 8_000, 0, "NONE", ""))
        file.writeframes((np.repeat(speech_like(12_000), 2) * 32767).astype("<i2").tobytes())
    done = command(site, "demo_command", bundles["heads"], "--wav", tmp_path / "a.wav")
    assert done.returncode == 0, done.stderr
    assert "heard        1.50 s" in done.stdout and "native, without torch" in done.stderr
    done = command(site, "demo_command", bundles["float32"], "--wav", tmp_path / "a.wav", "--json")
    chunks = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(chunk["frames"] for chunk in chunks) == read_bundle(bundles["float32"]).spec(CHUNK_MS).frames(24_000)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--wav", "/nothing.wav"), "there is no such file"),
        (("--wav", __file__), r"is not a plain WAV"),
        (("--mic", "1"), "pip install sounddevice"),
        (("/nothing", "--stdin"), "no such folder"),
        (("--threads", "0", "--stdin"), "threads is 0"),
    ],
)
def test_what_cannot_be_heard_is_said(site, words, says):
    done = light(site, f"sys.modules['sounddevice'] = None\n{_main('demo_command')}", *words)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr


def _main(name):
    return f"from speechpress_runtime.{name} import main\nsys.exit(main(sys.argv))"


def test_a_device_alone_writes_the_record_that_compress_profile_writes(bundles, site, natively, tmp_path):
    out = tmp_path / "light.json"
    words = ("--chunks", "3", "--threads", "1", "--out", out, "--json")
    done = command(site, "profile_command", bundles["float32"], *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["engine"]["name"] == "native"
    ours = record.read_record(out)
    options = ProfileOptions(threads=1, chunks=3)
    theirs = profile(read_bundle(bundles["float32"]), HostDevice(), options, lambda event: None)
    assert shape(ours) == shape(theirs)
    assert ours["device"]["engine"] == theirs["device"]["engine"]
    assert ours["device"]["engine"]["name"] == "native"
    assert not [warning for warning in ours["warnings"] if warning["name"] == "versions"]


def shape(value):
    """The keys of a document, without the contents of lists."""
    return {key: shape(inner) for key, inner in value.items() if key != "kHz"} if isinstance(value, dict) else None


def test_devices_are_known_without_a_reader_of_yaml(site):
    code = "from speechpress_runtime.devices.known import known_devices\nprint([d.to_dict() for d in known_devices()])"
    done = light(site, code)
    assert done.stdout.strip() == str([device.to_dict() for device in known_devices()]), done.stderr


def test_the_wheel_is_small_and_asks_for_little(wheel, site):
    own = tomllib.loads((ROOT / "runtime" / "pyproject.toml").read_text())["project"]
    theirs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert own["version"] == theirs["version"] and own["requires-python"] == theirs["requires-python"]
    (facts,) = importlib.metadata.distributions(path=[str(site)])
    needed = [line for line in facts.requires if "extra" not in line]
    assert needed == ["numpy>=1.26", "soxr>=0.5"] and facts.version == own["version"]
    assert all(file.locate().is_file() for file in facts.files)
    assert sum(file.locate().stat().st_size for file in facts.files) < 29e6  # with soxr, at most 30 MB
    assert "-py3-none-manylinux_2_28_" in wheel.name
    assert {"LICENSE", "executorch/LICENSE"} <= {
        file.as_posix().split("licenses/")[-1] for file in facts.files if "/licenses/" in file.as_posix()
    }


def test_other_versions_are_said(site, monkeypatch, tmp_path, recwarn):
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(importlib.metadata, "version", {"speechpress": "0.2.0", "speechpress-runtime": "0.2.0"}.get)
    warn_of_other_versions()
    assert not recwarn.list
    monkeypatch.setattr(importlib.metadata, "version", {"speechpress": "0.2.0", "speechpress-runtime": "0.1.0"}.get)
    with pytest.warns(UserWarning, match=r"pip install speechpress-runtime==0\.2\.0"):
        warn_of_other_versions()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"XnnpackBackend", b"XnnpackBackenz", "XnnpackBackenz"),
        (b"aten::", b"newe::", "newe::"),
    ],
)
def test_what_it_has_no_operator_or_backend_for_is_named(bundles, natively, tmp_path, old, new, says):
    """A program of a newer ExecuTorch, or for other hardware."""
    data = (bundles["heads"] / "encoder.pte").read_bytes()
    assert old in data
    (tmp_path / "encoder.pte").write_bytes(data.replace(old, new))
    program = Program(tmp_path / "encoder.pte")
    with pytest.raises(SpeechpressError, match=rf"step_4 cannot be loaded.*{says}.*may lack an operator or a backend"):
        program.load("step_4")


def test_newer_and_damaged_bundles_are_refused_without_torch(bundles, site, tmp_path):
    folder = copied(bundles["float32"], tmp_path)
    document = json.loads((folder / "bundle.json").read_text()) | {"schema": 3}
    (folder / "bundle.json").write_text(json.dumps({**document, "digest": digest(document)}))
    done = command(site, "demo_command", folder, "--stdin")
    assert done.returncode == 1 and "has schema 3" in done.stderr and "upgrade with" in done.stderr
    document = json.loads((bundles["float32"] / "bundle.json").read_text())
    document["target"] |= {"name": "ios-coreml", "backend": "coreml"}
    (folder / "bundle.json").write_text(json.dumps({**document, "digest": digest(document)}))
    done = command(site, "demo_command", folder, "--stdin")
    assert done.returncode == 1 and "needs the backend coreml" in done.stderr
    (folder / "encoder.pte").write_bytes(bytes((bundles["float32"] / "encoder.pte").stat().st_size))
    (folder / "bundle.json").write_text((bundles["float32"] / "bundle.json").read_text())
    done = command(site, "demo_command", folder, "--stdin")
    assert done.returncode == 1 and "is damaged or was replaced" in done.stderr


def test_a_library_that_does_not_load_says_what_to_do(site, tmp_path, monkeypatch):
    folder = shutil.copytree(site / "speechpress_runtime" / "lib", tmp_path / "lib")
    own = folder / library.FILE
    with (
        monkeypatch.context() as patch,
        pytest.raises(SpeechpressError, match=r"interface 1 instead of 9.*install both"),
    ):
        patch.setattr(library, "ABI", 9)
        library.NativeLibrary(own)
    # In a process of its own: a library that is loaded stays loaded under its name.
    code = (
        "from pathlib import Path\nfrom speechpress_runtime.runtime.native.library import NativeLibrary\n"
        "from speechpress_runtime.runtime.errors import SpeechpressError\n"
        "try: NativeLibrary(Path(sys.argv[0]))\nexcept SpeechpressError as error: print(error)"
    )
    (folder / "libexecutorch_etdump.so").unlink()
    assert "libexecutorch_etdump.so is missing; install speechpress-runtime again" in light(site, code, own).stdout
    own.write_bytes(own.read_bytes()[:18] + b"\xb7\x00" + own.read_bytes()[20:])  # of arm64, as its head says
    assert "is for another processor or system" in light(site, code, own).stdout
    own.write_text(100 * "no library")
    assert "is for another processor or system" in light(site, code, own).stdout


def test_the_doctor_of_the_wheel_says_what_runs_and_what_does_not(site, tmp_path):
    done = command(site, "doctor_command", "--json")
    assert done.returncode == 0, done.stderr
    said = {found["name"]: found for found in json.loads(done.stdout)["checks"]}
    assert list(said) == ["python", "processor", "C library", "versions", "engine", "golden clip"]
    assert said["engine"]["detail"].endswith("native, without torch") and said["golden clip"]["ok"]
    broken = shutil.copytree(site, tmp_path / "site")
    (broken / "speechpress_runtime" / "lib" / "libexecutorch_etdump.so").unlink()
    # As it is run: what it starts finds the package where it did itself.
    done = command(broken, "doctor_command")
    assert done.returncode == 1 and "FAIL engine: cannot be loaded" in done.stdout, done.stdout
    assert "libexecutorch_etdump.so is missing" in done.stdout and "ok   processor" in done.stdout


def test_health_tells_of_processor_c_library_and_versions(monkeypatch, tmp_path):
    monkeypatch.setattr(health, "CPUINFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("processor : 0\nFeatures : fp asimd evtstrm crc32\n")  # a Raspberry Pi 4
    assert health.processor()["ok"] and "without dot products of 8-bit numbers" in health.processor()["detail"]
    (tmp_path / "cpuinfo").write_text("processor : 0\nFeatures : fp asimd asimddp\n")  # a Raspberry Pi 5
    assert health.processor()["detail"].endswith(", asimddp")
    for found, ok in ((("glibc", "2.36"), True), (("glibc", "2.27"), False), (("", ""), False)):
        monkeypatch.setattr(health.platform, "libc_ver", lambda found=found: found)
        library_of = health.system_library()
        assert library_of["ok"] is ok and ("pip install ./runtime" in library_of["fix"]) is not ok
    for pair, ok in ((None, True), (("0.2.0", "0.2.0"), True), (("0.2.0", "0.1.0"), False)):
        monkeypatch.setattr(health.pairing, "installed_pair", lambda pair=pair: pair)
        assert health.versions()["ok"] is ok
    assert health.versions()["fix"] == "pip install speechpress-runtime==0.2.0"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.28' not found (required by x.so)", "pip install ./runtime"),
        ("libgomp.so.1: cannot open shared object file: No such file or directory", "apt-get install libgomp1"),
        ("libstdc++.so.6: cannot open shared object file: No such file or directory", "apt-get install libstdc++6"),
        ("x.so: wrong ELF class: ELFCLASS64", "for another processor"),
    ],
)
def test_what_a_system_lacks_is_advised(error, says):
    assert says in library.advice(error)


def test_an_old_processor_is_told_before_numpy_ends_the_process(monkeypatch, tmp_path):
    new, old = "processor\t: 0\nflags\t\t: fpu sse sse2 sse4_2 avx\n", "processor\t: 0\nflags\t\t: fpu sse sse2\n"
    assert processor.fits(new) and processor.fits("BogoMIPS : 108.00\n")  # arm64 calls them Features
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(processor.os, "uname", lambda: SimpleNamespace(machine="x86_64"))
    monkeypatch.setattr(importlib.metadata, "version", {"numpy": "2.4.6"}.get)
    (tmp_path / "cpuinfo").write_text(old)
    with pytest.raises(ImportError, match=r"has no SSE 4\.2.*'numpy<2\.3'"):
        processor.check_processor()
    monkeypatch.setattr(importlib.metadata, "version", {"numpy": "2.2.6"}.get)
    processor.check_processor()


@pytest.fixture(scope="module")
def arm64(tmp_path_factory):
    """The wheel for arm64; SPEECHPRESS_ARM64_EXECUTORCH names an unpacked wheel of ExecuTorch, else pip fetches it."""
    if shutil.which("aarch64-linux-gnu-g++") is None:
        pytest.skip("needs g++-aarch64-linux-gnu")
    folder = tmp_path_factory.mktemp("arm64")
    named = os.environ.get("SPEECHPRESS_ARM64_EXECUTORCH")
    words = ["--arch", "aarch64", "--compiler", "aarch64-linux-gnu-g++", *(["--executorch", named] if named else [])]
    done = subprocess.run(
        [sys.executable, str(ROOT / "runtime" / "wheel" / "backend.py"), str(folder), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_RETRIES": "0", "PIP_TIMEOUT": "10"},
    )
    if "cannot be fetched with pip" in done.stderr:
        pytest.skip("pip cannot get ExecuTorch for arm64")
    assert done.returncode == 0, done.stderr[-3000:]
    return Path(done.stdout.strip())


def test_the_wheel_for_arm64_is_built_here_and_its_library_loads_there(arm64, tmp_path):
    """Its golden clip is run by benchmarks/light_arm64.py, in Python for arm64, which is not installed here."""
    assert "-py3-none-manylinux_2_28_aarch64" in arm64.name
    with zipfile.ZipFile(arm64) as archive:
        archive.extractall(tmp_path)
    own = tmp_path / "speechpress_runtime" / "lib" / library.FILE
    assert own.read_bytes()[18:20] == b"\xb7\x00"  # EM_AARCH64
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("needs qemu-user-static")
    # A program of C that opens the library as Python does, by name, and asks it for its interface.
    source = tmp_path / "ask.c"
    source.write_text(
        '#include <dlfcn.h>\n#include <stdio.h>\n#include "speechpress_c.h"\n'
        "int main(int n, char** words) { void* c = dlopen(words[1], RTLD_NOW);\n"
        'if (!c) { puts(dlerror()); return 1; } printf("%d %s", ((int32_t (*)(void))dlsym(c, "sp_abi"))(),\n'
        '((const char* (*)(void))dlsym(c, "sp_backends"))()); return 0; }\n'
    )
    compile_it = ["aarch64-linux-gnu-g++", "-xc++", f"-I{ROOT}/runtime/cpp/c", source, "-o", tmp_path / "ask", "-ldl"]
    subprocess.run([*map(str, compile_it)], check=True)
    run = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu", "-cpu", "cortex-a76", tmp_path / "ask", own]
    done = subprocess.run([*map(str, run)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(library.ABI), "XnnpackBackend"], done.stdout + done.stderr


PAGE_BYTES, PT_LOAD = 16_384, 1  # of Android 15 on some devices, and of a Raspberry Pi 5


def alignments(data):
    """Of every segment that is loaded, of an ELF file of 64 bits."""
    assert data[:6] == b"\x7fELF\x02\x01"
    start, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    heads = [struct.unpack_from("<II6Q", data, start + size * number) for number in range(count)]
    return [head[7] for head in heads if head[0] == PT_LOAD]


def test_libraries_for_arm64_load_where_pages_are_16_kb(arm64):
    with zipfile.ZipFile(arm64) as archive:
        found = {name: alignments(archive.read(name)) for name in archive.namelist() if name.endswith(".so")}
    assert len(found) == 7 and all(found.values())
    assert all(align >= PAGE_BYTES for aligns in found.values() for align in aligns), found


def test_what_is_linked_for_android_loads_where_pages_are_16_kb(tmp_path):
    """With the option that CMake passes there, and a linker whose own choice is 4 KB, as that of an old NDK."""
    if shutil.which("aarch64-linux-gnu-g++") is None:
        pytest.skip("needs g++-aarch64-linux-gnu")
    cmake = (ROOT / "runtime" / "cpp" / "CMakeLists.txt").read_text()
    (option,) = re.findall(r'if\(ANDROID\).*?INTERFACE "LINKER:(\S+)"\)\nendif', cmake, re.DOTALL)
    (tmp_path / "a.cpp").write_text("int number = 3;\nint* ask() { return &number; }\n")
    words = ["aarch64-linux-gnu-g++", "-shared", "-fPIC", tmp_path / "a.cpp", "-Wl,-z,max-page-size=4096"]
    for flags, wanted in (([], 4096), ([f"-Wl,{option}"], PAGE_BYTES)):
        subprocess.run([*map(str, [*words, *flags, "-o", tmp_path / "a.so"])], check=True)
        assert set(alignments((tmp_path / "a.so").read_bytes())) == {wanted}
