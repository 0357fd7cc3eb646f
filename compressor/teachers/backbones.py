"""The modules that compute a teacher's hidden states: waveform in, and the list of its Transformer layers.

Shapes: B batch, S samples, T frames, N log-mel frames, M mel bins, D width.
"""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.schema import check

from ..models.config import SAMPLE_RATE, EncoderConfig
from ..models.encoder import Encoder, normalize
from ..models.fitting import check_fit, check_module
from ..models.preprocessor import extractor_sections
from .families import CODE, REFUSED, Family, family_of
from .hub import hushed_transformers
from .hub_schema import EXTRACTOR, own_values
from .layer_states import FrameCount, conv_frames, find_layers
from .weights import Weights, hubert_names, is_head
from .whisper import WhisperBackbone, whisper_tensors


class EncoderBackbone(nn.Module):
    """Our own encoder: HuBERT, wav2vec 2.0, DistilHuBERT and every checkpoint of this project."""

    can_mask = True
    hears_waves = True

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.model = encoder
        self.layers: Sequence[nn.Module] = encoder.encoder.in_order()

    def frames(self, samples: Any) -> Any:
        count = self.model.config.frames(samples)
        # Under one receptive field, the formula of convolutions goes below 0.
        return count.clamp(min=0) if isinstance(count, Tensor) else max(0, count)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> None:
        self.model.hidden_states(waves, lengths)


class WaveformBackbone(nn.Module):
    """A transformers model that takes (B, S) waveforms and an attention mask over samples.

    Its frames are those of its convolutions, unless `convolutions` is false: then they are counted as they come.
    """

    hears_waves = True

    def __init__(self, model: Any, weights: Weights, convolutions: bool = True) -> None:
        super().__init__()
        self.model = model
        self.normalize_input, self.eps = weights.normalize_input, weights.eps
        self.layers = find_layers(model)
        names = inspect.signature(model.forward).parameters
        # By its signature: families differ in it, and an argument too many is a TypeError.
        self.takes_mask = "attention_mask" in names
        # Without apply_spec_augment transformers ignores mask_time_indices silently: nothing would be hidden.
        spec_augment = getattr(model.config, "apply_spec_augment", True) and hasattr(model, "masked_spec_embed")
        self.can_mask = "mask_time_indices" in names and spec_augment
        self.convolutions = convolutions
        self.counted = FrameCount(self)

    def frames(self, samples: Any) -> Any:
        if not self.convolutions:
            return self.counted(samples)
        return conv_frames(samples, self.model.config.conv_kernel, self.model.config.conv_stride)

    def forward(self, waves: Tensor, lengths: Tensor | None = None, masked: Tensor | None = None) -> None:
        waves = normalize(waves, lengths, self.eps) if self.normalize_input else waves
        mask = {} if masked is None else {"mask_time_indices": masked}
        if lengths is not None and self.takes_mask:
            mask["attention_mask"] = (torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]).long()
        self.model(waves, **mask)


class FeatureBackbone(nn.Module):
    """A transformers model behind its own feature extractor, which runs on the CPU (filter banks, log-mel)."""

    can_mask = False
    hears_waves = False

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__()
        self.model, self.extractor = model, extractor
        self.layers = find_layers(model)
        self.takes_mask = "attention_mask" in inspect.signature(model.forward).parameters
        self.frames = FrameCount(self)

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> None:
        ends = [waves.shape[1]] * len(waves) if lengths is None else lengths.tolist()
        # Extractors are NumPy code, and pad after they have scaled each row alone: so rows are cut to their ends first.
        rows = [wave[:end].cpu().numpy() for wave, end in zip(waves, ends, strict=True)]
        inputs = self.extractor(rows, sampling_rate=SAMPLE_RATE, return_tensors="pt", padding=True)
        # Scaling by the deviation over frames gives NaN for a single frame, and no error.
        if not torch.isfinite(inputs[self.model.main_input_name]).all():
            raise SpeechpressError(
                f"{type(self.extractor).__name__} gives numbers that are none for a recording of {min(ends)} samples; "
                "it is too short for it, or holds such numbers itself"
            )
        # Some extractors return more than their model takes.
        known = {self.model.main_input_name} | ({"attention_mask"} if self.takes_mask else set())
        self.model(**{name: value.to(waves.device) for name, value in inputs.items() if name in known})


Backbone = EncoderBackbone | WaveformBackbone | FeatureBackbone | WhisperBackbone
Built = tuple[Backbone, EncoderConfig | None, tuple[str, ...]]


def build(weights: Weights) -> Built:
    """The module for `weights`, the student config that fits it (None when it has no such front end), and notes.

    Raises:
        SpeechpressError: tensors are missing or do not fit the config, or the family is not known.
    """
    family = family_of(weights.family, weights.config)
    return KINDS[family.kind](family, weights)


def _encoder_kind(family: Family, weights: Weights) -> Built:
    config = encoder_config(weights)
    return EncoderBackbone(_encoder(config, weights)), config, ()


