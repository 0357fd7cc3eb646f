import pytest
import torch
from bundled import CHUNK_MS, speech_like

from speechpress.compressor.distill.objectives import LayerPairs, PredictionHeads
from speechpress.compressor.distill.step import Distiller
from speechpress.compressor.distill.validation import validate
from speechpress.compressor.evaluate.fidelity import ProgramStudent
from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.compressor.models.streaming import chunk_frames_of
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError


@pytest.fixture
def heads():
    torch.manual_seed(0)
    return PredictionHeads((2, 4), 32, 32).eval()


def test_a_float_program_is_as_faithful_as_its_checkpoint(small_bundle, small_checkpoint, tiny_teacher, heads):
    encoder, teacher = load_encoder(small_checkpoint).eval(), load_teacher(str(tiny_teacher))
    waves = [torch.from_numpy(speech_like(samples, seed=samples))[None] for samples in (12_345, 16_000)]
    chunk = chunk_frames_of(encoder.config, CHUNK_MS)
    wanted = validate(Distiller(encoder, heads), teacher, (2, 4), waves, chunk)
    found = validate(ProgramStudent(small_bundle, heads, CHUNK_MS), teacher, (2, 4), waves)
    for layer, values in wanted.items():
        assert found[layer] == pytest.approx(values, abs=1e-4)
    whole = validate(ProgramStudent(small_bundle, heads, None), teacher, (2, 4), waves)
    unchunked = validate(Distiller(encoder, heads), teacher, (2, 4), waves)
    assert whole["2"] == pytest.approx(unchunked["2"], abs=1e-4) and whole["2"] != found["2"]


def test_heads_on_hidden_layers_are_refused(small_bundle):
    with pytest.raises(SpeechpressError, match="a program gives its last layer only"):
        ProgramStudent(small_bundle, LayerPairs([(0, 2), (1, 4)], 32, 32), CHUNK_MS)
