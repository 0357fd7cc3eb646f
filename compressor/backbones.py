"""The modules that compute a teacher's hidden states: waveform in, and the list of its Transformer layers.

Shapes: B batch, S samples, T frames, N log-mel frames, M mel bins, D width.
"""

import contextlib
import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json
from speechpress.runtime.schema import check

from .config import SAMPLE_RATE, EncoderConfig
from .encoder import Encoder, normalize
from .fitting import check_fit, check_module
from .hub import import_transformers
from .hub_schema import EXTRACTOR, own_values
from .weights import HUBERT_LIKE, Weights, hubert_names
from .whisper import WhisperBackbone, whisper_tensors


class EncoderBackbone(nn.Module):
    """Our own encoder: HuBERT, wav2vec 2.0, DistilHuBERT and every checkpoint of this project."""

    can_mask = True

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.model = encoder
        self.layers: Sequence[nn.Module] = encoder.encoder.in_order()

    def frames(self, samples: Any) -> Any:
        return self.model.config.frames(samples)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> None:
        self.model.hidden_states(waves, lengths)


class WaveformBackbone(nn.Module):
    """A transformers model that takes (B, S) waveforms and an attention mask over samples."""

    def __init__(self, model: Any, normalize_input: bool) -> None:
        super().__init__()
        self.model = model
        self.normalize_input = normalize_input
        self.layers = find_layers(model)
        names = inspect.signature(model.forward).parameters
        self.takes_mask = "attention_mask" in names
        spec_augment = getattr(model.config, "apply_spec_augment", True) and hasattr(model, "masked_spec_embed")
        self.can_mask = "mask_time_indices" in names and spec_augment

    def frames(self, samples: Any) -> Any:
        count = self.model._get_feat_extract_output_lengths(torch.as_tensor(samples))
        return count if isinstance(samples, Tensor) else int(count)

    def forward(self, waves: Tensor, lengths: Tensor | None = None, masked: Tensor | None = None) -> None:
        waves = normalize(waves, lengths) if self.normalize_input else waves
        mask = {} if masked is None else {"mask_time_indices": masked}
        if lengths is not None and self.takes_mask:
            mask["attention_mask"] = (torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]).long()
        self.model(waves, **mask)


class FeatureBackbone(nn.Module):
    """A transformers model behind its own feature extractor, which runs on the CPU (filter banks, log-mel)."""

    can_mask = False

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__()
        self.model, self.extractor = model, extractor
        self.layers = find_layers(model)
        self.takes_mask = "attention_mask" in inspect.signature(model.forward).parameters
        self.hop_samples = SAMPLE_RATE // 50

    def frames(self, samples: Any) -> Any:
        return samples // self.hop_samples

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> None:
        ends = [waves.shape[1]] * len(waves) if lengths is None else lengths.tolist()
        rows = [wave[:end].cpu().numpy() for wave, end in zip(waves, ends, strict=True)]
        inputs = self.extractor(rows, sampling_rate=SAMPLE_RATE, return_tensors="pt", padding=True)
        known = {self.model.main_input_name} | ({"attention_mask"} if self.takes_mask else set())
        self.model(**{name: value.to(waves.device) for name, value in inputs.items() if name in known})


Backbone = EncoderBackbone | WaveformBackbone | FeatureBackbone | WhisperBackbone


def build(weights: Weights) -> tuple[Backbone, EncoderConfig | None, tuple[str, ...]]:
    """The module for `weights`, the student config that fits it (None when it has no such front end), and notes.

    Raises:
        SpeechpressError: tensors are missing or do not fit the config, or the family is not known.
    """
    if weights.family == "whisper":
        backbone = WhisperBackbone.from_tensors(weights.config, whisper_tensors(weights.tensors))
        return backbone, None, backbone.NOTES
    if weights.family in HUBERT_LIKE and not weights.config.get("adapter_attn_dim"):
        config = encoder_config(weights)
        return EncoderBackbone(_encoder(config, weights)), config, ()
    model = _transformers_model(weights)
    if weights.family == "wavlm":
        note = "a student starts from its front end and layers, but without its relative position bias"
        return WaveformBackbone(model, weights.normalize_input), encoder_config(weights), (note,)
    if weights.family == "data2vec-audio":
        note = "a student starts from its front end and layers, but with a position convolution of its own"
        values = {**weights.config, "num_conv_pos_embeddings": 128, "feat_extract_norm": "layer"}
        config = encoder_config(replace(weights, config={**values, "do_stable_layer_norm": False}))
        return WaveformBackbone(model, weights.normalize_input), config, (note,)
    return _generic(model, weights)


def encoder_config(weights: Weights) -> EncoderConfig:
    try:
        return EncoderConfig.from_hubert(_with_defaults(weights), weights.normalize_input, _where(weights))
    except KeyError as error:
        raise SpeechpressError(f"{_where(weights)}: the config has no {error}") from error


