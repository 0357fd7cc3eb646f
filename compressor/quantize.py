"""Quantisation at export: an exported program whose heavy operators work on 8-bit numbers.

PT2E with XNNPACK's quantiser. Weights get one scale per output channel; activations are scaled anew in every call by
their own range ("dynamic"), so that no calibration data is needed and no recording is too loud or too quiet.
"""

import torch
from torch import nn

# The first convolution reads the waveform itself, whose 8 bits would be heard in all that follows; it is cheap. The
# means of a norm are no weights.
FIRST_CONV, NORMS = "feature_extractor.conv_layers.0", ("ChannelNorm", "FrameNorm")


def quantized(program: torch.fx.GraphModule, example: tuple[torch.Tensor, ...], scheme: str) -> nn.Module:
    """A module to export once more, whose operators are quantised by `scheme` (see `targets.SCHEMES`).

    Args:
        program: an exported one's module.
        example: inputs that it takes.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)

    class Quantizer(XNNPACKQuantizer):
        def transform_for_annotation(self, model: torch.fx.GraphModule) -> torch.fx.GraphModule:
            return model  # XNNPACK's own makes floats of all numbers, those that are added to integers included

    quantizer = Quantizer()
    quantizer.set_operator_type(torch.ops.aten.linear.default, config)
    if scheme == "int8":
        quantizer.set_operator_type(torch.ops.aten.conv2d.default, config)
    quantizer.set_filter_function(_worth_it)
    watched = prepare_pt2e(program, quantizer)
    with torch.no_grad():
        watched(*example)
    return convert_pt2e(watched)


def _worth_it(node: torch.fx.Node) -> bool:
    stack = (node.meta.get("nn_module_stack") or {}).values()
    return not any(FIRST_CONV in path or any(norm in str(kind) for norm in NORMS) for path, kind in stack)