def _waveform_kind(family: Family, weights: Weights) -> Built:
    model, notes = _transformers_model(weights)
    config = encoder_config(replace(weights, config={**_with_defaults(weights), **family.student}))
    return WaveformBackbone(model, weights), config, (*notes, family.note)


def _whisper_kind(family: Family, weights: Weights) -> Built:
    backbone = WhisperBackbone.from_tensors(weights.config, whisper_tensors(weights.tensors))
    return backbone, None, backbone.NOTES


def _found_kind(family: Family, weights: Weights) -> Built:
    """Any other audio encoder; what it takes is told by its main input."""
    model, notes = _transformers_model(weights)
    notes += (f"a {family.name} encoder; its layers were found by their structure",)
    if getattr(model, "main_input_name", "") == "input_values" and hasattr(model, "_get_feat_extract_output_lengths"):
        return WaveformBackbone(model, weights, convolutions=False), None, notes
    if weights.folder is None:
        raise SpeechpressError(f"{_where(weights)}: a {family.name} model needs its preprocessor_config.json")
    # Before transformers reads them: sizes in this file alone decide how large the extractor's tables become.
    for where, values in extractor_sections(weights.folder):
        check(values, EXTRACTOR, where)
    try:
        with hushed_transformers() as transformers:
            # Code in the folder is never run, nor is anybody asked whether it may.
            extractor = transformers.AutoFeatureExtractor.from_pretrained(weights.folder, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError) as error:
        own = "it is code in the folder, which is never run here"
        reason = own if "trust_remote_code" in str(error) else _first_lines(error)
        raise SpeechpressError(f"{weights.folder}: no feature extractor could be made ({reason})") from error
    return FeatureBackbone(model, extractor), None, notes


KINDS = {"encoder": _encoder_kind, "waveform": _waveform_kind, "whisper": _whisper_kind, "found": _found_kind}


def encoder_config(weights: Weights) -> EncoderConfig:
    try:
        return EncoderConfig.from_hubert(_with_defaults(weights), weights.normalize_input, weights.eps, _where(weights))
    except KeyError as error:
        raise SpeechpressError(f"{_where(weights)}: the config has no {error}") from error


def _with_defaults(weights: Weights) -> dict[str, Any]:
    """The config, with transformers' defaults for what config.json leaves out."""
    sizes = {"conv_dim", "conv_kernel", "conv_stride", "hidden_size", "num_hidden_layers", "intermediate_size"}
    if sizes | {"num_attention_heads"} <= set(weights.config):
        return weights.config
    with hushed_transformers() as transformers:
        return _foreign_config(weights, transformers).to_dict()


def _foreign_config(weights: Weights, transformers: Any) -> Any:
    """transformers' own config object; raises ValueError or KeyError for a family that it does not know."""
    try:
        return transformers.AutoConfig.for_model(weights.family, **own_values(weights.config))
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


def _transformers_model(weights: Weights) -> tuple[Any, tuple[str, ...]]:
    """transformers' own module with the weights in it, and a note on tensors that it has no place for."""
    with hushed_transformers() as transformers:
        config, model_class = _model_class(weights, transformers)
        # A copy, because building a model writes into its config.
        check_module(lambda: model_class(copy.deepcopy(config)), weights.tensors, _where(weights))
        try:
            model, report = model_class.from_pretrained(
                None, config=config, state_dict=weights.tensors, output_loading_info=True, dtype=torch.float32
            )
        except (RuntimeError, ValueError) as error:
            raise SpeechpressError(
                f"{_where(weights)}: tensors do not fit the config: {_first_lines(error)}"
            ) from error
    # transformers fills what is missing with random numbers and only warns of it; such a model is no teacher.
    missing = sorted(key for key in report["missing_keys"] if not key.endswith("masked_spec_embed"))
    if missing:
        raise SpeechpressError(f"{_where(weights)}: {len(missing)} tensors are missing, among them {missing[:5]}")
    unused = sorted(key for key in report["unexpected_keys"] if not is_head(key))
    notes = [f"{len(unused)} tensors have no place in it and are left out, such as {unused[0]}"] if unused else []
    # Of a model with a decoder, only the encoder hears the audio.
    return (model.get_encoder() if config.is_encoder_decoder else model), tuple(notes)


def _model_class(weights: Weights, transformers: Any) -> tuple[Any, Any]:
    """Config and class; raises SpeechpressError when this transformers has none."""
    try:
        config = _foreign_config(weights, transformers)
        model_class = transformers.AutoModel._model_mapping[type(config)]
    except (ValueError, KeyError) as error:
        if weights.family in REFUSED:
            raise SpeechpressError(f"{_where(weights)}: {REFUSED[weights.family]}") from error
        own = f"; {CODE}" if weights.config.get("auto_map") else ""
        raise SpeechpressError(
            f"{_where(weights)}: transformers {transformers.__version__} has no model for model_type "
            f"{weights.family!r}{own}"
        ) from error
    return config, (model_class[0] if isinstance(model_class, tuple) else model_class)


def _where(weights: Weights) -> str:
    return str(weights.files[0]) if weights.files else weights.format


def _first_lines(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:4])
