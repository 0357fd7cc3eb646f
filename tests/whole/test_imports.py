"""The rooms of the house: which may import which, which library lives where, and what importing costs."""

import ast
import graphlib
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

# What each room of the compressor may import, beside itself, the runtime, and the starter's data and paths.
ALLOWED: dict[str, set[str]] = {
    "targets": set(),
    "starter": set(),
    "models": set(),
    "views": set(),
    "track": set(),
    "cluster": set(),
    "recipe": {"models"},
    "surgery": {"models"},
    "data": {"models"},
    "teachers": {"models"},
    "hub": {"models", "teachers"},
    "tasks": {"models", "data"},
    "lessons": {"models", "recipe", "data", "teachers"},
    "quantize": {"models", "data", "targets", "views"},
    "distill": {"models", "cluster", "recipe", "surgery", "data", "teachers", "lessons", "quantize", "views"},
    "export": {"models", "data", "teachers", "quantize", "targets", "views", "devices", "heads"},
    "evaluate": {"models", "cluster", "data", "teachers", "tasks", "distill", "views"},
    "abx": {"models", "data", "tasks", "evaluate"},
    "heads": {"models", "data", "tasks", "lessons", "evaluate", "views"},
    "extract": {"models", "cluster", "data", "teachers", "distill", "evaluate", "heads", "views"},
    "prune": {"models", "recipe", "surgery", "data", "distill", "export", "views", "devices"},
    "study": {
        *("cluster", "models", "recipe", "data", "teachers", "tasks", "quantize"),
        *("distill", "export", "evaluate", "targets", "views"),
    },
    "search": {
        *("cluster", "models", "recipe", "data", "teachers", "quantize"),
        *("distill", "export", "evaluate", "targets", "views"),
    },
}
INNER_ROOMS = {
    "compressor/data/formats",  # readers of the formats of other toolkits, one a file
    "compressor/data/remote",  # what lies in S3, in Google's storage or behind a web server
    "compressor/cli/help",  # how the command line explains itself
}
FLOORS = {"cli", "api"}  # they may import every room, and no room imports them

# Where a library may be imported: rooms, or single files.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "rich": (
        *("compressor/views/", "compressor/cli/", "tables.py"),
        *("runtime/demo/picture.py", "runtime/demo/strips.py", "runtime/demo/view_terminal.py"),
    ),
    "typer": ("compressor/cli/",),
    "executorch": ("compressor/export/", "devices/etdump.py", "runtime/native/bindings.py"),
    "lightning_fabric": ("compressor/distill/",),
    "onnx": ("compressor/export/onnx_program.py",),
    "onnxruntime": ("compressor/export/onnx_program.py", "runtime/onnx/"),
    "fsspec": ("compressor/data/remote/store.py",),
    "aiohttp": ("compressor/data/remote/store.py",),
    "tensorboard": (),
    "wandb": (),
    "ray": ("compressor/cluster/on_ray.py",),
    "submitit": ("compressor/cluster/submit.py",),
    "trackio": (),
    "huggingface_hub": ("runtime/hub/", "compressor/teachers/hub_folder.py"),
    "transformers": ("compressor/teachers/",),
}


