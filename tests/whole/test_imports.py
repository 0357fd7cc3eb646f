"""What importing costs, and which way imports go."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "transformers",
    "lhotse",
    "matplotlib",
    "sklearn",
    "lightning_fabric",
    "numpy",
    "sounddevice",
    "websockets",
)


def loaded_after(code):
    """The modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys, json as j; print(j.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import speechpress.compressor.cli.main",
        "import speechpress.compressor, speechpress.runtime, speechpress.devices, speechpress.recipes",
        "from typer.testing import CliRunner; from speechpress.compressor.cli.main import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0",
        "from typer.testing import CliRunner; from speechpress.compressor.cli.main import app; "
        "assert CliRunner().invoke(app, ['show', 'distilhubert']).exit_code == 0",
        "from typer.testing import CliRunner; from speechpress.compressor.cli.main import app; "
        "assert CliRunner().invoke(app, ['ls', 'targets']).exit_code == 0",
        "from typer.testing import CliRunner; from speechpress.compressor.cli.main import app; "
        "assert CliRunner().invoke(app, ['profile', '--help']).exit_code == 0",
        "from typer.testing import CliRunner; from speechpress.compressor.cli.main import app; "
        "assert CliRunner().invoke(app, ['search', '--help']).exit_code == 0",
        "from typer.testing import CliRunner; from speechpress.compressor.cli.main import app; "
        "assert CliRunner().invoke(app, ['ls', 'devices']).exit_code == 0",
        "import speechpress.devices.report, speechpress.devices.profile, speechpress.compressor.cli.measure_tables",
    ],
)
def test_help_and_show_load_nothing_heavy(code):
    assert not loaded_after(code) & set(HEAVY)


def test_who_owns_a_search_leaves_torch_to_its_workers():
    assert not loaded_after("import speechpress.compressor.search.search") & {"torch", "transformers", "lhotse"}


def test_runtime_never_loads_the_compressor():
    modules = loaded_after(
        "import pkgutil, importlib, speechpress.runtime as r\n"
        "for m in pkgutil.walk_packages(r.__path__, r.__name__ + '.'): importlib.import_module(m.name)"
    )
    assert not any(name.startswith("speechpress.compressor") for name in modules)


def test_a_bundle_is_read_without_torch_and_run_without_the_exporter():
    reading = loaded_after("import speechpress.runtime.bundle, speechpress.runtime.stream")
    assert not [name for name in reading if name.split(".")[0] in ("torch", "executorch")]
    running = loaded_after("from speechpress.runtime.engine import import_executorch; import_executorch()")
    assert "executorch.extension.pybindings._C" in running
    assert not running & {"executorch.exir", "executorch.runtime", "torchao", "transformers", "speechpress.compressor"}


def test_only_the_engine_touches_executorch():
    for path in (ROOT / "runtime").glob("*.py"):
        roots = {name.split(".")[0] for name in imports_of(path)}
        assert path.name == "engine.py" or not roots & {"executorch", "torch"}, path


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


@pytest.mark.parametrize("folder", ["compressor", "runtime", "devices", "tests", "benchmarks"])
def test_no_module_is_imported_under_a_bare_name(folder):
    """`import compressor.x` beside `import speechpress.compressor.x` would load the module twice."""
    bare = {"compressor", "runtime", "devices", "recipes"}
    for path in (ROOT / folder).rglob("*.py"):
        assert not [name for name in imports_of(path) if name.split(".")[0] in bare], path


def test_runtime_and_devices_do_not_name_the_compressor():
    for folder in ("runtime", "devices"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not [name for name in imports_of(path) if name.startswith("speechpress.compressor")], path


def test_files_stay_readable():
    """House style: files up to about 350 lines, functions up to 80."""
    for folder in ("compressor", "runtime", "devices"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert text.count("\n") <= 350, path
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    assert (node.end_lineno or 0) - node.lineno < 80, f"{path}:{node.lineno} {node.name}"
