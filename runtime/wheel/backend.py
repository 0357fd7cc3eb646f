"""Builds the wheel of `speechpress-runtime` (PEP 517), for `pip install ./runtime`; by hand for any processor:

    python runtime/wheel/backend.py OUT [--arch aarch64 --compiler aarch64-linux-gnu-g++]

The library has a plain C interface, which is independent of Python's version, so one wheel (py3-none-PLATFORM) serves
all. setuptools and scikit-build-core would tag it for one version, and the former leaves files in the source tree.
"""

import argparse
import base64
import hashlib
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # by hand, it lies on no path

from native import Target, compiled, executorch_package, libraries, platform_tag  # noqa: E402

ROOT = HERE.parent  # of the runtime
PACKAGE = "speechpress_runtime"
FRONT = {
    "front_door.py": "__init__.py",
    **{name: name for name in ("demo_command.py", "doctor_command.py", "profile_command.py")},
}
# What needs rich or websockets, or draws reports, stays with speechpress.
LEFT_OUT = {
    *("demo/picture.py", "demo/strips.py", "demo/view_terminal.py", "demo/web.py", "demo/web_orders.py"),
    *("devices/report.py", "devices/report_charts.py", "devices/baseline.py"),
}
ROOMS = ("", "answers", "demo", "hub", "native", "sound", "students")
WHEEL = "Wheel-Version: 1.0\nGenerator: speechpress\nRoot-Is-Purelib: false\nTag: {tag}\n"
OLDEST = (1980, 1, 1, 0, 0, 0)  # of a zip; always the same, so that a wheel can be built twice


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    return []


def get_requires_for_build_sdist(config_settings: dict[str, Any] | None = None) -> list[str]:
    return []


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Its file's name. `config_settings`: arch, compiler and executorch (a folder), as on the command line."""
    given = config_settings or {}
    return build(Path(wheel_directory), Target.of(given.get("arch"), given.get("compiler"), given.get("executorch")))


def build_sdist(sdist_directory: str, config_settings: dict[str, Any] | None = None) -> str:
    raise SystemExit(
        "speechpress-runtime is built from a checkout, whose other folders it needs: pip install ./runtime, or "
        "python -m build --wheel runtime"
    )


def build(folder: Path, target: Target) -> str:
    """Compile the library, and write the wheel into `folder`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    facts, executorch = project["project"], project["tool"]["speechpress"]["executorch"]
    with TemporaryDirectory() as scratch:
        package = executorch_package(target, executorch, Path(scratch))
        built = [compiled(target, package, executorch, ROOT / "cpp", Path(scratch)), *libraries(target, package)]
        name, tag = facts["name"].replace("-", "_"), f"py3-none-{platform_tag(target, built)}"
        info = f"{name}-{facts['version']}.dist-info"
        files = dict(sources())
        files |= {f"{PACKAGE}/lib/{path.name}": path.read_bytes() for path in built}
        files |= {f"{info}/licenses/{path}": data for path, data in licenses(package)}
        files |= {
            f"{info}/METADATA": metadata(facts).encode(),
            f"{info}/WHEEL": WHEEL.format(tag=tag).encode(),
            f"{info}/entry_points.txt": scripts(facts["scripts"]).encode(),
        }
        path = folder / f"{name}-{facts['version']}-{tag}.whl"
        write_wheel(path, files, f"{info}/RECORD")
    return path.name


def sources() -> Iterator[tuple[str, bytes]]:
    """(name in the wheel, bytes) of our own files."""
    for file, name in FRONT.items():
        yield f"{PACKAGE}/{name}", (HERE / file).read_bytes()
    for room in ROOMS:
        for path in sorted((ROOT / room).glob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in LEFT_OUT:
                yield f"{PACKAGE}/runtime/{name}", path.read_bytes()
    for path in sorted((ROOT / "demo" / "demo-bundle").iterdir()):
        yield f"{PACKAGE}/runtime/demo/demo-bundle/{path.name}", path.read_bytes()
    for path in sorted((ROOT.parent / "devices").glob("*.*")):
        if path.suffix in (".py", ".yaml") and f"devices/{path.name}" not in LEFT_OUT:
            yield f"{PACKAGE}/devices/{path.name}", as_json(path) if path.suffix == ".yaml" else path.read_bytes()
    yield f"{PACKAGE}/py.typed", b""


def as_json(path: Path) -> bytes:
    """A YAML file as JSON, which is YAML as well, and which Python reads by itself."""
    import json

    import yaml

    return json.dumps(yaml.safe_load(path.read_text("utf-8")), ensure_ascii=False, indent=1).encode()


def licenses(executorch: Path) -> Iterator[tuple[str, bytes]]:
    """Ours and ExecuTorch's."""
    yield "LICENSE", (ROOT.parent / "LICENSE").read_bytes()
    for path in sorted(executorch.parent.glob("executorch-*.dist-info/licenses/LICENSE*")):
        yield f"executorch/{path.name}", path.read_bytes()


def metadata(facts: dict[str, Any]) -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {facts['name']}",
        f"Version: {facts['version']}",
        f"Summary: {facts['description']}",
        f"Keywords: {','.join(facts['keywords'])}",
        f"License-Expression: {facts['license']}",
        f"Requires-Python: {facts['requires-python']}",
        *(f"Requires-Dist: {name}" for name in facts["dependencies"]),
    ]
    for extra, names in facts["optional-dependencies"].items():
        lines += [f"Provides-Extra: {extra}", *(f'Requires-Dist: {name}; extra == "{extra}"' for name in names)]
    return "\n".join(lines) + "\n"


def scripts(named: dict[str, str]) -> str:
    return "\n".join(["[console_scripts]", *(f"{name} = {place}" for name, place in named.items())]) + "\n"


def write_wheel(path: Path, files: dict[str, bytes], record: str) -> None:
    rows = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files = {**files, record: "\n".join([*rows, f"{record},,"]).encode() + b"\n"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, OLDEST)
            entry.external_attr = (0o755 if "/lib/" in name else 0o644) << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def main() -> None:
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("out", type=Path, help="folder of the wheel")
    words.add_argument("--arch", help="processor, such as aarch64; else this machine's")
    words.add_argument("--compiler", help="C++ compiler for it; else $CXX or g++")
    words.add_argument("--executorch", help="folder `executorch` of an unpacked wheel; else pip fetches one")
    given = words.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    print(given.out / build(given.out, Target.of(given.arch, given.compiler, given.executorch)))  # noqa: T201


if __name__ == "__main__":
    main()
