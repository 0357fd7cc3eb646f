"""The pages are tested: their commands are understood, their Python runs, and what they link to exists."""

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import typer
from sound_server import SoundServer, missing

from speechpress.compressor.cli.main import app
from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.files import load_recipe

ROOT = Path(__file__).parents[2]
PAGES = (
    *("README.md", "CONTRIBUTING.md", "recipes/README.md", "runtime/android/README.md"),
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
# Python that needs a file which only another test makes, and where that is.
NOT_HERE = {"docs/onnx.md": "tests/onnx/test_onnx.py runs it"}
APP = typer.main.get_command(app)
USAGE = typer.BadParameter.__mro__[1]  # the error of every wrong command line; Typer does not name it


def blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def commands(page):
    """Every `compress` of the shell blocks, also behind a pipe, as its words."""
    for block in blocks(page, "(?:bash|sh)"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = next((n for n, word in enumerate(words) if word in ("|", "&&", ">")), len(words))
                if words[0] == "compress":
                    yield words[1:end]
                words = words[end + 1 :]


def test_commands_are_found_wherever_they_stand():
    found = list(commands("README.md"))
    assert ["distill", "--recipe", "distilhubert", "--starter"] in found and len(found) >= 7


# What shows something that ships.
QUICK = sorted(
    {
        tuple(words)
        for page in PAGES
        for words in commands(page)
        if words[0] in ("show", "ls", "cp", "doctor") and not any("/" in word for word in words)
    }
)


@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_quick_commands_of_the_pages_run(words, tmp_path):
    command = [sys.executable, "-m", "speechpress.compressor.cli.main", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3) and "Traceback" not in done.stderr, done.stderr


def parsed(words):
    """Raises what the command line says of words that it does not understand; runs nothing."""
    command, name = APP, "compress"
    while hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, f"there is no command {name}"
        command = command.commands[name]
    return command.make_context(name, list(words))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_pages_is_understood(page):
    """A command or an option that was renamed must not survive in a page."""
    for words in commands(page):
        parsed(words)
        for path in (word for word in words if word.startswith(("compressor/", "recipes/", "runtime/"))):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    "words", [["distil"], ["export", "runs/a", "--target", "host", "--quantise", "int8"], ["export"]]
)
def test_a_command_that_is_none_is_noticed(words):
    with pytest.raises((AssertionError, USAGE)):
        parsed(words)


@pytest.fixture(scope="module")
def pocket(tmp_path_factory):
    """A `runs/pocket`, as the README's command makes it, but for the training."""
    folder = tmp_path_factory.mktemp("readme")
    config, _ = student_config(load_recipe("pocket"), None, 256)
    save_encoder(folder / "runs" / "pocket", Encoder(config))
    write_json(folder / "runs" / "pocket" / "card.json", {})
    return folder


@pytest.fixture(scope="module")
def microphone(tmp_path_factory):
    """The environment in which there is a microphone; None where that cannot be."""
    if missing():
        yield None
        return
    server = SoundServer(tmp_path_factory.mktemp("sound") / "run")
    yield {**os.environ, **server.env}
    server.stop()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_blocks_run(page, pocket, microphone):
    for block in blocks(page, "python"):
        compile(block, page, "exec")
        if page in NOT_HERE:
            continue
        if "Microphone(" in block and microphone is None:
            continue
        if "speechpress_runtime" in block and find_spec("speechpress_runtime") is None:
            continue  # another distribution; `.ci/run` builds it and runs it elsewhere
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=pocket, env=microphone, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_the_class_for_xares_is_called_as_xares_calls_it(pocket, monkeypatch):
    """Its checker: a class without arguments, these attributes, (2, 50000) samples to (B, T, D)."""
    (block,) = [block for block in blocks("docs/evaluation.md", "python") if "hop_size_in_ms" in block]
    names = {}
    exec(compile(block, "evaluation.md", "exec"), names)
    monkeypatch.chdir(pocket)
    (name,) = [name for name in names if name.endswith("Encoder")]
    encoder = names[name]().to("cpu")
    with torch.inference_mode():
        frames = encoder(torch.randn(2, 50_000))
        assert encoder(torch.randn(50_000)).shape == (1, *frames.shape[1:])
    assert frames.ndim == 3 and frames.shape[2] == encoder.output_dim and torch.isfinite(frames).all()
    # A frame of `pocket` hears 105 ms, so the last 85 ms of a recording make none.
    made_ms = frames.shape[1] * encoder.hop_size_in_ms
    assert 85 <= 50_000 / encoder.sampling_rate * 1000 - made_ms < 85 + encoder.hop_size_in_ms


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_repository_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target