def _with_defaults(weights: Weights) -> dict[str, Any]:
    """The config, with transformers' defaults for what config.json leaves out."""
    sizes = {"conv_dim", "conv_kernel", "conv_stride", "hidden_size", "num_hidden_layers", "intermediate_size"}
    if sizes | {"num_attention_heads"} <= set(weights.config):
        return weights.config
    return _foreign_config(weights).to_dict()


def _foreign_config(weights: Weights) -> Any:
    """transformers' own config object; raises ValueError or KeyError for a family that it does not know."""
    try:
        return import_transformers().AutoConfig.for_model(weights.family, **own_values(weights.config))
    except (ValueError, KeyError):
        raise
    except Exception as error:
        # transformers checks some values itself, with errors of its own classes
        raise SpeechpressError(f"{_where(weights)}: its config cannot be used ({str(error)[:200]})") from error


def _encoder(config: EncoderConfig, weights: Weights) -> Encoder:
    tensors, unknown = hubert_names(weights.tensors)
    if unknown:
        raise SpeechpressError(f"{_where(weights)}: tensors that no {weights.family} encoder has: {unknown[:5]}")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_fit(config, shapes, f"{_where(weights)}: tensors do not fit the config")
    encoder = Encoder(config)
    # Models that were never trained with masking are saved without it; hidden states do not depend on it.
    tensors.setdefault("masked_spec_embed", torch.zeros(config.width))
    try:
        encoder.load_state_dict(tensors)
    except RuntimeError as error:
        raise SpeechpressError(f"{_where(weights)}: tensors do not fit the config: {_first_lines(error)}") from error
    return encoder


def _transformers_model(weights: Weights) -> Any:
    transformers = import_transformers()
    try:
        config = _foreign_config(weights)
        model_class = transformers.AutoModel._model_mapping[type(config)]
    except (ValueError, KeyError) as error:
        raise SpeechpressError(
            f"{_where(weights)}: transformers {transformers.__version__} has no model for model_type {weights.family!r}"
        ) from error
    model_class = model_class[0] if isinstance(model_class, tuple) else model_class
    check_module(lambda: model_class(copy.deepcopy(config)), weights.tensors, _where(weights))
    try:
        with _no_progress_bar(transformers):
            model, report = model_class.from_pretrained(
                None, config=config, state_dict=weights.tensors, output_loading_info=True, dtype=torch.float32
            )
    except (RuntimeError, ValueError) as error:
        raise SpeechpressError(f"{_where(weights)}: tensors do not fit the config: {_first_lines(error)}") from error
    missing = sorted(key for key in report["missing_keys"] if not key.endswith("masked_spec_embed"))
    if missing:
        raise SpeechpressError(f"{_where(weights)}: {len(missing)} tensors are missing, among them {missing[:5]}")
    return model.get_encoder() if config.is_encoder_decoder else model


@contextlib.contextmanager
def _no_progress_bar(transformers: Any) -> Iterator[None]:
    """transformers draws one for loading tensors that are in memory already."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _generic(model: Any, weights: Weights) -> tuple[Backbone, None, tuple[str, ...]]:
    """Any other audio encoder; a short trial makes sure that its layers are frames over time."""
    raw = getattr(model, "main_input_name", "") == "input_values"
    backbone: WaveformBackbone | FeatureBackbone
    if raw and hasattr(model, "_get_feat_extract_output_lengths"):
        backbone = WaveformBackbone(model, weights.normalize_input)
    else:
        if weights.folder is None:
            raise SpeechpressError(f"{_where(weights)}: a {weights.family} model needs its preprocessor_config.json")
        path = weights.folder / "preprocessor_config.json"
        check(read_json(path) if path.is_file() else {}, EXTRACTOR, str(path))
        try:
            extractor = import_transformers().AutoFeatureExtractor.from_pretrained(
                weights.folder, trust_remote_code=False
            )
        except (OSError, ValueError, ImportError) as error:
            raise SpeechpressError(f"{weights.folder}: no feature extractor could be made ({error})") from error
        backbone = FeatureBackbone(model, extractor)
    return backbone, None, (f"a {weights.family} encoder; its layers were found by their structure",)


def find_layers(model: nn.Module) -> Sequence[nn.Module]:
    """The Transformer layers of a model: its ModuleList as long as the config says, of modules of one class.

    Raises SpeechpressError when there is none.
    """
    config: Any = model.config
    depth = getattr(config, "encoder_layers", None) or getattr(config, "num_hidden_layers", None)
    for name, module in model.named_modules():
        named = name.rpartition(".")[2] in ("layers", "layer", "blocks")
        if isinstance(module, nn.ModuleList) and named and len(module) == depth and len({type(x) for x in module}) == 1:
            return list(module)
    raise SpeechpressError(f"{type(model).__name__}: no list of its {depth} Transformer layers was found in it")


def _where(weights: Weights) -> str:
    return str(weights.files[0]) if weights.files else weights.format


def _first_lines(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:4])
