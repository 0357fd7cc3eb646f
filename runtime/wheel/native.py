"""The native part of the wheel: ExecuTorch's libraries, our library linked with them, and where both run."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LINKED = (
    *("executorch", "executorch_threadpool", "executorch_etdump"),
    *("executorch_kernels_optimized", "executorch_kernels_quantized", "executorch_backend_xnnpack"),
)
SOURCES = (
    *("c/speechpress_c.cpp", "c/log.cpp", "c/old_glibc.cpp"),
    *("src/program.cpp", "src/file.cpp", "src/thread_pool.cpp", "src/trace.cpp"),
)
C10 = "executorch/runtime/core/portable_type/c10"
# ExecuTorch's own wheel says 2.28; its libraries and ours name no symbol that is newer (see `platform_tag`).
OLDEST_GLIBC, NEWEST_GLIBCXX = (2, 28), 24
ARCHES = ("x86_64", "aarch64")


@dataclass(frozen=True)
class Target:
    """What is built for: a processor of Linux, or this machine when that is a Mac."""

    arch: str
    compiler: str
    executorch: Path | None

    @classmethod
    def of(cls, arch: str | None, compiler: str | None, executorch: str | None) -> "Target":
        """Of a command line; what is None comes from the environment, as CXX and EXECUTORCH_PACKAGE, or from here."""
        found = executorch or os.environ.get("EXECUTORCH_PACKAGE")
        wanted = arch or platform.machine()
        if sys.platform not in ("linux", "darwin") or (sys.platform == "linux" and wanted not in ARCHES):
            raise SystemExit(f"speechpress-runtime is for Linux on {' and '.join(ARCHES)}, and for macOS; not {wanted}")
        return cls(wanted, compiler or os.environ.get("CXX") or "g++", Path(found) if found else None)

    @property
    def mac(self) -> bool:
        return sys.platform == "darwin"

    @property
    def suffix(self) -> str:
        return ".dylib" if self.mac else ".so"


def executorch_package(target: Target, version: str, scratch: Path) -> Path:
    """The folder `executorch` of a wheel: the one that was named, the installed one if it fits, else fetched by pip."""
    if target.executorch is not None:
        return checked(target.executorch)
    if target.arch == platform.machine() and _installed() == version:
        places = importlib.util.find_spec("executorch").submodule_search_locations  # type: ignore[union-attr]
        return checked(Path(places[0]))  # type: ignore[index]
    # Always for one version of Python: the libraries are the same in all.
    places_for = [] if target.mac else ["--platform", f"manylinux_2_28_{target.arch}", "--python-version", "311"]
    words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download", "--no-deps"]
    words += ["--only-binary=:all:", *places_for, "-d", str(scratch), f"executorch=={version}"]
    if subprocess.run(words, check=False).returncode:
        raise SystemExit(
            f"executorch=={version} for {target.arch} cannot be fetched with pip (see above). Fetch and unpack its "
            "wheel by hand, and name its folder `executorch` in the variable EXECUTORCH_PACKAGE"
        )
    with zipfile.ZipFile(next(scratch.glob("executorch-*.whl"))) as wheel:
        parts = ("executorch/include/", "executorch/lib/", f"executorch-{version}.dist-info/licenses/")
        wheel.extractall(scratch, [name for name in wheel.namelist() if name.startswith(parts)])
    return checked(scratch / "executorch")


def _installed() -> str | None:
    try:
        return importlib.metadata.version("executorch").split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def checked(package: Path) -> Path:
    if not (package / "include" / "executorch" / "extension" / "module" / "module.h").is_file():
        raise SystemExit(f"{package}: is not a folder `executorch` of its wheel: it has no headers")
    return package


def libraries(target: Target, package: Path) -> list[Path]:
    found = [package / "lib" / f"lib{name}{target.suffix}" for name in LINKED]
    missing = [path.name for path in found if not path.is_file()]
    if missing:
        raise SystemExit(f"{package}: lacks {', '.join(missing)}; the wheel of 1.5.1 for Linux has them")
    return found


def compiled(target: Target, package: Path, version: str, cpp: Path, scratch: Path) -> Path:
    """Our library, linked with ExecuTorch's, which it looks for in its own folder."""
    compiler = shlex.split(target.compiler)  # CXX may be "ccache g++"
    if not compiler or shutil.which(compiler[0]) is None:
        raise SystemExit(f"{target.compiler} is not here: on Debian, sudo apt-get install g++, or name one with CXX")
    made, include = scratch / f"libspeechpress{target.suffix}", package / "include"
    flags = ["-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden"]
    flags += ["-DC10_USING_CUSTOM_GENERATED_MACROS", "-DSPEECHPRESS_ETDUMP", f'-DSPEECHPRESS_EXECUTORCH="{version}"']
    flags += [f"-I{cpp / part}" for part in ("include", "src", "c")]
    flags += ["-isystem", str(include), "-isystem", str(include / C10)]
    link = [f"-L{package / 'lib'}", *([] if target.mac else [f"-Wl,-rpath-link,{package / 'lib'}", "-s"])]
    link += ["-Wl,-rpath,@loader_path"] if target.mac else ["-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed"]
    # Kernels and backends announce themselves when they are loaded; nothing refers to them by name.
    named = [f"-l{name}" for name in LINKED]
    words = [*compiler, *flags, *(str(cpp / source) for source in SOURCES), "-o", str(made), *link, *named]
    if subprocess.run(words, check=False).returncode:
        raise SystemExit(f"{target.compiler} cannot build the library (see above); it needs C++17")
    return made


def platform_tag(target: Target, files: Sequence[Path]) -> str:
    """Of the oldest system that has all symbols which these libraries name."""
    if target.mac:
        return sysconfig.get_platform().replace("-", "_").replace(".", "_")
    texts = [path.read_bytes() for path in files]
    # Names of versions lie in a library's table of strings, each ended by a zero.
    glibc = max((2, int(found)) for text in texts for found in re.findall(rb"GLIBC_2\.(\d+)\0", text) or [b"17"])
    glibcxx = max(int(found) for text in texts for found in re.findall(rb"GLIBCXX_3\.4\.(\d+)\0", text) or [b"0"])
    major, minor = max(OLDEST_GLIBC, glibc)
    # A newer C++ library than that of manylinux: right on this system, and not promised for others.
    return f"linux_{target.arch}" if glibcxx > NEWEST_GLIBCXX else f"manylinux_{major}_{minor}_{target.arch}"
