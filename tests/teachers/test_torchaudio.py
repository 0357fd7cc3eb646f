import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from tiny_models import save, shake, tiny, waves

from speechpress.compressor.teachers.load import load_teacher
from speechpress.compressor.teachers.torchaudio import from_torchaudio, torchaudio_problem
from speechpress.runtime.errors import SpeechpressError

BROKEN = "raise OSError('libcudart.so.13: cannot open shared object file: No such file or directory')\n"

LOAD = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(message)s")
from speechpress.compressor.teachers.hub import import_transformers
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError
assert "torchaudio" not in sys.modules
import transformers
assert transformers.utils.is_torchaudio_available(), "it has not looked before we hide torchaudio"
import_transformers()
from transformers import HubertModel, Wav2Vec2FeatureExtractor
for folder in sys.argv[1:]:
    print("depth", load_teacher(folder).card.depth)
try:
    load_teacher("torchaudio:HUBERT_BASE")
except SpeechpressError as error:
    print("error", error)
"""


def test_a_torchaudio_that_cannot_be_imported_breaks_nothing_else(tmp_path):
    package = tmp_path / "site" / "torchaudio"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").write_text("from . import lib\n")
    (package / "lib" / "__init__.py").write_text(BROKEN)
    folders = [save(tiny(family), tmp_path / family, do_normalize=False) for family in ("hubert", "wavlm")]
    paths = os.pathsep.join([str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *folders],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("depth 3") == 2
    error = done.stdout.partition("error")[2]
    for part in ("torchaudio:HUBERT_BASE", "libcudart.so.13", "pip uninstall torchaudio"):
        assert part in error, part
    warnings = [line for line in done.stderr.splitlines() if line.startswith("WARNING torchaudio")]
    assert len(warnings) == 1 and "libcudart.so.13" in warnings[0]


def test_a_missing_torchaudio_is_an_error_that_says_how_to_get_it():
    if torchaudio_problem() or importlib.util.find_spec("torchaudio"):
        pytest.skip("torchaudio is installed")
    with pytest.raises(SpeechpressError, match=r"speechpress\[torchaudio\]"):
        load_teacher("torchaudio:HUBERT_BASE")


def torchaudio_models():
    if torchaudio_problem():
        pytest.skip("torchaudio cannot be imported here")
    return pytest.importorskip("torchaudio.models")


TINY = {
    "extractor_conv_layer_config": [(32, 10, 5)] + [(32, 3, 2)] * 4 + [(32, 2, 2)] * 2,
    "encoder_embed_dim": 48,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 128,
    "encoder_pos_conv_groups": 16,
    "encoder_num_layers": 3,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 96,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_drop": 0.0,
}
STYLES = {
    "base": {"extractor_mode": "group_norm", "extractor_conv_bias": False, "encoder_layer_norm_first": False},
    "large": {"extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True},
}


@pytest.mark.parametrize("style", ["base", "large"])
@pytest.mark.parametrize("family", ["wav2vec2", "wavlm"])
@torch.no_grad()
def test_every_layer_equals_torchaudio(family, style):
    from speechpress.compressor.teachers.backbones import build
    from speechpress.compressor.teachers.load import collect

    models = torchaudio_models()
    if family == "wavlm":
        model = models.wavlm_model(
            **TINY, **STYLES[style], encoder_num_buckets=32, encoder_max_distance=80, aux_num_out=None
        )
    else:
        model = models.wav2vec2_model(**TINY, **STYLES[style], aux_num_out=8)
    shake(model)
    weights = from_torchaudio(model)
    assert (weights.family, weights.supervised) == (family, family == "wav2vec2")
    backbone, config, _ = build(weights)
    backbone.eval()
    batch, lengths = waves(16000, 11000)
    ours, theirs = collect(backbone, batch, None, {1, 2, 3}), model.extract_features(batch)[0]
    for k in (1, 2, 3):
        assert (ours[k] - theirs[k - 1]).abs().max() < 2e-5, k
    assert config.pre_norm == (style == "large")
    if family == "wav2vec2":
        frames = int(config.frames(11000))
        ours, theirs = collect(backbone, batch, lengths, {3}), model.extract_features(batch, lengths)[0]
        assert (ours[3][1, :frames] - theirs[2][1, :frames]).abs().max() < 2e-5
