"""Published times of large encoders on phones, and what follows from them for `pocket-conv`, which nobody has measured.

    python benchmarks/phones.py

Derived: a phone that computes as many products per second for `pocket-conv` as it did for WavLM-base+, in float32 on
its CPU. WavLM-base+ is counted as HuBERT-base hearing 20 s, as its time was taken; its gates of positions are left out.
A smaller encoder keeps a processor less busy, and a stream computes in small pieces, so that the true time may be
longer. Writes results/phones.json.
"""

from common import write

from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.costs import attention_macs_per_s, macs_per_s, stream_costs
from speechpress.compressor.recipe.files import load_recipe

AI_HUB = "quic/ai-hub-models v0.46.1, huggingface_wavlm_base_plus, perf.yaml; 20 s of audio"
LITERT = "google-ai-edge/litert-samples#164; 1 s of audio, with the head"
# Milliseconds per second of audio.
PUBLISHED = (
    ("WavLM-base+", "Galaxy S24", "CPU", 71.0, AI_HUB),
    ("WavLM-base+", "Galaxy S24", "NPU", 11.0, AI_HUB),
    ("WavLM-base+", "Galaxy S25", "CPU", 53.0, AI_HUB),
    ("WavLM-base+", "Galaxy S25", "NPU", 9.4, AI_HUB),
    ("wav2vec2-base", "Pixel 8a", "GPU", 19.0, LITERT),
)
HEARD_S, CHUNK = 20.0, 16


def main() -> None:
    large = EncoderConfig()
    pocket, _ = student_config(load_recipe("pocket-conv"), large, large.width)
    theirs = macs_per_s(large) + attention_macs_per_s(large, HEARD_S)
    ours = stream_costs(pocket, CHUNK)["macs_per_s"]
    keys = ("encoder", "phone", "on", "ms_per_s", "source")
    published = [dict(zip(keys, row, strict=True)) for row in PUBLISHED]
    derived = [
        {"encoder": "pocket-conv, float32", "phone": phone, "on": on, "ms_per_s": ms * ours / theirs}
        for _, phone, on, ms, _ in PUBLISHED
        if on == "CPU"
    ]
    write(
        "phones",
        {"gmacs_per_s": {"wavlm": theirs / 1e9, "pocket-conv": ours / 1e9}, "published": published, "derived": derived},
    )


if __name__ == "__main__":
    main()
