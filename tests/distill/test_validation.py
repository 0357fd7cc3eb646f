import pytest
import torch

from speechpress.compressor.distill.objectives import PredictionHeads
from speechpress.compressor.distill.step import Distiller
from speechpress.compressor.distill.validation import align, validate
from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.teachers.load import load_teacher


def test_alignment_cuts_to_the_shared_frames():
    predictions, targets = align({1: torch.zeros(2, 49, 3)}, {1: torch.ones(2, 50, 3)})
    assert predictions[1].shape == targets[1].shape == (2, 49, 3)


def test_validation_of_a_student_that_is_its_teacher_is_perfect(tiny_teacher):
    """The tiny teacher matched with itself, layer to layer."""
    from speechpress.compressor.distill.objectives import LayerPairs

    encoder = load_encoder(tiny_teacher)
    distiller = Distiller(encoder, LayerPairs([(2, 2), (4, 4)], 32, 32))
    scores = validate(distiller, load_teacher(str(tiny_teacher)), (2, 4), [torch.randn(1, 8000), torch.randn(1, 5000)])
    for score in scores.values():
        assert score["cosine"] == pytest.approx(1, abs=1e-5) and score["l1"] == pytest.approx(0, abs=1e-5)


def test_validation_weighs_clips_by_their_frames(tiny_teacher, tiny_config):
    torch.manual_seed(1)
    distiller = Distiller(Encoder(tiny_config), PredictionHeads([4], 32, 32))
    teacher = load_teacher(str(tiny_teacher))
    short, long = torch.randn(1, 400 + 320 * 9), torch.randn(1, 400 + 320 * 29)
    both = validate(distiller, teacher, (4,), [short, long])["4"]["cosine"]
    single = [validate(distiller, teacher, (4,), [wave])["4"]["cosine"] for wave in (short, long)]
    assert both == pytest.approx((10 * single[0] + 30 * single[1]) / 40, abs=1e-5)
    assert distiller.training


def test_a_student_that_answers_late_is_held_against_what_its_teacher_said_then(tiny_teacher):
    teacher = load_teacher(str(tiny_teacher))

    class Late(torch.nn.Linear):
        """Says what the teacher says, three frames later, and nothing of use before."""

        def forward(self, waves, chunk_frames=None):
            states = teacher.hidden_states(waves, layers=(2, 4))
            return {layer: torch.cat([torch.randn(1, 3, 32), x[:, :-3]], 1) for layer, x in states.items()}

    waves = [torch.randn(1, 8000), torch.randn(1, 1040)]  # of the second there are only three frames
    found = validate(Late(1, 1), teacher, (2, 4), waves, lag_frames=3)
    for figures in found.values():
        assert figures["cosine"] == pytest.approx(1, abs=1e-5) and figures["l1"] == pytest.approx(0, abs=1e-5)
    assert validate(Late(1, 1), teacher, (2, 4), waves)["4"]["cosine"] < 0.99
    predictions, targets = align({1: torch.zeros(1, 7, 2)}, {1: torch.zeros(1, 6, 3)}, 2)
    assert predictions[1].shape == (1, 5, 2) and targets[1].shape == (1, 5, 3)
