"""Bundles of encoders with random weights: their arithmetic, and so their latency, is that of trained ones."""

from dataclasses import replace
from pathlib import Path

import torch

from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.export.export import export, plan
from speechpress.compressor.export.source import open_source
from speechpress.compressor.models.checkpoint import save_encoder
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.targets import target_of
from speechpress.runtime.atomic import write_json

# Random weights do not quantise as trained ones do; what is measured here is time.
ANYTHING = {"none": {"max_abs": 1e-3}, "int8": {"cosine": 0.5}}


def config_of(name: str) -> EncoderConfig:
    base = EncoderConfig()
    return base if name == "hubert-base" else student_config(load_recipe(name), base, base.width)[0]


def export_random(name: str, scheme: str, out: Path) -> Path:
    """The folder of a bundle of `hubert-base` or of a recipe's student, in chunks of 320 ms where it streams."""
    torch.manual_seed(0)
    encoder = Encoder(config_of(name)).eval()
    encoder.measure_statistics(torch.randn(1, 32_000) * 0.1)
    checkpoint = out.parent / f"{out.name}-checkpoint" / name  # a bundle is called as its checkpoint's folder
    save_encoder(checkpoint, encoder)
    write_json(checkpoint / "card.json", {"recipe": {"name": name}, "teacher": None, "steps": None})
    target = replace(target_of("host"), tolerances=ANYTHING)
    chunks = () if encoder.config.blockers else (320.0,)
    order = plan(open_source(checkpoint), target, scheme, chunks)
    export(order, out, allow_fallback=True, say=lambda words: None)
    return out
