import pytest
import torch
from tiny_models import tiny_whisper, waves
from transformers import WhisperFeatureExtractor

from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def model():
    return tiny_whisper()


@pytest.fixture(scope="module")
def teacher(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    model.save_pretrained(folder)
    return load_teacher(str(folder))


def test_log_mel_equals_that_of_transformers(teacher):
    batch, lengths = waves(16000, 11117)
    extractor = WhisperFeatureExtractor(feature_size=80)
    rows = [batch[row, :end].numpy() for row, end in enumerate(lengths.tolist())]
    theirs = extractor(rows, sampling_rate=16000, return_tensors="pt").input_features
    ours = teacher.backbone.log_mel(batch, lengths)
    for row, end in enumerate((100, 11117 // 160)):
        assert (ours[row, :, :end] - theirs[row, :, :end]).abs().max() < TOLERANCE
    assert not ours[1, :, 11117 // 160 :].any()


@torch.no_grad()
def test_thirty_seconds_equal_transformers_layer_by_layer(teacher, model):
    batch, _ = waves(480_000)
    batch[:, -400:] = 0  # at the very end transformers mirrors the signal, where we have silence
    features = WhisperFeatureExtractor(feature_size=80)(batch[0].numpy(), sampling_rate=16000, return_tensors="pt")
    theirs = model.encoder(features.input_features, output_hidden_states=True)
    ours = teacher.hidden_states(batch)
    for k in range(3):
        assert (ours[k] - theirs.hidden_states[k]).abs().max() < TOLERANCE, k
    last = model.encoder.layer_norm(ours[3])
    assert (last - theirs.last_hidden_state).abs().max() < TOLERANCE


def test_padded_rows_equal_the_row_alone(teacher):
    batch, lengths = waves(16000, 11117, 5600)
    padded = teacher.hidden_states(batch, lengths)
    for row, end in enumerate(lengths.tolist()):
        alone = teacher.hidden_states(batch[row : row + 1, :end])
        frames = teacher.frames(end)
        for k in range(4):
            assert alone[k].shape[1] == frames
            assert (padded[k][row, :frames] - alone[k][0]).abs().max() < TOLERANCE, (row, k)


def test_the_card_says_that_it_is_supervised_and_unpadded(teacher):
    card = teacher.card
    assert (card.family, card.supervised, card.encoder, card.depth, card.width) == ("whisper", True, None, 3, 48)
    assert card.hop_samples == 320
    assert any("supervis" in note for note in card.notes) and any("30 s" in note for note in card.notes)


@pytest.mark.parametrize("head", ["WhisperForConditionalGeneration", "encoder"])
def test_a_whole_model_and_a_bare_encoder_are_read_alike(head, model, teacher, tmp_path):
    if head == "encoder":
        model.encoder.save_pretrained(tmp_path)
    else:
        whole = tiny_whisper(head)
        whole.model.load_state_dict(model.state_dict())
        whole.save_pretrained(tmp_path)
    batch, _ = waves(8000)
    assert torch.equal(load_teacher(str(tmp_path)).hidden_states(batch)[3], teacher.hidden_states(batch)[3])


def test_more_than_thirty_seconds_is_an_error(teacher):
    with pytest.raises(SpeechpressError, match="at most 30 s"):
        teacher.hidden_states(torch.zeros(1, 481_000))
