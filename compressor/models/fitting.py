"""Whether tensors fit a config, told from their shapes alone, before the memory for an encoder is asked for."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from speechpress.runtime.errors import SpeechpressError

from .config import EncoderConfig
from .encoder import Encoder

SPARE_PARAMETERS, SPARE_BUFFERS = 4_000_000, 64_000_000  # mask vectors; tables of positions that no file holds
OPTIONAL = "masked_spec_embed"  # a HubertModel that was made without masking has none; no hidden state needs it
Shapes = Mapping[str, Sequence[int]]


def check_fit(config: EncoderConfig, shapes: Shapes, what: str) -> None:
    """Raises SpeechpressError, which begins with `what`, unless an encoder of this config has exactly these shapes."""
    layers = {name.split(".")[2] for name in shapes if name.startswith("encoder.layers.") and name.count(".") > 2}
    distinct = config.distinct_layers or config.num_layers
    if len(layers) != distinct:  # at once: even without memory, the modules of many layers take time
        raise SpeechpressError(f"{what}: there are tensors of {len(layers)} layers, but the config says {distinct}")
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in Encoder(config).state_dict().items()}
    missing = [f"{name} is missing" for name in wanted if name not in shapes and name != OPTIONAL]
    spare = [f"{name} is not known" for name in shapes if name not in wanted]
    other = [
        f"{name} is {list(shapes[name])}, but by the config {list(shape)}"
        for name, shape in wanted.items()
        if name in shapes and tuple(shapes[name]) != shape
    ]
    wrong = [*other, *missing, *spare]
    if wrong:
        # Another model's file differs in hundreds of names; a few are enough to see that.
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise SpeechpressError(f"{what}: {'; '.join(wrong[:3])}{more}")


def check_module(build: Callable[[], nn.Module], tensors: Mapping[str, Tensor], what: str) -> None:
    """Raises SpeechpressError, which begins with `what`, when a foreign module asks for more than its file holds.

    `build` makes the module; here it does so without memory for its parameters. Whatever its library raises at values
    that it cannot use is the fault of the config.
    """
    try:
        with torch.device("meta"):
            module = build()
    except Exception as error:
        # transformers and its parts raise what they like, of their own classes, at a config that makes no sense
        raise SpeechpressError(f"{what}: no model can be made from its config ({str(error)[:200]})") from error
    wanted, there = (sum(tensor.numel() for tensor in these) for these in (module.parameters(), tensors.values()))
    buffers = sum(buffer.numel() for buffer in module.buffers())
    if wanted > there + SPARE_PARAMETERS or buffers > there + SPARE_BUFFERS:
        raise SpeechpressError(
            f"{what}: tensors do not fit the config: by the config it has {wanted:,} numbers (and {buffers:,} in "
            f"tables), but the file holds {there:,}"
        )
