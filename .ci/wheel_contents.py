"""What must be in a wheel and an sdist, and what must not: python .ci/wheel_contents.py WHEEL SDIST, or A B --same."""

import hashlib
import sys
import tarfile
import zipfile
from pathlib import Path

NEEDED = (
    "speechpress/__init__.py",
    "speechpress/py.typed",
    "speechpress/compressor/cli/main.py",
    "speechpress/compressor/starter/hubert-mini/model.safetensors",
    "speechpress/compressor/views/study.html.j2",
    "speechpress/devices/pixel-8.yaml",
    "speechpress/recipes/distilhubert.yaml",
    "speechpress/runtime/demo/demo-bundle/encoder.pte",
    "speechpress/runtime/demo/page/index.html",
)
FORBIDDEN = ("tests/", "/tests/", "fixtures", "benchmarks", ".ci/", ".github", "__pycache__", "/runs/", "conftest")
MAX_BYTES = 40e6


def wheel_files(path: str) -> dict[str, str]:
    """{name: sha256} of a wheel, without its records."""
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if ".dist-info/" not in name]
        return {name: hashlib.sha256(wheel.read(name)).hexdigest() for name in names}


def check(condition: bool, words: str) -> None:
    if not condition:
        raise SystemExit(f"error: {words}")


def main(first: str, second: str, same: bool) -> None:
    files = wheel_files(first)
    if same:
        other = wheel_files(second)
        differs = sorted(name for name in files.keys() | other.keys() if files.get(name) != other.get(name))
        check(not differs, f"the wheels differ: {', '.join(differs[:10])}")
        return
    for name in NEEDED:
        check(name in files, f"{first}: lacks {name}")
    found = sorted(name for name in files if any(part in name for part in FORBIDDEN))
    check(not found, f"{first}: holds {', '.join(found[:10])}")
    check(Path(first).stat().st_size < MAX_BYTES, f"{first}: has {Path(first).stat().st_size:,} bytes")
    check(all(name.startswith("speechpress/") for name in files), f"{first}: installs something beside speechpress")
    with tarfile.open(second) as sdist:
        inside = {name.partition("/")[2] for name in sdist.getnames()}
    for name in ("pyproject.toml", "LICENSE", "README.md", "compressor/cli/main.py", "recipes/distilhubert.yaml"):
        check(name in inside, f"{second}: lacks {name}")
    print(f"{first}: {len(files)} files, {Path(first).stat().st_size / 1e6:.1f} MB; {second}: {len(inside)} entries")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "--same" in sys.argv)
