"""The READMEs are tested: their blocks run, and what they link to exists."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from sound_server import SoundServer, missing

from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.files import load_recipe

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "recipes/README.md",
    "docs/answers.md",
    "docs/demo.md",
    "docs/evaluation.md",
    "docs/data.md",
    "docs/extract.md",
    "docs/heads.md",
    "docs/hub.md",
    "docs/pruning.md",
    "docs/quantisation.md",
    "docs/runtime.md",
    "docs/search.md",
    "docs/study.md",
)
# Run elsewhere: the first by CI and by hand (it is the whole main job), the second is this very test run.
RUN_ELSEWHERE = ("pip install", "--starter")


def blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def commands(page):
    for block in blocks(page, "(?:bash|sh)"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                yield line.split("  #")[0].strip()


QUICK = [line for page in PAGES for line in commands(page) if re.match(r"compress (show|ls|cp|doctor)\b", line)]


@pytest.mark.parametrize("line", QUICK)
def test_quick_commands_of_the_readme_run(line, tmp_path):
    program = f"{sys.executable} -m speechpress.compressor.cli.main"
    words = re.sub(r"^compress", program, line)
    done = subprocess.run(words, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3) and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_pages_has_arguments_that_exist(page):
    """A renamed option must not survive in the README."""
    for line in commands(page):
        if not line.startswith("compress "):
            continue
        words = line.split()[1:]
        name = words[:2] if words[0] == "study" else words[:1]
        env = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
        command = [sys.executable, "-m", "speechpress.compressor.cli.main", *name, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, line
        for option in re.findall(r"(?<=\s)--[a-z-]+", line):
            assert option in done.stdout, line


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


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run(page, pocket, microphone):
    for block in blocks(page, "python"):
        compile(block, page, "exec")
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
    assert frames.shape[1] == pytest.approx(50_000 / encoder.sampling_rate * 1000 / encoder.hop_size_in_ms, abs=1.5)


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_repository_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target
