"""Small encoders and bundles that several tests share, and what is made once for all processes of a run."""

import dataclasses
import fcntl
import os
import shutil
from dataclasses import replace

import numpy as np
import torch

from speechpress.compressor.models.checkpoint import save_encoder, write_json
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder

SMALL = EncoderConfig(
    conv_channels=(16, 16),
    conv_kernels=(400, 3),
    conv_strides=(80, 4),
    conv_norm="static",
    width=32,
    head_dim=8,
    num_heads=(2,),
    ffn_widths=(512,),
    pos_conv_kernel=16,
    pos_conv_groups=4,
    pos_conv_future=2,
    left_context=10,
)
# With seven convolutions, a look-ahead and a running scale: what the native runtimes are held against.
NATIVE = EncoderConfig(
    conv_channels=(16,) * 7,
    conv_norm="static",
    input_norm="running",
    width=32,
    head_dim=8,
    num_heads=(4,),
    ffn_widths=(64,),
    pos_conv_kernel=16,
    pos_conv_groups=4,
    pos_conv_future=3,
    left_context=10,
)
BASE = replace(SMALL, conv_norm="group", pos_conv_future=None, left_context=None)  # does not stream
CHUNK_MS = 80.0


def made_once(tmp_path_factory, name, make):
    """The folder that `make(folder)` filled; the processes of a run share it, and the first to ask makes it."""
    root = tmp_path_factory.getbasetemp()
    # Each process of pytest-xdist has a folder of its own in that of the run.
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, made = root / f"once-{name}", root / f"once-{name}.made"
    with (root / f"once-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def speech_like(samples, seed=0):
    """Noise whose loudness comes and goes, (S,) float32."""
    noise = np.random.default_rng(seed).standard_normal(samples)
    return (noise * 0.1 * (1.2 + np.sin(np.arange(samples) / 3000))).astype(np.float32)


def make(config):
    """An encoder with random weights, norms included."""
    torch.manual_seed(0)
    encoder = Encoder(config).eval()
    encoder.measure_statistics(torch.from_numpy(speech_like(20_000, seed=9))[None])
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.02)
    return encoder


def export_small(checkpoint, out, scheme, target="host", layers="last", heads="none", offline_s=None):
    """The folder of a bundle with chunks of CHUNK_MS; `offline_s=0` makes it in half the time."""
    from speechpress.compressor.export.export import export, plan
    from speechpress.compressor.export.source import open_source
    from speechpress.compressor.targets import target_of

    order = plan(open_source(checkpoint), target_of(target), scheme, (CHUNK_MS,), offline_s, layers, heads)
    export(order, out, allow_fallback=True)  # so small an encoder has little to delegate
    return out


def copied(bundle, folder):
    """A copy that a test may damage."""
    return shutil.copytree(bundle, folder / bundle.name)


DISTIL = EncoderConfig(
    conv_channels=(8,) * 7, width=16, head_dim=8, num_heads=(2,) * 2, ffn_widths=(24,) * 2, pos_conv_kernel=8,
    pos_conv_groups=2, projection_norm=False,
)  # fmt: skip


def saved(folder, **changes):
    save_encoder(folder, Encoder(dataclasses.replace(DISTIL, **changes)).eval())
    write_json(folder / "card.json", {})
    return folder
