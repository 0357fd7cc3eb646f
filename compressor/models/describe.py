"""What an encoder costs and how long it waits, as plain data: the part of `compress show` that a run also prints."""

from typing import Any

from . import costs
from .config import EncoderConfig

# Milliseconds; the default is a place in this list, 320 ms.
CHUNKS_MS, DEFAULT_CHUNK = (80, 160, 320, 640), 2


def describe_encoder(config: EncoderConfig) -> dict[str, Any]:
    """Sizes, costs and waiting times of an encoder."""
    sight = costs.sight_ms(config)
    endless = any(part["receptive_field_ms"] is None for part in sight.values())
    # Without layers attention may be absent; then the position convolution sees farthest.
    farthest = sight.get("attention", sight["position_conv"])
    return {
        "layers": config.num_layers,
        "width": config.width,
        "parameters": costs.parameters(config),
        "macs_per_s": costs.macs_per_s(config),
        "attention_macs_per_s": {"10": costs.attention_macs_per_s(config, 10)},
        "receptive_field_ms": None if endless else farthest["receptive_field_ms"],
        "lookahead_ms": None if endless else farthest["lookahead_ms"],
        "chunk_ms": None if config.blockers else CHUNKS_MS[DEFAULT_CHUNK],
        "streaming": [] if config.blockers else streaming_rows(config),
        "blockers": list(config.blockers),
        "sight": sight,
        "hop_ms": 1000 / costs.frames_per_s(config),
        "size_bytes": costs.size_bytes(config),
        "parts": {
            name: {"parameters": part.parameters, "macs_per_s": part.macs_per_s}
            for name, part in costs.parts(config).items()
        },
        "encoder": config.to_dict(),
    }


def streaming_rows(config: EncoderConfig) -> list[dict[str, float]]:
    """Latency and cost of a streaming encoder at usual chunk sizes: the wait is said before the model runs at all."""
    rows = []
    for chunk_ms in CHUNKS_MS:
        frames = round(chunk_ms * costs.frames_per_s(config) / 1000)
        rows.append({**config.stream_spec(frames).latency(), **costs.stream_costs(config, frames)})
    return rows
