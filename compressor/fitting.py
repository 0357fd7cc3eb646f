"""Whether tensors fit a config, told from their shapes alone, before the memory for an encoder is asked for."""

from collections.abc import Mapping, Sequence

import torch

from speechpress.runtime.errors import SpeechpressError

from .config import EncoderConfig
from .encoder import Encoder

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
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise SpeechpressError(f"{what}: {'; '.join(wrong[:3])}{more}")
