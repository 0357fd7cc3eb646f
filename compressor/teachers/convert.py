"""Students for other people's tools: a folder for `transformers`, a file for s3prl.

transformers   a HubertModel folder; s3prl opens it too, as `hf_hubert_custom -k FOLDER`; or one of our own kind, which
               AutoModel opens where speechpress is installed, see `auto_model`
s3prl          a Distiller file, as DistilHuBERT was published, for `distiller_local -k FILE`
s3prl-hubert   a HuBERT file of s3prl's own layout, for `hubert_custom -k FILE`
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechpress.runtime.atomic import atomic, atomic_folder
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.manifest import CHECKPOINT
from speechpress.runtime.parts import entries

from ..models.checkpoint import save_encoder
from ..models.config import SAMPLE_RATE, EncoderConfig
from ..models.encoder import Encoder
from ..models.kept_heads import head_names
from .backbones import EncoderBackbone
from .hub_folder import pushed
from .load import load_teacher

DUMMY_DIM = 1  # s3prl wants the tensors of HuBERT's pretraining head; they have no part in the hidden states

_LAYER = r"encoder\.layers\.(\d+)\."
_TO_FAIRSEQ = tuple(
    (re.compile(pattern), target)
    for pattern, target in (
        (r"masked_spec_embed", r"mask_emb"),
        (r"feature_extractor\.conv_layers\.(\d+)\.conv\.(\w+)", r"feature_extractor.conv_layers.\1.0.\2"),
        (r"feature_projection\.layer_norm\.(\w+)", r"layer_norm.\1"),
        (r"feature_projection\.projection\.(\w+)", r"post_extract_proj.\1"),
        (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0", r"encoder.pos_conv.0.weight_g"),
        (r"encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original1", r"encoder.pos_conv.0.weight_v"),
        (r"encoder\.pos_conv_embed\.conv\.bias", r"encoder.pos_conv.0.bias"),
        (r"encoder\.layer_norm\.(\w+)", r"encoder.layer_norm.\1"),
        (_LAYER + r"attention\.(\w+)\.(\w+)", r"encoder.layers.\1.self_attn.\2.\3"),
        (_LAYER + r"layer_norm\.(\w+)", r"encoder.layers.\1.self_attn_layer_norm.\2"),
        (_LAYER + r"feed_forward\.intermediate_dense\.(\w+)", r"encoder.layers.\1.fc1.\2"),
        (_LAYER + r"feed_forward\.output_dense\.(\w+)", r"encoder.layers.\1.fc2.\2"),
        (_LAYER + r"final_layer_norm\.(\w+)", r"encoder.layers.\1.final_layer_norm.\2"),
    )
)


@dataclass(frozen=True)
class Converted:
    """What was written, and how to open it there."""

    out: Path
    format: str
    open_with: str
    notes: tuple[str, ...] = ()


def convert(source: str, out: str | Path, format: str | None = None) -> Converted:
    """Write the encoder of `source` (a checkpoint or any HuBERT-like teacher) for another tool.

    Args:
        source: of the encoder.
        out: the file, or for transformers the folder.
        format: one of FORMATS; None is the first of ORDER that can hold this encoder, and `notes` say why not another.

    Raises:
        SpeechpressError: the format is unknown, cannot hold this encoder (says why and which can), or exists already.
    """
    if format is not None and format not in FORMATS:
        raise SpeechpressError(f"format {format!r} is unknown; known are {', '.join(FORMATS)}")
    path = Path(out)
    # Before the teacher is loaded, which may be a download.
    _check_free(path, format)
    backbone = load_teacher(source).backbone
    if not isinstance(backbone, EncoderBackbone):
        raise SpeechpressError(f"{source}: only HuBERT-like encoders and checkpoints of this project can be converted")
    if format is None:
        return _without_heads(source, _in_the_first_that_can(backbone.model, path))
    if format != "transformers":
        _refuse(Path(source), why_not(backbone.model, format), WHAT[format], instead_of(backbone.model, format))
    return _without_heads(source, FORMATS[format](backbone.model, path))


def _without_heads(source: str, done: Converted) -> Converted:
    """With a note of the checkpoint's heads: no other tool has a place for them."""
    names = head_names(pushed(source, CHECKPOINT) or Path(source))
    said = f"its heads are left out, because other tools do not support them: {', '.join(names)}"
    return replace(done, notes=(*done.notes, said)) if names else done


def _in_the_first_that_can(encoder: Encoder, path: Path) -> Converted:
    said = []
    for format in ORDER:
        reasons = why_not(encoder, format)
        if not reasons:
            break
        said.append(f"not {WHAT[format]}: {'; '.join(reasons)}")
    if format == "transformers" and path.suffix in (".ckpt", ".pt", ".pth"):
        path = path.with_suffix("")  # a folder, and no file of torch
    # Once more: only now is it known whether this is a file or a folder, and the suffix may be gone.
    _check_free(path, format)
    done = FORMATS[format](encoder, path)
    return replace(done, notes=(*done.notes, *said))


