"""torchaudio, an extra: its bundles as teachers, and peace of mind when it is installed but cannot be imported.

torchaudio's wheel for Linux is a CUDA build whose import fails beside a CPU-only torch. `transformers` imports
torchaudio whenever the package is there, so that one broken package would take every model with it.
"""

import dataclasses
import functools
import importlib
import importlib.util
import logging
import sys
from typing import Any

from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from .weights import Weights, modern_name

logger = logging.getLogger(__name__)

HOW_TO_MEND = (
    "Install the build that fits your torch (pytorch.org, 'Get Started', lists a CPU one for a CPU-only torch), or "
    "remove it with: pip uninstall torchaudio. Everything but torchaudio: teachers works without it"
)


@functools.cache
def torchaudio_problem() -> str | None:
    """Why torchaudio cannot be imported, or None when it can or is not installed.

    A broken torchaudio is hidden from then on, so that packages that merely look whether it is there do without it:
    None in `sys.modules` is Python's own way to say that a package is not to be found.
    """
    if importlib.util.find_spec("torchaudio") is None:
        return None
    try:
        importlib.import_module("torchaudio")
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    else:
        return None
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        # A failed import leaves submodules behind, which a later one would find half made.
        del sys.modules[name]
    sys.modules["torchaudio"] = None  # type: ignore[assignment]
    _forget_that_it_was_seen()
    logger.warning("torchaudio is installed but cannot be imported (%s), so it is left out. %s.", reason, HOW_TO_MEND)
    return reason


def _forget_that_it_was_seen() -> None:
    """transformers remembers whether it has seen torchaudio; let it look again."""
    module = sys.modules.get("transformers.utils.import_utils")
    clear = getattr(getattr(module, "is_torchaudio_available", None), "cache_clear", None)
    if clear is not None:
        clear()


def read_bundle(name: str) -> Weights:
    """A torchaudio pipeline such as HUBERT_BASE, WAV2VEC2_LARGE_LV60K or WAVLM_BASE_PLUS, downloaded by torchaudio.

    Raises:
        SpeechpressError: torchaudio is missing or broken, has no such bundle, or could not download it.
    """
    problem = torchaudio_problem()
    if problem is not None:
        raise SpeechpressError(f"torchaudio:{name}: torchaudio cannot be imported ({problem}). {HOW_TO_MEND}")
    try:
        pipelines = importlib.import_module("torchaudio.pipelines")
    except ModuleNotFoundError as error:
        raise SpeechpressError(
            f"torchaudio:{name}: needs torchaudio, which is not installed; pip install 'speechpress[torchaudio]'"
        ) from error
    bundle: Any = getattr(pipelines, name, None)
    # pipelines holds bundles of other kinds too, such as Tacotron 2.
    if not hasattr(bundle, "_model_type") or not hasattr(bundle, "get_model"):
        known = sorted(key for key in dir(pipelines) if key.startswith(("HUBERT_", "WAV2VEC2_", "WAVLM_")))
        raise SpeechpressError(f"torchaudio:{name}: no such bundle of wav2vec 2.0's kind; there are {', '.join(known)}")
    try:
        model = bundle.get_model()
    except (OSError, RuntimeError) as error:
        raise SpeechpressError(
            f"torchaudio:{name}: could not be downloaded ({error}); give a local folder or file, or use --starter"
        ) from error
    weights = from_torchaudio(model, normalize_input=bool(bundle._normalize_waveform))
    # torchaudio has one class for both, and only the bundle's name tells them apart.
    return dataclasses.replace(weights, family="hubert") if name.startswith("HUBERT_") else weights


def from_torchaudio(model: Any, normalize_input: bool = False) -> Weights:
    """A live `torchaudio.models.Wav2Vec2Model` (HuBERT, wav2vec 2.0 or WavLM) under transformers' names."""
    tensors: dict[str, Tensor] = {}
    # Some bundles wrap the model in one that normalises the waveform.
    for key, tensor in getattr(model, "model", model).state_dict().items():
        name = modern_name(key.replace("encoder.feature_projection.", "feature_projection."))
        name = name.replace("encoder.transformer.", "encoder.").replace(".attention.attention.", ".attention.")
        if name.startswith("aux."):  # the output layer of bundles fine-tuned for recognition
            continue
        if ".attention.in_proj_" in name:  # WavLM's q, k and v lie in one matrix
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                tensors[name.replace("in_proj_", f"{letter}_proj.")] = part.clone()
        else:
            tensors[name] = tensor
    config = _config(getattr(model, "model", model))
    tuned = getattr(getattr(model, "model", model), "aux", None) is not None
    return Weights("torchaudio", config["model_type"], config, tensors, normalize_input, supervised=tuned)


def _config(model: Any) -> dict[str, Any]:
    """The config values that torchaudio does not keep, taken from its modules."""
    conv = [layer.conv for layer in model.feature_extractor.conv_layers]
    norms = [layer.layer_norm for layer in model.feature_extractor.conv_layers]
    transformer = model.encoder.transformer
    layers = transformer.layers
    attention = layers[0].attention
    config: dict[str, Any] = {
        "model_type": "wav2vec2",
        "hidden_size": layers[0].layer_norm.weight.numel(),
        "num_hidden_layers": len(layers),
        "num_attention_heads": attention.num_heads,
        "intermediate_size": layers[0].feed_forward.intermediate_dense.out_features,
        # With a group norm, only the first convolution has a norm at all.
        "feat_extract_norm": "layer" if norms[-1] is not None else "group",
        "conv_dim": [layer.out_channels for layer in conv],
        "conv_kernel": [layer.kernel_size[0] for layer in conv],
        "conv_stride": [layer.stride[0] for layer in conv],
        "num_feat_extract_layers": len(conv),
        "conv_bias": conv[0].bias is not None,
        "do_stable_layer_norm": layers[0].layer_norm_first,
        "num_conv_pos_embeddings": transformer.pos_conv_embed.conv.kernel_size[0],
        "num_conv_pos_embedding_groups": transformer.pos_conv_embed.conv.groups,
        "layerdrop": 0.0,
    }
    if hasattr(attention, "gru_rel_pos"):
        config |= {"model_type": "wavlm", "num_buckets": attention.num_buckets}
        config["max_bucket_distance"] = attention.max_distance
    return config
