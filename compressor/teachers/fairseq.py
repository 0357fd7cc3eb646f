"""Checkpoints of fairseq, unilm (WavLM) and s3prl (Distiller), read without any of the three.

Each becomes `Weights` under the names of the `transformers` family that computes the same hidden states. A tensor that
is not known is an error, because it may take part in the computation.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechpress.runtime.errors import SpeechpressError

from .fairseq_schema import check_model, check_sizes, check_task, check_tensors
from .families import OF_FAIRSEQ, OF_SPIDR, REFUSED
from .pickles import parse_conv_layers, read_foreign
from .weights import Weights, unwrapped

_PROJECTIONS = "(q_proj|k_proj|v_proj|out_proj)"
_RENAMES = tuple(
    (re.compile(pattern), target)
    for pattern, target in (
        (r"mask_emb", r"masked_spec_embed"),
        (r"feature_extractor\.conv_layers\.(\d+)\.0\.(\w+)", r"feature_extractor.conv_layers.\1.conv.\2"),
        (r"feature_extractor\.conv_layers\.0\.2\.(\w+)", r"feature_extractor.conv_layers.0.layer_norm.\1"),
        (r"feature_extractor\.conv_layers\.(\d+)\.2\.1\.(\w+)", r"feature_extractor.conv_layers.\1.layer_norm.\2"),
        (r"layer_norm\.(\w+)", r"feature_projection.layer_norm.\1"),
        (r"post_extract_proj\.(\w+)", r"feature_projection.projection.\1"),
        (r"encoder\.pos_conv\.0\.weight_g", r"encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
        (r"encoder\.pos_conv\.0\.weight_v", r"encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
        (r"encoder\.pos_conv\.0\.bias", r"encoder.pos_conv_embed.conv.bias"),
        (r"encoder\.pos_conv\.(\d+)\.0\.(\w+)", r"encoder.pos_conv_embed.layers.\1.conv.\2"),
        (r"encoder\.layer_norm\.(\w+)", r"encoder.layer_norm.\1"),
        (rf"encoder\.layers\.(\d+)\.self_attn\.{_PROJECTIONS}\.(\w+)", r"encoder.layers.\1.attention.\2.\3"),
        (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.(\w+)", r"encoder.layers.\1.layer_norm.\2"),
        (r"encoder\.layers\.(\d+)\.fc1\.(\w+)", r"encoder.layers.\1.feed_forward.intermediate_dense.\2"),
        (r"encoder\.layers\.(\d+)\.fc2\.(\w+)", r"encoder.layers.\1.feed_forward.output_dense.\2"),
        (r"encoder\.layers\.(\d+)\.final_layer_norm\.(\w+)", r"encoder.layers.\1.final_layer_norm.\2"),
        # WavLM's gated relative position bias
        (
            r"encoder\.layers\.0\.self_attn\.relative_attention_bias\.weight",
            "encoder.layers.0.attention.rel_attn_embed.weight",
        ),
        (
            r"encoder\.layers\.(\d+)\.self_attn\.grep_linear\.(\w+)",
            r"encoder.layers.\1.attention.gru_rel_pos_linear.\2",
        ),
        (r"encoder\.layers\.(\d+)\.self_attn\.grep_a", r"encoder.layers.\1.attention.gru_rel_pos_const"),
    )
)
# Heads, targets and averages of pretraining. All else that is unknown is an error, see `_rename`.
_TRAINING_ONLY = re.compile(
    r"(final_proj|label_embs_concat|quantizer|project_q|input_quantizer|project_inp|_ema|output_layer|task_embedding)(\.|$)"
)


def read_checkpoint(path: Path) -> Weights:
    """Read a fairseq, unilm or s3prl file.

    Raises:
        SpeechpressError: it is damaged, hostile, of another layout, fine-tuned for CTC, or of another architecture.
    """
    state = _unwrapped(read_foreign(path), path)
    keys = set(state) if isinstance(state, dict) else set()
    if {"Config", "Distiller"} <= keys:
        return _distiller(state, path)
    if {"task_cfg", "model_cfg", "model_weight"} <= keys:  # s3prl's own conversion of a fairseq HuBERT
        tensors = check_tensors(state["model_weight"], path, "model_weight")
        model, task = (
            check_model(state["model_cfg"], path, "model_cfg"),
            check_task(state["task_cfg"], path, "task_cfg"),
        )
        return _fairseq(model, task, tensors, "s3prl", path)
    held = state["model"] if "model" in keys and isinstance(state["model"], dict) else state
    if isinstance(held, dict) and all(any(str(key).startswith(part) for key in held) for part in OF_SPIDR):
        raise SpeechpressError(f"{path}: {REFUSED['spidr']}")
    if "model" in keys and isinstance(state["model"], dict):
        return _fairseq_or_unilm(state, path)
    if keys and all(isinstance(value, Tensor) for value in state.values()):
        raise SpeechpressError(f"{path}: holds weights but no config; give the folder that has its config.json instead")
    raise SpeechpressError(
        f"{path}: a pickle of an unknown layout (keys: {sorted(map(str, keys))[:8]}); known are fairseq's, unilm's "
        "WavLM and s3prl's Distiller"
    )


def _unwrapped(state: Any, path: Path) -> Any:
    """The same file with the names that its tensors have in the model alone."""
    if not isinstance(state, dict):
        return state
    return state | {
        key: unwrapped(value, str(path))
        for key, value in state.items()
        if key in ("model", "model_weight", "Distiller") and isinstance(value, dict) and all(map(_is_text, value))
    }


def _is_text(name: Any) -> bool:
    return isinstance(name, str)


def _fairseq_or_unilm(state: dict[str, Any], path: Path) -> Weights:
    config, tensors = state.get("cfg"), check_tensors(state["model"], path, "model")
    if isinstance(config, dict) and isinstance(config.get("model"), dict):  # fairseq >= 0.12, and 1.0.0a
        model, task = check_model(config["model"], path, "cfg.model"), check_task(config.get("task"), path, "cfg.task")
        return _fairseq(model, task, tensors, "fairseq", path)
    if isinstance(config, dict) and "encoder_layers" in config:
        return _wavlm(check_model(config, path, "cfg"), tensors, path)
    if isinstance(state.get("args"), dict):  # fairseq 0.10: one flat Namespace for model and task
        args = check_model(state["args"], path, "args")
        return _fairseq(args, args, tensors, "fairseq", path)
    raise SpeechpressError(f"{path}: has weights under 'model', but no config under 'cfg' or 'args'")


def _fairseq(model: dict[str, Any], task: dict[str, Any], tensors: dict[str, Any], source: str, path: Path) -> Weights:
    name = str(model.get("_name") or model.get("arch") or "hubert")
    _refuse_other_architectures(name, model, tensors, path)
    family = OF_FAIRSEQ[name]
    config = _common_config(model, tensors, path)
    if family == "data2vec-audio":
        _require(model, {"layer_norm_first": False, "extractor_mode": "layer_norm"}, path)
        if "conv_pos" not in model:
            raise SpeechpressError(f"{path}: its config is incomplete or unknown (no conv_pos)")
        depth = int(model.get("pos_conv_depth", 1))
        # fairseq shares conv_pos out over the stack, at least 3 taps each; transformers' config wants the result.
        config |= {"num_conv_pos_embeddings": depth, "conv_pos_kernel_size": max(3, int(model["conv_pos"]) // depth)}
    else:
        # HubertModel and Wav2Vec2Model have a single position convolution.
        _require(model, {"pos_conv_depth": 1}, path)
    return Weights(
        format=source,
        family=family,
        config={**config, "model_type": family},
        tensors=_with_projection(_rename(tensors, path), config),
        normalize_input=bool(task.get("normalize", False)),
        doubts=_doubts(task, "task"),
        files=(path,),
    )


def _wavlm(config: dict[str, Any], tensors: dict[str, Any], path: Path) -> Weights:
    _require(config, {"relative_position_embedding": True, "gru_rel_pos": True}, path)
    values = _common_config(config, tensors, path)
    values |= {"num_buckets": config.get("num_buckets", 320), "max_bucket_distance": config.get("max_distance", 1280)}
    return Weights(
        format="unilm",
        family="wavlm",
        config={**values, "model_type": "wavlm"},
        tensors=_with_projection(_rename(tensors, path), values),
        normalize_input=bool(config.get("normalize", False)),
        doubts=_doubts(config, "config"),
        files=(path,),
    )


def _distiller(state: dict[str, Any], path: Path) -> Weights:
    """s3prl's Distiller (DistilHuBERT): a HuBERT without the norm before the projection; its heads are left out."""
    holder = state["Config"]
    if not isinstance(holder, dict) or not isinstance(holder.get("distiller"), dict):
        raise SpeechpressError(f"{path}: looks like an s3prl Distiller, but its Config has no 'distiller' section")
    config = check_model(holder["distiller"], path, "Config.distiller")
    tensors = check_tensors(state["Distiller"], path, "Distiller")
    if config.get("task_emb_type", "expand-last") in ("add", "concat"):
        raise SpeechpressError(
            f"{path}: a Distiller that mixes task embeddings into its input has no single hidden state"
        )
    _require(config, {"attention_type": "original"}, path)
    defaults = {
        "conv_feature_layers": config.get(
            "extractor_conv_feature_layers", "[(512,10,5)] + [(512,3,2)]*4 + [(512,2,2)]*2"
        ),
        "encoder_layers": 1,
        "encoder_embed_dim": 768,
        "encoder_ffn_embed_dim": 3072,
        "encoder_attention_heads": 12,
    }
    # s3prl's extractor is hard-wired to have no biases, whatever the config says.
    values = _common_config({**defaults, **config, "conv_bias": False}, tensors, path)
    values |= {"feat_proj_layer_norm": False}
    tensors = _rename(tensors, path)
    # Distiller has none. It only stands in for masked frames; without masking no state depends on it.
    tensors["masked_spec_embed"] = torch.zeros(values["hidden_size"])
    return Weights(
        format="s3prl",
        family="hubert",
        config={**values, "model_type": "hubert"},
        tensors=_with_projection(tensors, values),
        files=(path,),
    )


