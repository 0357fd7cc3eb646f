"""Encoders that `transformers` has no class for (streaming, pruned, time-reduced), as a model of its own kind.

A checkpoint of one carries a file of code that imports this module, so that

    AutoModel.from_pretrained(FOLDER, trust_remote_code=True)

opens it where speechpress is installed; after `import speechpress.compressor.teachers.auto_model` no trust is needed.

Shapes: B batch, S samples, T frames, L layers, D width.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..models.checkpoint import AUTO_MAP, MODEL_TYPE, write_model_code
from ..models.config import read_own
from ..models.encoder import Encoder
from .hub import import_transformers

# Here and not in a function, because the classes below inherit from it; by way of hub, which survives a broken
# torchaudio.
transformers = import_transformers()


class SpeechpressConfig(transformers.PretrainedConfig):  # type: ignore[name-defined]
    """config.json of a checkpoint; our own numbers stay where they are, under "speechpress"."""

    model_type = MODEL_TYPE

    def __init__(self, speechpress: dict[str, Any] | None = None, **more: Any) -> None:
        self.speechpress = speechpress
        # transformers also builds a config without any arguments, to see which values differ from the defaults.
        if speechpress is not None:
            encoder = read_own(speechpress, "config.json")
            more |= {"hidden_size": encoder.width, "num_hidden_layers": encoder.num_layers}
        super().__init__(**more)


class SpeechpressModel(transformers.PreTrainedModel):  # type: ignore[name-defined]
    """An `Encoder` that hears whole recordings, with HubertModel's way of being called.

    Its tensors have the names of the checkpoint. To stream it, export it: `compress export`.
    """

    config_class = SpeechpressConfig
    main_input_name = "input_values"

    def __init__(self, config: SpeechpressConfig) -> None:
        super().__init__(config)
        whole = Encoder(read_own(config.speechpress or {}, "config.json"))
        for name, part in whole.named_children():
            self.add_module(name, part)
        self.masked_spec_embed = whole.masked_spec_embed
        # Not as a submodule, which would give every tensor a second name; its parts are those above.
        object.__setattr__(self, "_whole", whole)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Encoder does this itself."""

    def save_pretrained(self, save_directory: str | Path, *given: Any, **more: Any) -> None:
        """As of any model, with the file of code that opens it again."""
        super().save_pretrained(save_directory, *given, **more)
        self.config.auto_map = AUTO_MAP
        self.config.save_pretrained(save_directory)
        write_model_code(Path(save_directory))

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Frames of the last layer (B, T, D), and on demand those of layers 0 to L.

        Args:
            input_values: (B, S) float, 16 kHz, as the feature extractor gives it or as the file has it.
            attention_mask: (B, S), 1 on samples that are no padding.
            output_hidden_states: layers 0 to L in `hidden_states`.
            return_dict: False for a tuple.
        """
        lengths = None if attention_mask is None else attention_mask.long().sum(1)
        states = self._whole.hidden_states(input_values, lengths)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        found = transformers.modeling_outputs.BaseModelOutput(
            last_hidden_state=self._whole.encoder.outputs(states), hidden_states=tuple(states) if wanted else None
        )
        return found.to_tuple() if return_dict is False else found


transformers.AutoConfig.register(MODEL_TYPE, SpeechpressConfig, exist_ok=True)
transformers.AutoModel.register(SpeechpressConfig, SpeechpressModel, exist_ok=True)