def _check_free(path: Path, format: str | None) -> None:
    if path.is_file() or (path.is_dir() and entries(path)):
        raise SpeechpressError(f"{path}: already exists; choose another name")
    if path.is_dir() and format not in ("transformers", None):
        raise SpeechpressError(
            f"{path}: is a folder, but {format} is one file; name it, such as {path / 'student.ckpt'}"
        )


def why_not(encoder: Encoder, format: str) -> list[str]:
    """Why a format cannot hold this encoder; empty when it can. transformers can hold every one, see `auto_model`."""
    config = encoder.config
    if format == "transformers":
        return []
    if config.streams_only_here:
        return [
            f"it streams (conv_norm {config.conv_norm}, input_norm {config.input_norm}, pos_conv_future "
            f"{config.pos_conv_future}), and no other toolkit has a counterpart of that"
        ]
    # To lack a projection is no obstacle: s3prl has none either where the front end is as wide as the layers.
    own = [part for part in config.own_parts if part != "projection false"]
    if own:
        return [f"it has {', '.join(own)}, and {format} has no counterpart of that"]
    return not_distiller(encoder) if format == "s3prl" else not_hubert(encoder)


def instead_of(encoder: Encoder, format: str) -> str:
    """The options of another format that can hold this encoder, and the way to a device."""
    others = [f"--to {name}" for name in ORDER if name != format and not why_not(encoder, name)]
    return " or ".join([*others, "compress export"] if encoder.config.streams_only_here else others)


def write_transformers(encoder: Encoder, folder: Path) -> Converted:
    """A folder: a HubertModel's where that can be this encoder, else one of our own kind."""
    with atomic_folder(folder) as part:
        save_encoder(part, encoder)
    try:
        encoder.config.to_hubert()
    except SpeechpressError as error:
        note = f"{str(error).removeprefix('encoder: ')}; so it opens where speechpress is installed"
        call = f"AutoModel.from_pretrained({str(folder)!r}, trust_remote_code=True)"
        return Converted(folder, "transformers", call, (note,))
    return Converted(folder, "transformers", f"HubertModel.from_pretrained({str(folder)!r})")


def write_distiller(encoder: Encoder, path: Path) -> Converted:
    """An s3prl Distiller file without prediction heads.

    s3prl's builder insists on something to predict; "self-hidden" makes it repeat the student's own layers instead.
    """
    config = encoder.config
    states = config.num_layers + 1
    section = _fairseq_config(config) | {
        "extractor_conv_feature_layers": _conv_text(config),
        "task_emb_type": "self-hidden",
        "out_layer_type": "self-hidden",
        "n_tasks": states,
        "pred_layer_id": list(range(states)),
        "final_dim": config.width,
    }
    tensors = fairseq_names(encoder)
    # Distiller has no mask vector, and s3prl loads strictly.
    del tensors["mask_emb"]
    _save(path, {"Config": {"distiller": section}, "Distiller": tensors})
    notes = ("s3prl's hidden state 0 of a Distiller is taken before the position convolution; the others are the same",)
    return Converted(path, "s3prl", f"s3prl: distiller_local -k {path}", notes)


def write_hubert(encoder: Encoder, path: Path) -> Converted:
    """A HuBERT file in the layout to which s3prl converts fairseq's own."""
    config = encoder.config
    model = _fairseq_config(config) | {
        "_name": "hubert",
        "label_rate": SAMPLE_RATE / config.hop_samples,
        "conv_feature_layers": _conv_text(config),
        "conv_bias": config.conv_bias,
        "final_dim": DUMMY_DIM,
        # fairseq's default of 2 pads an odd number of frames, so that layers would see one more than ours.
        "required_seq_len_multiple": 1,
    }
    dummies = {
        "final_proj.weight": torch.zeros(DUMMY_DIM, config.width),
        "final_proj.bias": torch.zeros(DUMMY_DIM),
        "label_embs_concat": torch.zeros(1, DUMMY_DIM),
    }
    state = {
        "task_cfg": {
            "_name": "hubert_pretraining",
            "sample_rate": SAMPLE_RATE,
            "normalize": config.input_norm == "utterance",
        },
        "model_cfg": model,
        "model_weight": fairseq_names(encoder) | dummies,
        # One symbol, because s3prl builds one row of label_embs_concat for each, and loads strictly.
        "dictionaries_symbols": [["0"]],
    }
    _save(path, state)
    notes = ("s3prl applies the final LayerNorm to the last hidden state",) if config.pre_norm else ()
    return Converted(path, "s3prl-hubert", f"s3prl: hubert_custom -k {path}", notes)


