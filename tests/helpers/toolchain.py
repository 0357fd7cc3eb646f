"""Compilers for the C++ runtime, and what its tests lay beside a program."""

import hashlib
import importlib.util
import json
import subprocess
from pathlib import Path

CPP = Path(__file__).parents[2] / "runtime" / "cpp"
FLAGS = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror")
DEFINED = ("-DC10_USING_CUSTOM_GENERATED_MACROS", "-DSPEECHPRESS_ETDUMP")
PARTS = ("threadpool", "etdump", "kernels_optimized", "kernels_quantized", "backend_xnnpack")
C10 = "executorch/runtime/core/portable_type/c10"


class Toolchain:
    """A compiler, ExecuTorch's package for what it compiles for, and what runs the result."""

    def __init__(self, compiler, package, runner=(), flags=()):
        self.compiler, self.package, self.runner = compiler, Path(package), list(runner)
        self.flags = [*FLAGS, *flags]

    def compile(self, source, folder):
        include = self.package / "include"
        system = ["-isystem", include, "-isystem", include / C10]
        own = [f"-I{CPP / part}" for part in ("include", "run", "src", "tests")]
        done = folder / f"{source.parent.name}-{source.stem}.o"
        run([self.compiler, *self.flags, *DEFINED, *own, *system, "-c", source, "-o", done])
        return done

    def link(self, objects, program):
        lib = self.package / "lib"
        found = (f"-L{lib}", f"-Wl,-rpath,{lib}", f"-Wl,-rpath-link,{lib}", "-Wl,--no-as-needed", "-lexecutorch")
        parts = [f"-lexecutorch_{part}" for part in PARTS]
        run([self.compiler, *self.flags, *objects, "-o", program, "-pthread", *found, *parts])
        return [*self.runner, program]

    def build(self, folder, together=False):
        """Commands that run the runner and the C++ tests.

        `together`: the files are compiled as one, in a fourth of the time; that each compiles by itself is not seen.
        """
        main = CPP / "run" / "main.cpp"
        parts = [path for path in sorted([*CPP.glob("src/**/*.cpp"), *CPP.glob("run/*.cpp")]) if path != main]
        tests = sorted(CPP.glob("tests/*.cpp"))
        if together:
            parts, tests = [one_of(parts, folder / "parts.cpp")], [one_of(tests, folder / "tests.cpp")]
        parts, tests = ([self.compile(source, folder) for source in sources] for sources in (parts, tests))
        self.link([self.compile(main, folder), *parts], folder / "speechpress-run")
        self.link([*parts, *tests], folder / "speechpress-tests")
        return self.commands(folder)

    def commands(self, folder):
        return [*self.runner, folder / "speechpress-run"], [*self.runner, folder / "speechpress-tests"]


def one_of(sources, path):
    path.write_text("".join(f'#include "{source}"\n' for source in sources), encoding="utf-8")
    return path


def run(words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def package_folder():
    return importlib.util.find_spec("executorch").submodule_search_locations[0]


def sign(folder, contents=None, heads=()):
    """Lay a bundle.json beside programs, with what the runtime reads; `contents` instead of the files'."""
    contents = contents or {path.name: path.read_bytes() for path in folder.glob("*.pte")}
    files = {name: {"sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    (folder / "bundle.json").write_text(json.dumps({"schema": 2 if heads else 1, "files": files, "heads": list(heads)}))