def sources(*folders):
    """The code of folders; not what lies in the checkpoint of a student, which is data: transformers loads it."""
    for folder in folders:
        yield from (
            path for path in sorted((ROOT / folder).rglob("*.py")) if "checkpoint" not in path.relative_to(ROOT).parts
        )


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("speechpress", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def for_types_only(tree):
    """The import statements that stand under `if TYPE_CHECKING`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield from ast.walk(node)


def imports_of(path, types=True):
    """(module, line) of everything that a file imports, in functions as well, relative names made absolute."""
    package = ("speechpress", *path.relative_to(ROOT).parent.parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out = set() if types else set(for_types_only(tree))
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield module, node.lineno
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def room_of(module):
    """The room that a module of ours lies in, or the name of its top folder; None for a package itself."""
    parts = module.split(".")
    if parts[0] != "speechpress" or len(parts) < 2:
        return None
    if parts[1] != "compressor":
        return parts[1]
    return parts[2] if len(parts) > 2 else None


def rooms():
    return sorted(path.parent.name for path in (ROOT / "compressor").glob("*/__init__.py"))


def test_every_room_has_its_line_in_the_table():
    assert sorted({*ALLOWED, *FLOORS} - {"targets"}) == rooms()


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_what_its_line_allows(room):
    where = ROOT / "compressor" / room
    files = sorted(where.rglob("*.py")) if where.is_dir() else [where.with_suffix(".py")]
    allowed = {room, "runtime", "recipes", "starter", *ALLOWED[room]}
    for path in files:
        for module, line in imports_of(path):
            found = room_of(module)
            assert found is None or found in allowed, f"{path.relative_to(ROOT)}:{line} imports {module}"


def test_the_table_of_rooms_has_an_order():
    order = list(graphlib.TopologicalSorter(ALLOWED).static_order())
    assert order.index("models") < order.index("distill") < order.index("prune")


def test_the_runtime_and_the_devices_stand_below_the_compressor():
    for path in sources("runtime"):
        assert {room_of(module) for module, _ in imports_of(path)} <= {None, "runtime"}, path
    for path in sources("devices"):
        assert not [m for m, _ in imports_of(path) if m.startswith("speechpress.compressor")], path


def test_what_speechpress_runtime_is_built_of_names_its_own_package_nowhere():
    """The same files lie in two distributions, under two names; and there, nothing but numpy and soxr is installed."""
    for path in sources("runtime", "devices"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
        named += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert not [name for name in named if name and name.split(".")[0] == "speechpress"], path


def test_the_core_of_the_runtime_does_not_import_the_demo():
    for path in (ROOT / "runtime").glob("*.py"):
        assert not [m for m, _ in imports_of(path) if m.startswith("speechpress.runtime.demo")], path


@pytest.mark.parametrize("folder", ["compressor", "runtime", "devices"])
def test_no_two_files_import_each_other(folder):
    """Imports have an order, file by file; a lazy one may not go around it either, one for types may."""
    ours = {module_of(path): path for path in sources("compressor", "runtime", "devices")}
    graph = {}
    for path in sources(folder):
        own = module_of(path)
        if path.name != "__init__.py":
            found = {m for m, _ in imports_of(path, types=False)} - {own}
            graph[own] = {m for m in found if m in ours and ours[m].name != "__init__.py"}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_lives_in_the_rooms_named_for_it(library):
    for path in sources("compressor", "runtime", "devices"):
        name = path.relative_to(ROOT).as_posix()
        home = any(name.startswith(place) or name.endswith(place) for place in LIBRARIES[library])
        assert home or library not in {m.split(".")[0] for m, _ in imports_of(path)}, f"{name} imports {library}"


@pytest.mark.parametrize("folder", ["compressor", "runtime", "devices", "tests", "benchmarks"])
def test_no_module_is_imported_under_a_bare_name_or_by_the_way_of_the_front_door(folder):
    """`import compressor.x` beside `import speechpress.compressor.x` would load the module twice; so would the door."""
    bare = {"compressor", "runtime", "devices", "recipes"}
    for path in sources(folder):
        names = [m for m, line in imports_of(path)]
        assert not [m for m in names if m.split(".")[0] in bare], path
        assert not [m for m in names if m.startswith("speechpress.compressor.api")], path


def test_packages_are_empty_but_for_the_public_one():
    for path in sources("compressor", "runtime", "devices", "recipes"):
        if path.name != "__init__.py" or path.parent.name in ("api", "starter"):
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body), path


@pytest.mark.parametrize("room", rooms())
def test_each_room_says_what_it_is_for_what_goes_in_and_out_and_where_to_start(room):
    doc = ast.get_docstring(ast.parse((ROOT / "compressor" / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    if room in ("api", "starter"):
        assert doc
        return
    assert "In: " in doc and "Out: " in doc and "Start with " in doc
    for name in doc.split():  # what it names is there
        file = name.strip(".,;()").split("/")[-1]
        assert not file.endswith(".py") or (ROOT / "compressor" / room / file).exists(), f"{room}: {file}"


def test_files_stay_readable():
    """House style: files up to 350 lines, functions up to 60, folders up to 20 files, two levels of folders.

    A room may have one room inside, where it holds many files of one kind.
    """
    for path in sources("compressor", "runtime", "devices"):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 350, path
        inside = path.parent.relative_to(ROOT).as_posix() in INNER_ROOMS
        assert len(path.relative_to(ROOT).parts) <= 3 + inside, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 60, f"{path}:{node.lineno} {node.name}"
    for folder in {path.parent for path in sources("compressor", "runtime", "devices", "tests")}:
        assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 20, folder


def loaded_after(code):
    """The modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys, json as j; print(j.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def invoked(*words):
    return (
        "from typer.testing import CliRunner; from speechpress.compressor.cli.main import app; "
        f"assert CliRunner().invoke(app, {list(words)!r}).exit_code == 0"
    )


@pytest.mark.parametrize(
    "code",
    [
        "import speechpress",
        "from speechpress import SpeechpressError, load_recipe, __version__",
        "import speechpress.compressor.cli.main",
        "import speechpress.compressor, speechpress.runtime, speechpress.devices, speechpress.recipes",
        invoked("--help"),
        invoked("--version"),
        invoked("show", "distilhubert"),
        invoked("ls", "targets"),
        invoked("ls", "devices"),
        invoked("profile", "--help"),
        invoked("search", "--help"),
        "import speechpress.devices.report, speechpress.devices.profile, speechpress.compressor.cli.measure_tables",
    ],
)
def test_help_and_show_load_nothing_heavy(code):
    assert not loaded_after(code) & set(HEAVY)


@pytest.mark.parametrize("room", ["recipe", "views", "targets"])
def test_what_needs_no_torch_loads_none(room):
    where = ROOT / "compressor" / room
    names = [module_of(path) for path in (where.rglob("*.py") if where.is_dir() else [where.with_suffix(".py")])]
    assert "torch" not in loaded_after("import " + ", ".join(names))


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
    running = loaded_after("from speechpress.runtime.native.choose import bindings; bindings()")
    assert "executorch.extension.pybindings._C" in running
    assert not running & {"executorch.exir", "executorch.runtime", "torchao", "transformers", "speechpress.compressor"}