FORMATS: dict[str, Callable[[Encoder, Path], Converted]] = {
    "transformers": write_transformers,
    "s3prl": write_distiller,
    "s3prl-hubert": write_hubert,
}
ORDER = ("s3prl", "s3prl-hubert", "transformers")  # in which they are tried when none is asked for
WHAT = {"s3prl": "an s3prl Distiller file", "s3prl-hubert": "an s3prl HuBERT file"}


def fairseq_names(encoder: Encoder) -> dict[str, Tensor]:
    """The encoder's tensors under fairseq's names, which s3prl shares; an identity projection is left out."""
    renamed = {}
    for key, tensor in encoder.state_dict().items():
        renamed[_fairseq_name(key, encoder.config.conv_norm)] = tensor.detach().cpu().contiguous().clone()
    if encoder.config.projection and encoder.config.conv_channels[-1] == encoder.config.width:
        del renamed["post_extract_proj.weight"], renamed["post_extract_proj.bias"]
    return renamed


def _fairseq_name(key: str, conv_norm: str) -> str:
    norm = re.fullmatch(r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.(\w+)", key)
    if norm:  # a LayerNorm stands between two transpositions there, a GroupNorm alone
        return f"feature_extractor.conv_layers.{norm[1]}.{'2.1' if conv_norm == 'layer' else '2'}.{norm[2]}"
    for pattern, target in _TO_FAIRSEQ:
        if match := pattern.fullmatch(key):
            return match.expand(target)
    raise AssertionError(f"no fairseq name for {key}")


def not_distiller(encoder: Encoder) -> list[str]:
    """Why s3prl's Distiller cannot be this encoder; empty when it can."""
    config = encoder.config
    reasons = _not_fairseq(config, encoder)
    if config.projection_norm:
        reasons.append("it has a LayerNorm before the projection, which Distiller lacks")
    if config.conv_bias:
        reasons.append("its convolutions have biases, which Distiller's lack")
    if config.input_norm != "none":
        reasons.append("it wants a normalised waveform, which Distiller does not make")
    return reasons


def not_hubert(encoder: Encoder) -> list[str]:
    """Why s3prl's HuBERT cannot be this encoder; empty when it can."""
    reasons = _not_fairseq(encoder.config, encoder)
    if not encoder.config.projection_norm:
        reasons.append("it has no LayerNorm before the projection, which HuBERT has")
    return reasons


def _not_fairseq(config: EncoderConfig, encoder: Encoder) -> list[str]:
    """Why neither of s3prl's layouts can hold this encoder."""
    reasons = []
    if len(set(config.num_heads)) > 1 or len(set(config.ffn_widths)) > 1:
        reasons.append("its layers have different sizes")
    elif config.num_heads[0] * config.head_dim != config.width:
        reasons.append("its heads do not fill its width")
    # torch's default; no key of their configs can say another.
    if config.layer_norm_eps != 1e-5:
        reasons.append(f"its LayerNorm epsilon is {config.layer_norm_eps:g}, not 1e-05")
    projection = encoder.feature_projection.projection
    if config.conv_channels[-1] == config.width and projection is not None and not _is_identity(projection):
        reasons.append("its front end is as wide as its layers, and then s3prl has no projection between them")
    return reasons


def _is_identity(linear: torch.nn.Linear) -> bool:
    same = torch.equal(linear.weight, torch.eye(linear.out_features, linear.in_features))
    return same and not bool(linear.bias.any())


def _refuse(path: Path, reasons: list[str], what: str, instead: str) -> None:
    if reasons:
        raise SpeechpressError(f"{path}: this encoder cannot be {what}: {'; '.join(reasons)}. Try {instead}")


def _fairseq_config(config: EncoderConfig) -> dict[str, Any]:
    return {
        "extractor_mode": "layer_norm" if config.conv_norm == "layer" else "default",
        "encoder_layers": config.num_layers,
        "encoder_embed_dim": config.width,
        "encoder_ffn_embed_dim": config.ffn_widths[0],
        "encoder_attention_heads": config.num_heads[0],
        "activation_fn": "gelu",
        "layer_norm_first": config.pre_norm,
        "conv_pos": config.pos_conv_kernel,
        "conv_pos_groups": config.pos_conv_groups,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "encoder_layerdrop": 0.0,
    }


def _conv_text(config: EncoderConfig) -> str:
    return str(list(zip(config.conv_channels, config.conv_kernels, config.conv_strides, strict=True)))


def _save(path: Path, state: dict[str, Any]) -> None:
    with atomic(path) as temporary:
        torch.save(state, temporary)
