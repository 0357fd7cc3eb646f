"""The families of teachers, one row each. Loads no torch: `compress show` reads it too.

To add a family that takes waveforms as HuBERT does, add a row. A family with another input needs a backbone as well,
under the row's `kind` in `backbones.KINDS`. What is not listed works too: its layers are found by their structure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .teacher_facts import KnownTeacher, data2vec_facts, hubert_facts, wavlm_facts, whisper_facts

# What a student may start from where layers compute otherwise than ours.
FRONT_END = ("feature_extractor.", "feature_projection.", "masked_spec_embed")

Facts = Callable[[str, Mapping[str, Any], str, bool], KnownTeacher]


@dataclass(frozen=True)
class Family:
    """A family of models by transformers' `model_type`.

    `kind` says how it is computed: "encoder" (exactly our own `Encoder`), "waveform" (transformers' class, waves in),
    "whisper", or "found" (transformers' class; what it takes is found out). `prefix` is where a model with a head keeps
    the encoder's tensors. `fairseq` is its name there. `supervised`: always trained on labels.
    `inherits` are the beginnings of the names of tensors that a student may start from ("" are all); with none, it has
    no front end for a student. `student` are config values that a student has in the place of the teacher's, and `note`
    says what it lacks. `facts` counts its parameters from its config.json.
    """

    name: str
    kind: str = "found"
    prefix: str = ""
    fairseq: str = ""
    supervised: bool = False
    inherits: tuple[str, ...] = ("",)
    student: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    facts: Facts | None = None


TABLE = (
    Family("hubert", "encoder", "hubert.", "hubert", facts=hubert_facts),
    Family("wav2vec2", "encoder", "wav2vec2.", "wav2vec2", facts=hubert_facts),
    Family("unispeech", "encoder", "unispeech."),
    Family("unispeech-sat", "encoder", "unispeech_sat."),
    Family(
        "wavlm",
        "waveform",
        "wavlm.",
        note="a student starts from its front end and layers, but without its relative position bias",
        facts=wavlm_facts,
    ),
    Family(
        "data2vec-audio",
        "waveform",
        "data2vec_audio.",
        "data2vec_audio",
        # data2vec's own value is the depth of its stack of convolutions; for a student it would be a kernel size.
        student={"num_conv_pos_embeddings": 128, "feat_extract_norm": "layer", "do_stable_layer_norm": False},
        note="a student starts from its front end and layers, but with a position convolution of its own",
        facts=data2vec_facts,
    ),
    Family(
        "wav2vec2-conformer",
        "waveform",
        "wav2vec2_conformer.",
        # Conformer layers have convolutions and a second FFN, which ours lack.
        inherits=FRONT_END,
        student={"hidden_act": "gelu", "do_stable_layer_norm": False},
        note="a student starts from its front end, but with Transformer layers of its own",
    ),
    Family("whisper", "whisper", supervised=True, inherits=(), facts=whisper_facts),
    Family("moonshine", supervised=True, inherits=()),
    Family("speech_to_text", supervised=True, inherits=()),
)

# wav2vec 2.0 with a small adapter per layer and language (MMS), which our encoder lacks.
WITH_ADAPTERS = Family(
    "wav2vec2",
    "waveform",
    "wav2vec2.",
    note="a student starts from its front end and layers, but without its language adapters",
)

# HuBERT with a BatchNorm in front of its position convolution (mHuBERT-147). It cannot be folded into the convolution:
# the zeros around a recording are put there after it.
WITH_BATCH_NORM = Family(
    "hubert",
    "waveform",
    "hubert.",
    student={"conv_pos_batch_norm": False},
    note="a student starts from its front end and layers, but with a position convolution of its own",
)

_NO_CLASS = "transformers has no class for it, so nothing says whether its layers would be computed rightly here"
CODE = "its model is code in its own repository (auto_map), which is never run here"
# Models that people look for and that are refused, by the names that their files give them.
REFUSED = {
    "usad": f"USAD: {CODE}; a teacher that it was distilled from, microsoft/wavlm-base-plus, can be given instead",
    "usad2": f"USAD 2: {CODE}; give a teacher that it was distilled from, such as WavLM, instead",
    "dinosr": f"DinoSR: {_NO_CLASS}",
    "spidr": f"SpidR or DinoSR, as the package spidr writes them: {_NO_CLASS}",
}
# What the files of that package hold beside an encoder.
OF_SPIDR = ("student.", "teacher.", "codebooks.", "heads.")

_BY_NAME = {row.name: row for row in TABLE}
OF_FAIRSEQ = {row.fairseq: row.name for row in TABLE if row.fairseq}
PREFIXES = tuple(row.prefix for row in TABLE if row.prefix)


def family_of(name: str, config: Mapping[str, Any]) -> Family:
    """The row of a family; one of which nothing is known beforehand has no front end for a student."""
    row = _BY_NAME.get(name, Family(name, inherits=()))
    if name == "hubert" and config.get("conv_pos_batch_norm"):
        return WITH_BATCH_NORM
    return WITH_ADAPTERS if row.kind == "encoder" and config.get("adapter_attn_dim") else row