def _doubts(values: dict[str, Any], kind: str) -> tuple[str, ...]:
    if "normalize" in values:
        return ()
    return (f"its {kind} does not say whether the waveform is normalised; it is taken as it is, fairseq's default",)


def _refuse_other_architectures(name: str, model: dict[str, Any], tensors: dict[str, Any], path: Path) -> None:
    tuned = "w2v_args" in model or "w2v_path" in model or any(key.startswith("w2v_encoder.") for key in tensors)
    if tuned or name.endswith(("_ctc", "_seq2seq")):
        raise SpeechpressError(
            f"{path}: a fairseq model fine-tuned for recognition ({name}); its encoder is wrapped in another model "
            "with a config of its own. Use the pretrained checkpoint that it was made from, or convert it with "
            "transformers' own conversion script and give the resulting folder"
        )
    layer_type = model.get("layer_type", "transformer")
    if layer_type != "transformer" or "multires" in name:
        kind = name if "multires" in name else layer_type
        raise SpeechpressError(
            f"{path}: a {kind} encoder; only Transformer layers at one frame rate are known. A model that "
            "`transformers` has can be given as its folder or hub id"
        )
    if name in REFUSED:
        raise SpeechpressError(f"{path}: {REFUSED[name]}")
    if name not in OF_FAIRSEQ:
        raise SpeechpressError(f"{path}: a fairseq {name!r} model; known are {', '.join(OF_FAIRSEQ)}")


