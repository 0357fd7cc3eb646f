"""What an encoder costs, by arithmetic on its config alone: parameters, multiply-accumulates, bytes, waiting time.

Multiply-accumulates (MACs) count the weights that every frame passes through. The products of attention with itself
grow with the length of the recording and are given apart (`attention_macs_per_s`).
"""

from dataclasses import dataclass

from .config import MEL_HOP_SAMPLES, MEL_WINDOW_SAMPLES, SAMPLE_RATE, EncoderConfig


@dataclass(frozen=True)
class Part:
    """One part of an encoder.

    `weights` counts what a quantiser turns into small integers (the matrices and kernels), `channels` their output
    channels, each of which gets one float scale; the rest of `parameters` (biases, norms) stays in floats.
    """

    parameters: int = 0
    weights: int = 0
    channels: int = 0
    macs_per_s: float = 0.0

    def __add__(self, other: "Part") -> "Part":
        return Part(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def parts(config: EncoderConfig) -> dict[str, Part]:
    """The parts of an encoder in the order in which a signal passes them; `mask` is only used in pre-training."""
    return {
        "front_end": _front_end(config),
        "projection": _projection(config),
        "position_conv": _position_conv(config),
        **({"time_reduction": _time_reduction(config)} if config.time_reduction > 1 else {}),
        "layers": _layers(config),
        "mask": Part(parameters=config.width),
    }


def parameters(config: EncoderConfig) -> int:
    """All tensors of the encoder's state, as `transformers` counts a HubertModel."""
    return total(config).parameters


def macs_per_s(config: EncoderConfig) -> float:
    """Multiply-accumulates with weights per second of audio."""
    return total(config).macs_per_s


def total(config: EncoderConfig) -> Part:
    return sum(parts(config).values(), Part())


def frames_per_s(config: EncoderConfig) -> float:
    """Frames of the layers."""
    return SAMPLE_RATE / config.hop_samples


def front_frames_per_s(config: EncoderConfig) -> float:
    return SAMPLE_RATE / config.front_hop_samples


def attention_macs_per_s(config: EncoderConfig, context_s: float) -> float:
    """Queries times keys and weights times values, per second of audio, when each frame sees `context_s` seconds.

    A layer that reuses attention multiplies no queries and keys.
    """
    rate = frames_per_s(config)
    products = sum(heads * (1 if config.reuses(index) else 2) for index, heads in enumerate(config.num_heads))
    return rate * (rate * context_s) * config.head_dim * products


def head_parameters(student_width: int, teacher_width: int, heads: int) -> int:
    """Prediction heads (Linear, GELU, one Linear per head), which are dropped after training."""
    # As s3prl's Distiller has them: the first Linear is one for all heads, the second is split by head.
    shared = student_width * student_width * heads + student_width * heads
    return shared + heads * (student_width * teacher_width + teacher_width)


def projection_part(config: EncoderConfig, teacher_width: int, factor: int = 1) -> Part:
    """One projection of a hidden state onto a teacher's width, at `factor` times the frames of the layers."""
    weights = config.width * teacher_width
    return Part(weights + teacher_width, weights, teacher_width, weights * factor * frames_per_s(config))


def upsample_part(config: EncoderConfig, factor: int) -> Part:
    """A transposed convolution that makes `factor` frames of each of the layers' frames."""
    weights = factor * config.width * config.width
    return Part(weights + config.width, weights, config.width, weights * frames_per_s(config))


def size_bytes(config: EncoderConfig) -> dict[str, int]:
    """Bytes of weights to expect: floats, halves, and int8 with a float scale per output channel and float biases."""
    whole = total(config)
    # Biases and norms stay float, and each output channel of a matrix brings a scale of its own.
    floats = whole.parameters - whole.weights + whole.channels
    return {"fp32": 4 * whole.parameters, "fp16": 2 * whole.parameters, "int8": whole.weights + 4 * floats}


def sight_ms(config: EncoderConfig) -> dict[str, dict[str, float | None]]:
    """How much audio one frame sees, and how much of it after the frame's own hop, when each part is the last one.

    None means the whole recording: attention has no limit, nor has a GroupNorm over time in the front end, nor the
    scaling of the input to zero mean and unit variance. Parts that an encoder lacks are absent. In a streaming encoder
    attention adds its left context, layer by layer; the chunk for which it waits comes on top, see `stream_costs`.
    """
    milliseconds = 1000 / SAMPLE_RATE
    # One frame of the layers begins with its first frame of the front end and sees all of its last one.
    hop, step = config.hop_samples, config.front_hop_samples
    wide, field = config.receptive_samples, config.receptive_samples - (hop - step)
    kernel, after = config.pos_conv_kernel, config.future_frames
    limited: dict[str, dict[str, float | None]] = {
        "front_end": {
            "receptive_field_ms": field * milliseconds,
            "lookahead_ms": max(0, field - step) * milliseconds,
        },
        "position_conv": {
            "receptive_field_ms": (wide + (kernel - 1) * step) * milliseconds,
            "lookahead_ms": (max(0, wide - hop) + after * step) * milliseconds,
        },
    }
    if not config.blockers:
        position = limited["position_conv"]
        past_ms = config.num_layers * (config.left_context or 0) * hop * milliseconds
        seen_ms = (position["receptive_field_ms"] or 0) + past_ms
        limited["attention"] = {"receptive_field_ms": seen_ms, "lookahead_ms": position["lookahead_ms"]}
    endless = {
        "input_scaling": config.input_norm == "utterance",
        "group_norm": config.conv_norm == "group",
        "attention": config.num_layers > 0 and bool(config.blockers),
    }
    unlimited = {"receptive_field_ms": None, "lookahead_ms": None}
    return limited | {name: dict(unlimited) for name, present in endless.items() if present}


def stream_costs(config: EncoderConfig, chunk_frames: int) -> dict[str, float]:
    """What streaming in chunks costs: MACs per second of audio, all included, and bytes of state per stream.

    The front end works on the tail of the chunk before once more, and attention sees its left context and its chunk.
    """
    chunk_s = chunk_frames / frames_per_s(config)
    spec = config.stream_spec(chunk_frames)
    samples, inputs, front = spec.tail_samples + spec.chunk_samples, config.front_inputs, 0
    if config.front_end == "mel":
        samples = (samples - MEL_WINDOW_SAMPLES) // MEL_HOP_SAMPLES + 1
        front = samples * mel_macs(config)
    sizes = zip(config.conv_channels, config.conv_kernels, config.conv_strides, strict=True)
    for channels, kernel, stride in sizes:
        samples = (samples - kernel) // stride + 1
        front += samples * inputs * channels * kernel
        inputs = channels
    rest = macs_per_s(config) - parts(config)["front_end"].macs_per_s
    left = config.left_context or 0
    context_s = (left + chunk_frames) / frames_per_s(config)
    floats = spec.tail_samples + (config.pos_conv_kernel - 1) * config.width
    kept = sum(heads * (1 if config.reuses(index) else 2) for index, heads in enumerate(config.num_heads))
    # Keys and values per layer, values alone where attention is reused; 3 are the sums of a running norm.
    floats += left * config.head_dim * kept + 3 * (config.input_norm == "running")
    return {
        "macs_per_s": front / chunk_s + rest + attention_macs_per_s(config, context_s),
        # 16: `count` and `end` are int64, all else is float32.
        "state_bytes": 4 * floats + 16,
    }


def _front_end(config: EncoderConfig) -> Part:
    part, inputs, rate = Part(), config.front_inputs, float(SAMPLE_RATE)
    if config.front_end == "mel":  # it has no weights: what it multiplies with follows from the number of bins
        rate /= MEL_HOP_SAMPLES
        part = Part(macs_per_s=mel_macs(config) * rate)
    sizes = zip(config.conv_channels, config.conv_kernels, config.conv_strides, strict=True)
    for index, (channels, kernel, stride) in enumerate(sizes):
        rate /= stride
        weights = inputs * channels * kernel
        # Of the four kinds of norm only "layer" stands after every convolution; a norm has a weight and a bias.
        normed = config.conv_norm == "layer" or index == 0
        floats = channels * (2 * normed + config.conv_bias)
        part += Part(weights + floats, weights, channels, weights * rate)
        inputs = channels
    return part


def mel_macs(config: EncoderConfig) -> int:
    """Of one frame of the spectrogram: a Fourier transform as a product, and the filters."""
    return 2 * (MEL_WINDOW_SAMPLES // 2 + 1) * (MEL_WINDOW_SAMPLES + config.mel_bins)


def _projection(config: EncoderConfig) -> Part:
    channels, width = config.conv_channels[-1], config.width
    norm = Part(2 * channels * config.projection_norm)
    if not config.projection:
        return norm
    weights = channels * width
    return norm + Part(weights + width, weights, width, weights * front_frames_per_s(config))


def _position_conv(config: EncoderConfig) -> Part:
    width, kernel = config.width, config.pos_conv_kernel
    weights = width * (width // config.pos_conv_groups) * kernel
    # The kernel is kept as a direction and one length per tap (weight norm); its norm stands beside it.
    return Part(
        weights + width + kernel + norm_parameters(config), weights, width, weights * front_frames_per_s(config)
    )


def _time_reduction(config: EncoderConfig) -> Part:
    width = config.width
    weights = width * width * config.time_reduction
    return Part(weights + width, weights, width, weights * frames_per_s(config))


def _layers(config: EncoderConfig) -> Part:
    """Layers that share their weights are held once and computed every time."""
    part = Part()
    for index in range(config.num_layers):
        layer = _layer(config, index)
        held = index < (config.distinct_layers or config.num_layers)
        part += layer if held else Part(macs_per_s=layer.macs_per_s)
    return part


def _layer(config: EncoderConfig, index: int) -> Part:
    width, inner, ffn = config.width, config.num_heads[index] * config.head_dim, config.ffn_widths[index]
    inputs = 1 if config.reuses(index) else 3  # values, or queries, keys and values
    weights = (inputs + 1) * width * inner + 2 * width * ffn
    # One bias per output channel of every Linear; what is added below is the two norms.
    channels = inputs * inner + width + ffn + width
    return Part(weights + channels + 2 * norm_parameters(config), weights, channels, weights * frames_per_s(config))


def norm_parameters(config: EncoderConfig) -> int:
    """Numbers that a norm over the width holds."""
    return {"layer": 2 * config.width, "rms": config.width, "dyt": 2 * config.width + 1}[config.norm]
