"""What an encoder is made of: a frozen config of plain numbers, and its form in `transformers`' HubertConfig.

The architecture is HuBERT's and wav2vec 2.0's (arXiv:2106.07447, arXiv:2006.11477): a stack of strided convolutions
over the waveform, a linear projection, a convolutional position embedding and Transformer layers.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.schema import Fields, check
from speechpress.runtime.spec import StreamSpec

from .encoder_checks import LISTS, EncoderError, check_encoder
from .encoder_schema import HUBERT, OWN, SECTION

SAMPLE_RATE = 16_000
FAIRSEQ_EPS, TRANSFORMERS_EPS = 1e-5, 1e-7  # added to the waveform's variance: layer_norm's, the extractor's
MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES = 400, 160  # 25 and 10 ms
SCHEMA = 1  # of config.json, as `checkpoint` writes it


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that is needed to build an encoder; heads and FFN widths are per layer, as pruning leaves them.

    `conv_norm` is "group" (one GroupNorm over time after the first convolution: the base models), "layer" (a LayerNorm
    after every convolution: the large models), or, after the first convolution only, "frame" (a LayerNorm) or "static"
    (statistics fixed before training, which fold into the convolution). `projection_norm` is the LayerNorm before the
    projection, which DistilHuBERT leaves out. `input_norm`: the waveform is scaled to zero mean and unit variance by
    the statistics of the whole "utterance" (the large models) or of its past ("running"), or not ("none").
    `input_norm_eps` is added to the variance of the utterance; quiet ones come out weaker the larger it is.

    `norm` is that of the Transformer layers and of the one before or after them: "layer" (LayerNorm), "rms" or "dyt"
    (`norms`). A `front_end` "patch" is a network over patches of the waveform, each by itself: the first of the
    convolutions sees one hop and up to as many samples before it, the others one frame, so all are matrix products.
    With "mel" the convolutions see a log-mel spectrogram of `mel_bins` (`front_end.LogMel`), 100 frames a second, as
    Whisper and MelHuBERT (arXiv:2211.09944) do.

    `pos_conv_future` is how many later frames the position convolution sees (None: it is centred, as in HuBERT).
    `left_context` is how many frames before its chunk a frame attends to when the encoder runs in chunks.
    `lag_frames` is how late its outputs are, as they were trained: frame t speaks of the audio of frame t - lag_frames.

    Without `projection` the front end's last channels are the width (fairseq leaves it out where the two are equal).
    `time_reduction` is how many frames of the front end a convolution makes one frame of the layers of (FitHuBERT).
    `reuse_attention` says per layer whether it has no queries and keys of its own but attends as the layer before it
    does (ARMHuBERT); empty: none does. `distinct_layers` is how many layers have weights of their own; they are
    repeated in turn (ALBERT: with 2 of 12, layers 1, 3, 5, ... are the first of the two). None: all.
    """

    front_end: str = "conv"
    mel_bins: int = 80
    conv_channels: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    conv_norm: str = "group"
    projection_norm: bool = True
    width: int = 768
    head_dim: int = 64
    num_heads: tuple[int, ...] = (12,) * 12
    ffn_widths: tuple[int, ...] = (3072,) * 12
    pos_conv_kernel: int = 128
    pos_conv_groups: int = 16
    pos_conv_future: int | None = None
    left_context: int | None = None
    lag_frames: int = 0
    projection: bool = True
    time_reduction: int = 1
    reuse_attention: tuple[bool, ...] = ()
    distinct_layers: int | None = None
    norm: str = "layer"
    pre_norm: bool = False
    input_norm: str = "none"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.1
    layer_norm_eps: float = 1e-5
    input_norm_eps: float = FAIRSEQ_EPS

    def __post_init__(self) -> None:
        for name in (*LISTS, "reuse_attention"):
            # JSON and YAML give lists, which do not hash; a frozen dataclass can be set only this way.
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_encoder(self)

    @property
    def num_layers(self) -> int:
        return len(self.num_heads)

    @property
    def future_frames(self) -> int:
        """Frames of the front end after its own that the position convolution sees; even kernels see less of them."""
        # HubertModel pads kernel // 2 on both sides and drops the last frame of an even kernel: of 128, 63 are later.
        centred = (self.pos_conv_kernel - 1) // 2
        return centred if self.pos_conv_future is None else self.pos_conv_future

    @property
    def blockers(self) -> tuple[str, ...]:
        """What keeps this encoder from streaming, for people; empty when it streams."""
        return tuple(f"{key} {reason}" for key, reason in self.blocking)

    @property
    def blocking(self) -> tuple[tuple[str, str], ...]:
        """The fields that keep this encoder from streaming, each with what is the matter with it."""
        future, frames = self.pos_conv_future, self.future_frames
        uneven = f"is {future} frames of the front end, no multiple of time_reduction {self.time_reduction}"
        reasons = (
            ("conv_norm", "is 'group', a norm over the whole recording", self.conv_norm == "group"),
            ("input_norm", "is 'utterance', a norm over the whole recording", self.input_norm == "utterance"),
            ("pos_conv_future", f"is not set, so {frames} frames of look-ahead", future is None),
            ("left_context", "is not set, so its memory would grow without end", self.left_context is None),
            ("pos_conv_future", uneven, bool((future or 0) % self.time_reduction)),
        )
        return tuple((key, reason) for key, reason, true in reasons if true)

    @property
    def own_parts(self) -> tuple[str, ...]:
        """Parts that HuBERT lacks and that are no matter of streaming, for people."""
        parts = {
            "projection false": not self.projection,
            f"norm {self.norm}": self.norm != "layer",
            f"front_end {self.front_end}": self.front_end != "conv",
            f"time_reduction {self.time_reduction}": self.time_reduction > 1,
            "reuse_attention": any(self.reuse_attention),
            f"distinct_layers {self.distinct_layers}": self.distinct_layers not in (None, self.num_layers),
        }
        return tuple(part for part, true in parts.items() if true)

    def reuses(self, index: int) -> bool:
        """Whether layer `index` (0 is the first) attends as the one before it does."""
        return index < len(self.reuse_attention) and self.reuse_attention[index]

    @property
    def streams_only_here(self) -> bool:
        """Whether it has parts that HuBERT in other toolkits lacks."""
        own = self.conv_norm in ("frame", "static") or self.input_norm == "running"
        return own or self.pos_conv_future is not None

    @property
    def hop_samples(self) -> int:
        """Samples from one frame of the layers to the next (320 = 20 ms for the HuBERT family)."""
        return self.front_hop_samples * self.time_reduction

    @property
    def front_hop_samples(self) -> int:
        """Samples from one frame of the front end to the next."""
        return math.prod(stride for _, stride in self.front_steps)

    @property
    def front_inputs(self) -> int:
        """Channels that the first convolution takes."""
        return self.mel_bins if self.front_end == "mel" else 1

    @property
    def front_steps(self) -> tuple[tuple[int, int], ...]:
        """Kernel and stride of everything that slides over time before the layers, from samples on."""
        spectrogram = ((MEL_WINDOW_SAMPLES, MEL_HOP_SAMPLES),) if self.front_end == "mel" else ()
        return spectrogram + tuple(zip(self.conv_kernels, self.conv_strides, strict=True))

    @property
    def receptive_samples(self) -> int:
        """Samples that one frame sees through front end and time reduction (400 = 25 ms for the HuBERT family)."""
        field, stride = 1, 1
        for kernel, step in self.front_steps:
            field, stride = field + (kernel - 1) * stride, stride * step
        return field + (self.time_reduction - 1) * stride

    def frames(self, samples: Any) -> Any:
        """Number of frames made from `samples`, an int or an integer tensor of lengths."""
        return self.front_frames(samples) // self.time_reduction

    def front_frames(self, samples: Any) -> Any:
        """Number of frames that the front end makes from `samples`."""
        for kernel, stride in self.front_steps:
            samples = (samples - kernel) // stride + 1
        return samples

    def stream_spec(self, chunk_frames: int) -> StreamSpec:
        """How this encoder streams in chunks of `chunk_frames`."""
        return StreamSpec(
            chunk_frames=chunk_frames,
            width=self.width,
            sample_rate=SAMPLE_RATE,
            hop_samples=self.hop_samples,
            receptive_samples=self.receptive_samples,
            lookahead_frames=self.future_frames // self.time_reduction,
            lag_frames=self.lag_frames,
        )

    def with_layers(self, layers: int) -> "EncoderConfig":
        """The same encoder cut (or, repeating its last layer's sizes, extended) to `layers` Transformer layers.

        Layers that reuse attention still do; added ones, and all when weights were shared, have their own.
        """
        heads = (self.num_heads + self.num_heads[-1:] * layers)[:layers]
        ffn = (self.ffn_widths + self.ffn_widths[-1:] * layers)[:layers]
        reuse = (self.reuse_attention + (False,) * layers)[:layers] if self.reuse_attention else ()
        # Another depth need not be a multiple of distinct_layers any more, so sharing ends.
        shared = self.distinct_layers if layers == self.num_layers else None
        return replace(self, num_heads=heads, ffn_widths=ffn, reuse_attention=reuse, distinct_layers=shared)

    def to_dict(self) -> dict[str, Any]:
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        # Not as 0: what has no lag, or no spectrogram, is read by those who know of none.
        unused = {"lag_frames": not self.lag_frames, "mel_bins": self.front_end != "mel"}
        return {key: value for key, value in plain.items() if not unused.get(key)}

    @classmethod
    def from_dict(cls, values: dict[str, Any], shown: str = "encoder config") -> "EncoderConfig":
        """Checked values of a file, which errors call `shown`.

        Raises SpeechpressError for a value that is not what it must be, and for a key that this version does not know:
        it was written by a newer one.
        """
        check(values, OWN, shown)
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise SpeechpressError(f"{shown} has unknown keys {unknown}; it may need a newer speechpress")
        return cls._from_file(shown, **values)

    @classmethod
    def _from_file(cls, shown: str, **values: Any) -> "EncoderConfig":
        try:
            return cls(**values)
        except EncoderError as error:
            raise SpeechpressError(f"{shown}: {error}") from None

    def to_hubert(self) -> dict[str, Any]:
        """The same numbers under the names of `transformers`' HubertConfig.

        Raises SpeechpressError for what HubertConfig cannot express: per-layer sizes, and what makes an encoder stream.
        """
        if self.streams_only_here:
            raise SpeechpressError(
                "encoder: a transformers HubertModel has no counterpart of this streaming encoder "
                f"(conv_norm {self.conv_norm}, input_norm {self.input_norm}, pos_conv_future {self.pos_conv_future})"
            )
        if self.own_parts:
            raise SpeechpressError(
                f"encoder: a transformers HubertModel has no counterpart of {', '.join(self.own_parts)}"
            )
        if len(set(self.num_heads)) > 1 or len(set(self.ffn_widths)) > 1 or not self.num_layers:
            raise SpeechpressError(
                "encoder: layers of different sizes cannot be written as a transformers HubertConfig"
            )
        if self.num_heads[0] * self.head_dim != self.width:
            raise SpeechpressError("encoder: heads x head_dim must equal the width in a transformers HubertConfig")
        return {
            "model_type": "hubert",
            "architectures": ["HubertModel"],
            "conv_dim": list(self.conv_channels),
            "conv_kernel": list(self.conv_kernels),
            "conv_stride": list(self.conv_strides),
            "num_feat_extract_layers": len(self.conv_channels),
            "conv_bias": self.conv_bias,
            "feat_extract_norm": self.conv_norm,
            "feat_extract_activation": "gelu",
            "feat_proj_layer_norm": self.projection_norm,
            # HubertConfig's defaults would switch on layer drop and masking, which this encoder lacks.
            "feat_proj_dropout": 0.0,
            "hidden_size": self.width,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads[0],
            "intermediate_size": self.ffn_widths[0],
            "hidden_act": "gelu",
            "num_conv_pos_embeddings": self.pos_conv_kernel,
            "num_conv_pos_embedding_groups": self.pos_conv_groups,
            "conv_pos_batch_norm": False,
            "do_stable_layer_norm": self.pre_norm,
            "hidden_dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "activation_dropout": self.activation_dropout,
            "final_dropout": 0.0,
            "layerdrop": 0.0,
            "apply_spec_augment": False,
            "layer_norm_eps": self.layer_norm_eps,
        }

    @classmethod
    def from_hubert(
        cls,
        values: dict[str, Any],
        normalize_input: bool = False,
        eps: float = FAIRSEQ_EPS,
        shown: str = "config.json",
    ) -> "EncoderConfig":
        """Read a HubertConfig or Wav2Vec2Config, as a dict; how its waveform is normalised stands elsewhere.

        Raises SpeechpressError, which calls the config `shown`, for a value that is not what it must be, and when it
        asks for something that this encoder has no counterpart of; KeyError when it lacks a size.
        """
        check(values, HUBERT, shown)
        for key, wanted in (
            ("conv_pos_batch_norm", False),
            ("hidden_act", "gelu"),
            ("feat_extract_activation", "gelu"),
        ):
            if values.get(key, wanted) != wanted:
                raise SpeechpressError(f"{shown}: {key}={values[key]!r} is not supported (only {wanted!r})")
        # Keys that are left out get HubertConfig's own defaults, so that a shorter file means the same.
        layers, width, heads = (values[k] for k in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
        return cls._from_file(
            shown,
            conv_channels=values["conv_dim"],
            conv_kernels=values["conv_kernel"],
            conv_strides=values["conv_stride"],
            conv_bias=values.get("conv_bias", False),
            conv_norm=values.get("feat_extract_norm", "group"),
            # Wav2Vec2Config has no such key: its model always has this norm.
            projection_norm=values.get("feat_proj_layer_norm", True),
            width=width,
            head_dim=width // heads,
            num_heads=(heads,) * layers,
            ffn_widths=(values["intermediate_size"],) * layers,
            pos_conv_kernel=values.get("num_conv_pos_embeddings", 128),
            pos_conv_groups=values.get("num_conv_pos_embedding_groups", 16),
            pre_norm=values.get("do_stable_layer_norm", False),
            input_norm="utterance" if normalize_input else "none",
            dropout=values.get("hidden_dropout", 0.1),
            attention_dropout=values.get("attention_dropout", 0.1),
            activation_dropout=values.get("activation_dropout", 0.1),
            layer_norm_eps=values.get("layer_norm_eps", 1e-5),
            # Without normalisation nothing is added; the default keeps configs equal that mean the same.
            input_norm_eps=eps if normalize_input else FAIRSEQ_EPS,
        )


def read_own(section: Any, shown: str) -> EncoderConfig:
    """The encoder in the section "speechpress" of a config.json, which errors call `shown`.

    Raises SpeechpressError when it was written by a newer version, or holds what no encoder can have.
    """
    # Asked first: `check` would call a newer file damaged, when all it needs is an upgrade.
    newer = isinstance(section, dict) and type(section.get("schema")) is int and section["schema"] > SCHEMA
    if newer:
        raise SpeechpressError(
            f"{shown}: has schema {section['schema']}, but this speechpress reads {SCHEMA}; "
            "upgrade with: pip install -U speechpress"
        )
    check({"speechpress": section}, Fields({"speechpress": SECTION}), shown)
    return EncoderConfig.from_dict(section["encoder"], f"{shown}: speechpress.encoder")
