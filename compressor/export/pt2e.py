"""Quantisation at export: an exported program whose heavy operators work on 8-bit or 4-bit numbers.

PT2E with an annotator of our own. 8-bit weights get one scale per output channel, 4-bit ones one per 32 inputs.
Activations are scaled anew in every call by their own range ("dynamic"), or by ranges that were measured on speech
("static"); XNNPACK's static operators also give 8-bit numbers out. See `quantize.scheme` for who decides.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..models.config import EncoderConfig
from ..quantize.fake_quant import grouped_weight
from ..quantize.scheme import GROUP, LEVELS, MIN_SCALE, Operator, Quantization, Range, scale_of
from .prepare import checkpoint_name, query_scale

CONVOLUTION, LINEAR = torch.ops.aten.conv2d.default, torch.ops.aten.linear.default


# Whose products are means, or a spectrogram, of which 8 bits would not tell a whisper from silence.
UNWEIGHTED = ("ChannelNorm", "FrameNorm", "FrameRms", "RunningScale", "WrittenMel")


def quantized(
    program: torch.fx.GraphModule, example: tuple[Tensor, ...], quantization: Quantization
) -> torch.fx.GraphModule:
    """A module to export once more, whose operators compute as `quantize.scheme` says.

    Args:
        program: an exported one's module.
        example: inputs that it takes.
        quantization: by the names of the checkpoint's modules.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    watched = prepare_pt2e(program, _annotator(quantization))
    with torch.no_grad():
        # Any example will do: ranges are fixed or found in every call, and only the weights are observed.
        watched(*example)
    return _with_grouped_weights(convert_pt2e(watched), quantization)


def as_prepared(quantization: Quantization, config: EncoderConfig) -> Quantization:
    """The same for the prepared encoder, whose queries come out scaled."""
    scale = query_scale(config.head_dim)
    found = dict(quantization.operators)
    for name, operator in found.items():
        if name.endswith(".q_proj") and operator.output is not None:
            found[name] = replace(operator, output=(operator.output[0] * scale, operator.output[1] * scale))
    return replace(quantization, operators=found)


def layer_of(node: torch.fx.Node) -> str:
    """The innermost module that a node came from, under the prepared encoder's names."""
    stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if path]
    named = [path.removeprefix("L['self'].").removeprefix("encoder.") for path in stack if "metadata_hook" not in path]
    return named[-1] if named else "stream"


def _operator(node: torch.fx.Node, quantization: Quantization) -> Operator | None:
    """How a node computes; None for one that is no operator with weights."""
    if node.op != "call_function" or node.target not in (CONVOLUTION, LINEAR):
        return None
    kinds = [str(kind) for _, kind in (node.meta.get("nn_module_stack") or {}).values()]
    # Rounding what goes into a mean would make it wrong for nothing saved.
    if any(part in kind for kind in kinds for part in UNWEIGHTED):
        return None
    name = checkpoint_name(layer_of(node))
    found = quantization.of(name, node.target is CONVOLUTION or name.endswith(".conv"))
    # XNNPACK has no such operator whose range is found in every call; it is small, as each channel has one kernel.
    return replace(found, how="float") if found.how == "dynamic" and _depthwise(node) else found


def _depthwise(node: torch.fx.Node) -> bool:
    """Whether a convolution hears one channel for each that it gives."""
    if node.target is not CONVOLUTION or len(node.args) <= 6:
        return False
    groups: Any = node.args[6]
    return bool(groups != 1 and groups == node.meta["val"].shape[1])


def _annotator(quantization: Quantization) -> Any:
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, Quantizer
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

    class Annotator(Quantizer):
        def annotate(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
            for node in model.graph.nodes:
                operator = _operator(node, quantization)
                if operator is None or operator.how == "float":
                    continue
                inputs, output = _specs(node, operator)
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(inputs, output, _annotated=True)
            return model

        def validate(self, model: torch.fx.GraphModule) -> None:
            pass

    return Annotator()


def _specs(node: torch.fx.Node, operator: Operator) -> tuple[dict[Any, Any], Any]:
    """How inputs, weights and output of a node are quantised, in PT2E's words."""
    activation, weight = node.args[:2]
    if operator.how == "static":
        assert operator.input is not None and operator.output is not None
        return {activation: _fixed(operator.input), weight: _weights()}, _fixed(operator.output)
    # Four-bit weights are put in later: PT2E has no groups.
    return {activation: _dynamic()} | ({weight: _weights()} if operator.how == "dynamic" else {}), None


def _fixed(values: Range) -> Any:
    from torchao.quantization.pt2e.quantizer import FixedQParamsQuantizationSpec

    scale, zero = scale_of(values)
    return FixedQParamsQuantizationSpec(torch.int8, scale, zero, *LEVELS, torch.per_tensor_affine)


def _dynamic() -> Any:
    from torchao.quantization.pt2e import PlaceholderObserver
    from torchao.quantization.pt2e.quantizer import QuantizationSpec

    # Nothing is to be observed: XNNPACK finds the range in every call.
    observer = PlaceholderObserver.with_args(eps=MIN_SCALE)
    return QuantizationSpec(torch.int8, observer, *LEVELS, torch.per_tensor_affine, is_dynamic=True)


def _weights() -> Any:
    from torchao.quantization.pt2e import PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantizer import QuantizationSpec

    observer = PerChannelMinMaxObserver.with_args(eps=MIN_SCALE)
    # -127 to 127, as `channel_weight` trains with.
    return QuantizationSpec(torch.int8, observer, -LEVELS[1], LEVELS[1], torch.per_channel_symmetric, ch_axis=0)


def _with_grouped_weights(module: torch.fx.GraphModule, quantization: Quantization) -> torch.fx.GraphModule:
    """Give 4-bit weights to the linear layers that are to have them, in the form that XNNPACK takes for its own."""

    for number, node in enumerate(list(module.graph.nodes)):
        operator = _operator(node, quantization)
        if operator is None or operator.how != "int4":
            continue
        levels, scales = grouped_weight(module.get_parameter(node.args[1].target).detach())
        names = [f"four_bits_{number}_{part}" for part in ("levels", "scales", "zeros")]
        for name, tensor in zip(names, (levels, scales, torch.zeros_like(scales, dtype=torch.int32)), strict=True):
            module.register_buffer(name, tensor)
        with module.graph.inserting_before(node):
            parts = [module.graph.get_attr(name) for name in names]
            arguments: tuple[Any, ...] = (parts[0], [1, GROUP], *parts[1:], torch.int8, -8, 7)
            weight = module.graph.call_function(torch.ops.torchao.dequantize_affine.default, arguments)
        node.update_arg(1, weight)
    # Else the float weights would stay in the program.
    module.graph.eliminate_dead_code()
    module.recompile()
    return module
