"""Teachers of 2025-26: every layer as transformers computes it where it has their class, else the reason why not."""

import json

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tiny_models import save, shake, tiny

from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

TOLERANCE = 2e-5
# As their published configs are, but for their sizes.
WAVES = {
    "XLS-R": ("wav2vec2", {}),
    "MMS": ("wav2vec2", {"adapter_attn_dim": 16}),
    "mHuBERT-147": ("hubert", {"conv_pos_batch_norm": True}),
}
W2V_BERT = {
    "position_embeddings_type": "relative_key",
    "left_max_position_embeddings": 64,
    "right_max_position_embeddings": 8,
    "conv_depthwise_kernel_size": 31,
    "hidden_act": "swish",
    "add_adapter": False,
}


def sound(*lengths):
    torch.manual_seed(1)
    batch = torch.zeros(len(lengths), max(lengths))
    for row, length in enumerate(lengths):
        batch[row, :length] = torch.randn(length) * 0.1
    return batch


@pytest.mark.parametrize("name", WAVES)
def test_layers_of_those_that_hear_waves(name, tmp_path):
    family, changes = WAVES[name]
    style = "base" if family == "hubert" else "large"
    model = tiny(family, style, **changes)
    teacher = load_teacher(save(model, tmp_path, do_normalize=family == "wav2vec2"))
    batch = sound(12_000)
    fed = (batch - batch.mean()) / (batch.var(correction=0) + 1e-7).sqrt() if family == "wav2vec2" else batch
    with torch.no_grad():
        states = model(fed, output_hidden_states=True).hidden_states
    ours = teacher.hidden_states(batch)
    # The last of the stable layer norm's has the final norm in transformers' list.
    for layer in range(len(states) - (style == "large")):
        assert (ours[layer] - states[layer]).abs().max() < TOLERANCE, layer
    assert teacher.card.encoder is not None and teacher.card.depth == 3


def test_layers_of_w2v_bert_2_behind_its_filter_banks(tmp_path):
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
    model = shake(transformers.Wav2Vec2BertModel(transformers.Wav2Vec2BertConfig(**sizes, **W2V_BERT, vocab_size=8)))
    extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, sampling_rate=16_000)
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    teacher, batch = load_teacher(str(tmp_path)), sound(16_000, 11_000)
    rows = [batch[0].numpy(), batch[1, :11_000].numpy()]
    with torch.no_grad():
        states = model(**extractor(rows, sampling_rate=16_000, return_tensors="pt"), output_hidden_states=True)
    ours = teacher.hidden_states(batch, torch.tensor([16_000, 11_000]))
    for layer, state in enumerate(states.hidden_states):
        assert (ours[layer][0] - state[0]).abs().max() < TOLERANCE, layer
    assert (teacher.card.hop_samples, teacher.card.encoder) == (320, None)


def folder_of(root, config):
    save_file({"encoder.weight": torch.zeros(2)}, root / "model.safetensors")
    (root / "config.json").write_text(json.dumps(config))
    (root / "usad_model.py").write_text(f"open({str(root / 'ran')!r}, 'w')\n")
    return root


@pytest.mark.parametrize("config", [{"model_type": "usad"}, {"model_type": "usad2"}, {}, {"model_type": "unheard-of"}])
def test_models_that_are_code_are_refused_and_not_run(config, tmp_path):
    found = folder_of(tmp_path, {**config, "auto_map": {"AutoModel": "usad_model.UsadModel"}, "encoder_dim": 384})
    with pytest.raises(SpeechpressError, match=r"code in its own repository .*never run here"):
        load_teacher(str(found))
    assert not (tmp_path / "ran").exists()


def test_spidr_and_dinosr_are_refused_with_the_reason(tmp_path):
    names = ("feature_extractor.x", "student.layers.0.x", "teacher.layers.0.x", "codebooks.x", "heads.0.x")
    held = {name: torch.zeros(2) for name in names}
    for number, content in enumerate((held, {"model": held, "step": 3})):
        torch.save(content, tmp_path / f"{number}.pt")
        with pytest.raises(SpeechpressError, match=r"SpidR or DinoSR.*no class for it"):
            load_teacher(str(tmp_path / f"{number}.pt"))
    cfg = {"model": {"_name": "dinosr", "encoder_layers": 12}, "task": {"normalize": True}}
    torch.save({"cfg": cfg, "model": {"x": torch.zeros(2)}}, tmp_path / "d.pt")
    with pytest.raises(SpeechpressError, match="DinoSR: transformers has no class"):
        load_teacher(str(tmp_path / "d.pt"))
