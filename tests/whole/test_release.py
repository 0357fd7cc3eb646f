"""What a release is made of agrees with itself; the wheel itself is built and run by .ci/wheel, which takes minutes."""

import ast
import importlib.util
import io
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import speechpress

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOPS = {"speechpress.compressor": "compressor", "speechpress.runtime": "runtime"}


def contents_checker():
    spec = importlib.util.spec_from_file_location("wheel_contents", ROOT / ".ci" / "wheel_contents.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_stands_in_one_place_and_what_must_repeat_it_agrees():
    wanted = PROJECT["project"]["version"]
    gradle = (ROOT / "runtime" / "android" / "app" / "build.gradle.kts").read_text(encoding="utf-8")
    assert re.search(r'versionName = "(.+)"', gradle)[1] == wanted
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.M)[1] == wanted
    assert "version" not in vars(speechpress)  # read from what is installed, never typed again


def test_every_package_is_in_the_wheel():
    """A room that pyproject does not name is in the repository and missing for whoever installs it."""
    found = {"speechpress", "speechpress.devices", "speechpress.recipes", *TOPS}
    for name, folder in TOPS.items():
        inner = [path.parent.relative_to(ROOT / folder) for path in (ROOT / folder).glob("*/**/__init__.py")]
        found |= {".".join([name, *path.parts]) for path in inner}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found - {"speechpress.compressor.api"}


def test_every_public_name_is_type_checked_as_a_stranger_would():
    """By the flags of `mypy --strict` in .ci/run, and by itself on an installed wheel in .ci/wheel."""
    tree = ast.parse((ROOT / "tests" / "whole" / "strict_consumer.py").read_text(encoding="utf-8"))
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert set(speechpress.__all__) <= named
    assert all("strict_consumer.py" in (ROOT / ".ci" / name).read_text(encoding="utf-8") for name in ("run", "wheel"))
    typed = {key for key, files in PROJECT["tool"]["setuptools"]["package-data"].items() if "py.typed" in files}
    assert typed == {"speechpress", *(f"speechpress.{top}" for top in ("compressor", "runtime", "devices"))}


def test_what_needs_no_extra_is_a_dependency_and_trackers_are_extras():
    extras = PROJECT["project"]["optional-dependencies"]
    assert {"tensorboard", "wandb", "trackio", "onnx", "s3", "gcs"} <= set(extras)
    plain = {re.match(r"[\w-]+", each)[0] for each in PROJECT["project"]["dependencies"]}
    assert "huggingface_hub" in plain and not plain & {"tensorboard", "wandb", "trackio", "onnx", "onnxruntime"}


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_are_whole_and_call_what_there_is(path):
    text = path.read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs and "Never run yet" in text.splitlines()[0]
    for script in re.findall(r"\.ci/\w+", text):
        assert (ROOT / script).stat().st_mode & 0o100, script
    for folder in re.findall(r"working-directory: (\S+)", text):
        assert (ROOT / folder / "settings.gradle.kts").is_file()


def wheel(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, name)
    return str(path)


def test_a_wheel_with_tests_or_without_the_starter_is_refused(tmp_path):
    checker = contents_checker()
    sdist = tmp_path / "s.tar.gz"
    with tarfile.open(sdist, "w:gz") as file:
        inside = ("pyproject.toml", "LICENSE", "README.md", "compressor/cli/main.py", "recipes/distilhubert.yaml")
        for name in inside:
            file.addfile(tarfile.TarInfo(f"speechpress-1/{name}"), io.BytesIO())
    checker.main(wheel(tmp_path / "a.whl", *checker.NEEDED), str(sdist), same=False)
    for names, words in (
        (checker.NEEDED[1:], r"lacks speechpress/__init__\.py"),
        ((*checker.NEEDED, "speechpress/tests/test_a.py"), "holds speechpress/tests"),
        ((*checker.NEEDED, "compressor/a.py"), "beside speechpress"),
    ):
        with pytest.raises(SystemExit, match=words):
            checker.main(wheel(tmp_path / "b.whl", *names), str(sdist), same=False)
    with pytest.raises(SystemExit, match=r"differ: speechpress/__init__\.py"):
        checker.main(wheel(tmp_path / "c.whl", *checker.NEEDED[1:]), str(tmp_path / "a.whl"), same=True)
