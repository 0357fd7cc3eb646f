"""What several tests share: a tiny teacher with random weights, and a few clips of the starter speech."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

# A shell's background job ignores Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: more threads only wait for each other

# The files that take longest, about in this order. The processes of `pytest -n 2 --dist loadfile
# --no-loadscope-reorder` begin with them, because who begins with a long one at the end lets the others wait. Where a
# file stands, or that it is missing, matters little.
LONGEST = (
    "distill/test_distill",
    "export/test_export",
    "native/test_light",
    "native/test_cpp",
    "whole/test_hostile",
    "whole/test_kill_points",
    "whole/test_end_to_end",
    "native/test_cpp_sanitized",
    "export/test_export_heads",
    "native/test_android",
    "cli/test_search",
    "cli/test_cli",
    "onnx/test_onnx",
    "quantize/test_quantize",
    "prune/test_prune",
    "study/test_study",
    "evaluate/test_quick",
    "runtime_demo/test_page",
    "cli/test_demo",
    "whole/test_docs",
    "distill/test_processes",
    "export/test_prepare_heads",
    "whole/test_site",
    "export/test_partition",
    "export/test_pt2e",
    "quantize/test_sensitivity",
    "search/test_shared",
    "search/test_trial",
    "extract/test_extract",
    "extract/test_source",
    "data_formats/test_to_shar",
    "track/test_tracker",
    "runtime/test_bundle",
    "cluster/test_submit",
    "cluster/test_executor",
    "cli/test_measure",
)
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    # One process alone ends when it ends.
    if "PYTEST_XDIST_WORKER" in os.environ:
        places = {name: place for place, name in enumerate(LONGEST)}
        items.sort(key=lambda item: places.get(item.path.relative_to(HERE).with_suffix("").as_posix(), len(places)))


@pytest.fixture(scope="session")
def tiny_config():
    from speechpress.compressor.models.config import EncoderConfig

    return EncoderConfig(
        conv_channels=(16,) * 7,
        width=32,
        head_dim=8,
        num_heads=(4,) * 4,
        ffn_widths=(64,) * 4,
        pos_conv_kernel=16,
        pos_conv_groups=4,
    )


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory, tiny_config):
    """Folder of a teacher with 4 layers x 32 and random weights."""
    import torch

    from speechpress.compressor.models.checkpoint import save_encoder
    from speechpress.compressor.models.encoder import Encoder

    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    # As a teacher it must not be random to the probes' liking only: scale it so that layers differ.
    encoder = Encoder(replace(tiny_config, dropout=0.0))
    for parameter in encoder.encoder.layers.parameters():
        parameter.data.mul_(3)
    save_encoder(folder, encoder)
    return folder


@pytest.fixture(scope="session")
def few_clips(tmp_path_factory):
    """Folder with 16 short clips of the starter speech, in two languages."""
    from speechpress.compressor.starter import SPEECH

    folder = tmp_path_factory.mktemp("clips")
    for language in ("en", "fr"):
        files = sorted((SPEECH / "audio" / language).rglob("*.opus"), key=lambda path: (path.stat().st_size, path.name))
        for path in files[20:28]:
            shutil.copy(path, folder / f"{language}-{path.name}")
    return folder


def run_cli(*words: object, cwd: Path, env: dict | None = None, timeout: float = 120) -> subprocess.CompletedProcess:
    """Run `compress` as a user would, in its own process."""
    command = [sys.executable, "-m", "speechpress.compressor.cli.main", *map(str, words)]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def cli(tmp_path):
    """Call `compress` with words; its working folder is empty."""
    return lambda *words, **more: run_cli(*words, cwd=more.pop("cwd", tmp_path), **more)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory):
    """Checkpoint folder of a streaming encoder with two convolutions and one layer, which is lowered in seconds."""
    import torch
    from bundled import SMALL, made_once, make

    from speechpress.compressor.models.checkpoint import save_encoder, write_json

    def write(folder):
        torch.manual_seed(0)
        save_encoder(folder / "small", make(SMALL))
        about = {"recipe": {"name": "small"}, "teacher": {"source": "a teacher"}, "steps": 3}
        write_json(folder / "small" / "card.json", about)

    return made_once(tmp_path_factory, "checkpoint", write) / "small"


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory, small_checkpoint):
    """Bundle of `small_checkpoint` in float32, chunks of 80 ms; not to be changed, see `bundled.copied`."""
    from bundled import export_small, made_once

    def write(folder):
        export_small(small_checkpoint, folder / "small-host", "none")

    return made_once(tmp_path_factory, "bundle", write) / "small-host"


@pytest.fixture(scope="session")
def small_int8(tmp_path_factory, small_checkpoint):
    """As `small_bundle`, quantised for Android."""
    from bundled import export_small, made_once

    def write(folder):
        export_small(small_checkpoint, folder / "small-android", "int8", "android")

    return made_once(tmp_path_factory, "int8", write) / "small-android"


@pytest.fixture(scope="session")
def heads_bundle(tmp_path_factory):
    """Bundle of a small encoder with heads of four kinds; not to be changed."""
    from bundled import made_once
    from carried import export_with_heads

    return made_once(tmp_path_factory, "heads", export_with_heads) / "bundle"


@pytest.fixture(scope="session")
def native(tmp_path_factory):
    """(toolchain, runner, C++ tests): commands, built for this machine."""
    from bundled import made_once
    from toolchain import Toolchain, package_folder

    compiler = shutil.which("g++")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs g++ on Linux")
    toolchain = Toolchain(compiler, package_folder())
    return toolchain, *toolchain.commands(made_once(tmp_path_factory, "native", toolchain.build))


@pytest.fixture(scope="session")
def mini_data(tmp_path_factory):
    """Data root of the mini suite with tiny corpora of tones; not to be changed."""
    from corpora import mini_root

    return mini_root(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="session")
def superb_data(tmp_path_factory):
    """Data root with SUPERB's corpora, tiny, in their published layouts; not to be changed."""
    from layouts import superb_root

    return superb_root(tmp_path_factory.mktemp("superb"))


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory):
    """Folders of a teacher of 2 layers x 16 and of a student, its first layer, which names it in its card."""
    import torch

    from speechpress.compressor.models.checkpoint import save_encoder, write_json
    from speechpress.compressor.models.config import EncoderConfig
    from speechpress.compressor.models.encoder import Encoder

    config = EncoderConfig(
        conv_channels=(8,) * 7,
        width=16,
        head_dim=8,
        num_heads=(2,) * 2,
        ffn_widths=(24,) * 2,
        pos_conv_kernel=8,
        pos_conv_groups=2,
    )
    root = tmp_path_factory.mktemp("pair")
    torch.manual_seed(0)
    teacher = Encoder(config).eval()
    student = Encoder(config.with_layers(1)).eval()
    student.load_state_dict(teacher.state_dict(), strict=False)
    save_encoder(root / "teacher", teacher)
    save_encoder(root / "student", student)
    write_json(root / "student" / "card.json", {"teacher": {"source": str(root / "teacher")}})
    return root
