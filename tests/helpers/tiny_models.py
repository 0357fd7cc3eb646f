"""Tiny transformers models with random weights for parity tests; a change of any tensor changes their hidden states."""

import json
from dataclasses import replace

import torch
import transformers

from speechpress.compressor.distill.objectives import PredictionHeads
from speechpress.compressor.distill.step import Distiller, Trainer
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.schema import Match, Train

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


MASKED = Match(layers=(2, 4), mask_prob=0.5, mask_length=3)
ROWS = torch.randn(7, 8000, generator=torch.Generator().manual_seed(0)) * 0.1  # (B, S)


class Pull:
    """A penalty that pulls all weights towards zero, harder from step to step."""

    def __init__(self, module):
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def __call__(self, step):
        return 0.5 * (step + 1) * sum(parameter.square().sum() for parameter in self.parameters)

    def facts(self, step):
        return {"pull": float(step)}


def make_trainer(teacher, config, fabric, accumulate=1, *, match=MASKED, pull=True, **settings):
    torch.manual_seed(0)
    still = replace(config.with_layers(2), dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)
    module = Distiller(Encoder(still), PredictionHeads(match.layers, 32, 32)).train()
    train = Train(steps=10, lr=1.0, warmup=0.0, schedule="constant", clip=0.0, accumulate=accumulate, seed=3)
    train = replace(train, **settings)
    penalty = Pull(module) if pull else None
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    # Plain descent, so that a gradient that is off by a factor is a weight that is.
    distiller, optimizer = fabric.setup(module, torch.optim.SGD(trained, lr=1.0))
    return Trainer(
        fabric=fabric, teacher=teacher, distiller=distiller, optimizer=optimizer, match=match, train=train,
        penalty=penalty,
    )  # fmt: skip
