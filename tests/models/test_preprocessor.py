import json
import logging
import re

import pytest
import torch
import transformers
from tiny_models import save, save_processor, tiny, waves

from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.compressor.models.preprocessor import NESTED, PLAIN, read_preprocessor
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

DATA2VEC = {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19, "feat_extract_norm": "layer"}
FAMILIES = [
    ("wav2vec2", "base"),
    ("wav2vec2", "large"),
    ("hubert", "large"),
    ("wavlm", "base"),
    ("wavlm", "large"),
    ("data2vec-audio", "base"),
]


@pytest.mark.parametrize("saved", ["processor", "extractor"])
@pytest.mark.parametrize(("family", "style"), FAMILIES)
def test_layers_are_those_behind_the_feature_extractor_of_transformers(family, style, saved, tmp_path, caplog):
    model = tiny(family, style, **(DATA2VEC if family == "data2vec-audio" else {}))
    if saved == "processor":
        save(model, tmp_path)
        save_processor(tmp_path, do_normalize=True)
    else:
        save(model, tmp_path, do_normalize=True)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    teacher = load_teacher(str(tmp_path))
    assert teacher.card.normalize_input and not [
        record for record in caplog.records if record.name.startswith("speechpress")
    ]
    batch, _ = waves(16000)
    for gain in (3.0, 0.3, 0.01):  # speech at about -10, -30 and -60 dB of full scale
        wave = batch * gain + 0.02 * gain
        inputs = extractor(wave[0].numpy(), sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            states = model(inputs["input_values"], output_hidden_states=True).hidden_states
        ours = teacher.hidden_states(wave)
        for k in range(3):
            assert (ours[k] - states[k]).abs().max() < 2e-5, (gain, k)


def test_a_folder_opened_as_a_checkpoint_is_scaled_as_the_teacher_is(tmp_path):
    save(tiny("hubert", "large"), tmp_path)
    save_processor(tmp_path, do_normalize=True)
    batch, _ = waves(8000)
    encoder, teacher = load_encoder(tmp_path), load_teacher(str(tmp_path))
    assert torch.equal(encoder.hidden_states(batch)[3], teacher.hidden_states(batch)[3])
    assert (encoder.config.input_norm, encoder.config.input_norm_eps) == ("utterance", 1e-7)


def write(folder, name, values):
    (folder / name).write_text(json.dumps(values))


def nested(**values):
    return {"processor_class": "Wav2Vec2Processor", "feature_extractor": values}


KIND = {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}


@pytest.mark.parametrize(
    ("plain", "nest", "normalize", "said"),
    [
        ({"do_normalize": True}, None, True, ""),
        ({"do_normalize": False}, None, False, ""),
        (None, nested(do_normalize=True), True, ""),
        (None, nested(do_normalize=False, **KIND), False, ""),
        (None, {"audio_processor": {"do_normalize": True}}, True, ""),
        ({"do_normalize": True}, nested(do_normalize=True), True, ""),
        ({"do_normalize": True}, {"processor_class": "Wav2Vec2Processor"}, True, ""),
        ({"do_normalize": False}, nested(do_normalize=True), True, "do_normalize False.*True; the latter counts"),
        ({"do_normalize": True}, nested(do_normalize=False), False, "do_normalize True.*False; the latter counts"),
        ({}, None, True, "has no do_normalize; the waveform is normalised"),
        (None, nested(**KIND), True, "has no do_normalize; the waveform is normalised"),
        ({"feature_extractor_type": "EncodecFeatureExtractor"}, None, False, "taken as it is"),
        (None, {"processor_class": "Wav2Vec2Processor"}, False, "neither.*taken as it is.*layers are wrong"),
        (None, None, False, "neither.*taken as it is.*layers are wrong"),
    ],
)
def test_what_the_files_say_and_what_is_guessed(plain, nest, normalize, said, tmp_path):
    for name, values in ((PLAIN, plain), (NESTED, nest)):
        if values is not None:
            write(tmp_path, name, values)
    asked = read_preprocessor(tmp_path)
    assert asked.normalize == normalize
    assert len(asked.doubts) == bool(said)
    if said:
        assert re.search(said, asked.doubts[0])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"do_normalize": "yes"}, "do_normalize is 'yes'"),
        ({"do_normalize": 1}, "do_normalize is 1"),
        ({"do_normalize": None, "sampling_rate": 8000}, "8000 Hz"),
        ({"sampling_rate": "16k"}, "16k"),
    ],
)
def test_files_that_make_no_sense_are_refused_by_name(values, said, tmp_path):
    for name, whole in ((PLAIN, values), (NESTED, {"feature_extractor": values})):
        folder = tmp_path / name
        folder.mkdir()
        write(folder, name, whole)
        with pytest.raises(SpeechpressError, match=said) as error:
            read_preprocessor(folder)
        assert name in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"feature_extractor": []}', '{"a":' * 100_000])
def test_damaged_files_are_refused_by_name(text, tmp_path):
    (tmp_path / NESTED).write_text(text)
    with pytest.raises(SpeechpressError, match=NESTED):
        read_preprocessor(tmp_path)


def test_a_guess_is_a_warning_and_stands_in_the_card(tmp_path, caplog):
    folder = save(tiny("hubert"), tmp_path)
    card = load_teacher(folder).card
    load_teacher(folder)
    assert "taken as it is" in card.notes[0]
    (record,) = caplog.records  # once, however often it is opened
    assert record.levelno == logging.WARNING and folder in record.getMessage()


@pytest.mark.parametrize("command", ["convert", "show"])
def test_a_command_says_a_guess_on_stderr_and_nothing_of_third_parties(command, tmp_path, cli):
    """In a process of its own: nothing configures the log but the command."""
    model = tiny("hubert") if command == "convert" else tiny("wav2vec2-conformer", head="Wav2Vec2ConformerForCTC")
    folder = save(model, tmp_path / "teacher")
    words = (folder, tmp_path / "out.pt", "--to", "s3prl-hubert") if command == "convert" else (folder,)
    done = cli(command, *words, "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"WARNING {folder}: neither") and "taken as it is" in line and json.loads(done.stdout)
