"""Tiny transformers models with random weights for parity tests; a change of any tensor changes their hidden states."""

import json

import torch
import transformers

CONV = {"conv_dim": [32] * 7, "conv_stride": [5, 2, 2, 2, 2, 2, 2], "conv_kernel": [10, 3, 3, 3, 3, 2, 2]}
SIZES = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96, **CONV}
STYLES = {
    "base": {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False},
    "large": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}


def shake(model, seed=0, scale=0.05):
    """Move every parameter away from its initial value (norms from 1, biases from 0)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval()


def tiny(family, style="base", head=None, **changes):
    """A tiny model of a HuBERT-like family; `head` names another class than the bare model, such as HubertForCTC."""
    values = {**SIZES, **STYLES[style], "vocab_size": 8, **changes}
    config = transformers.AutoConfig.for_model(family, **values)
    model_class = getattr(transformers, head) if head else transformers.AutoModel._model_mapping[type(config)]
    return shake(model_class(config))


def tiny_whisper(head="WhisperModel"):
    config = transformers.WhisperConfig(
        d_model=48,
        encoder_layers=3,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=96,
        decoder_ffn_dim=96,
        vocab_size=64,
        max_source_positions=1500,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    return shake(getattr(transformers, head)(config))


def save(model, folder, do_normalize=None):
    """Save as a model folder; with a preprocessor_config.json unless `do_normalize` is None."""
    model.save_pretrained(folder)
    if do_normalize is not None:
        transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return str(folder)


def save_processor(folder, do_normalize):
    """As transformers 5 does it: one processor_config.json, with the feature extractor inside."""
    vocabulary = folder / "words.json"
    vocabulary.write_text(json.dumps({"<pad>": 0, "<unk>": 1, "|": 2, "a": 3}))
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize)
    transformers.Wav2Vec2Processor(extractor, transformers.Wav2Vec2CTCTokenizer(str(vocabulary))).save_pretrained(
        folder
    )
    assert (folder / "processor_config.json").is_file() and not (folder / "preprocessor_config.json").exists()


def w2v_bert(folder):
    config = transformers.Wav2Vec2BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=4, intermediate_size=16, vocab_size=8
    )
    shake(transformers.Wav2Vec2BertModel(config)).save_pretrained(folder)
    extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, sampling_rate=16000)
    extractor.save_pretrained(folder)
    return str(folder)


def waves(*lengths, seed=0):
    """Noise, (B, S) with zeros after each row's end, and the lengths."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(length, generator=generator) * 0.1 for length in lengths]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor(lengths)