def _require(config: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    """Raises SpeechpressError when a setting is there and is not the one that the transformers class computes."""
    for key, value in wanted.items():
        if config.get(key, value) != value:
            raise SpeechpressError(f"{path}: {key}={config[key]!r} is not supported here (only {value!r})")


def _common_config(config: dict[str, Any], tensors: dict[str, Any], path: Path) -> dict[str, Any]:
    """The part of the config that all families share, under the names of transformers' configs."""
    _require(
        config, {"activation_fn": "gelu", "attn_type": "", "pos_enc_type": "abs", "conv_pos_batch_norm": False}, path
    )
    norms = {"default": "group", "layer_norm": "layer"}
    try:
        conv = parse_conv_layers(str(config["conv_feature_layers"]), str(path))
        values = {
            "hidden_size": int(config["encoder_embed_dim"]),
            "num_hidden_layers": int(config["encoder_layers"]),
            "num_attention_heads": int(config["encoder_attention_heads"]),
            "intermediate_size": int(config["encoder_ffn_embed_dim"]),
            "feat_extract_norm": norms[config.get("extractor_mode", "default")],
        }
    except (KeyError, TypeError, ValueError) as error:
        raise SpeechpressError(f"{path}: its config is incomplete or unknown ({error})") from error
    layers = {key.split(".")[2] for key in tensors if re.match(r"encoder\.layers\.\d+\.", key)}
    if len(layers) != values["num_hidden_layers"]:
        raise SpeechpressError(
            f"{path}: the config says {values['num_hidden_layers']} layers, the file has tensors of {len(layers)}"
        )
    check_sizes(values, tensors, path)
    return values | {
        "conv_dim": [channels for channels, _, _ in conv],
        "conv_kernel": [kernel for _, kernel, _ in conv],
        "conv_stride": [stride for _, _, stride in conv],
        "num_feat_extract_layers": len(conv),
        # From here on with fairseq's own defaults, because its configs may leave these out.
        "conv_bias": bool(config.get("conv_bias", False)),
        "do_stable_layer_norm": bool(config.get("layer_norm_first", False)),
        "num_conv_pos_embeddings": int(config.get("conv_pos", 128)),
        "num_conv_pos_embedding_groups": int(config.get("conv_pos_groups", 16)),
        "hidden_dropout": float(config.get("dropout", 0.1)),
        "attention_dropout": float(config.get("attention_dropout", 0.1)),
        "activation_dropout": float(config.get("activation_dropout", 0.0)),
        "layerdrop": 0.0,
    }


def _rename(tensors: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Tensors under transformers' names, float32; raises SpeechpressError for names that are not known."""
    renamed, unknown = {}, []
    for key, tensor in tensors.items():
        if _TRAINING_ONLY.match(key):
            continue
        target = next((match.expand(to) for pattern, to in _RENAMES if (match := pattern.fullmatch(key))), None)
        if target is None or not isinstance(tensor, Tensor):
            unknown.append(key)
        else:
            renamed[target] = tensor.float()
    if unknown:
        raise SpeechpressError(
            f"{path}: {len(unknown)} tensors are unknown, so its hidden states could be computed wrongly: "
            f"{', '.join(f'{name:.100}' for name in unknown[:5])}{', ...' if len(unknown) > 5 else ''}"
        )
    return renamed


def _with_projection(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """Add the identity projection that fairseq leaves out when the front end is as wide as the encoder."""
    if "feature_projection.projection.weight" in tensors or config["conv_dim"][-1] != config["hidden_size"]:
        return tensors
    width = config["hidden_size"]
    return tensors | {
        "feature_projection.projection.weight": torch.eye(width),
        "feature_projection.projection.bias": torch.zeros(width),
    }
