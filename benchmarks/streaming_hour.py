"""An hour of audio through one stream: does memory stay flat, does a chunk cost the same at the end, is there drift?

    python benchmarks/streaming_hour.py [CHECKPOINT] [--chunks-ms 80 320] [--minutes 60]

Without CHECKPOINT a `pocket-conv` student with random weights, which costs the same. The speech is the starter's,
repeated, and comes in pieces of 10 ms, as from a microphone. At the end the last minute is computed once more in one
call with the chunk mask, and compared. One thread. Writes results/streaming_hour.json.
"""

import argparse
import itertools
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import write

from speechpress.compressor.data.audio import read_audio
from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.models.checkpoint import load_encoder
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.streaming import TorchEngine
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.starter import SPEECH
from speechpress.runtime.stream import StreamingExtractor

RATE, PIECE, LAST_S = 16_000, 160, 60


def speech(samples: int) -> Iterator[np.ndarray]:
    """Pieces of the starter's recordings, over and over, `samples` in all."""
    files = sorted((SPEECH / "audio").rglob("*.opus"))
    rest, given = np.zeros(0, np.float32), 0
    for path in itertools.cycle(files):
        rest = np.concatenate([rest, read_audio(path)])
        while len(rest) >= PIECE:
            if given == samples:
                return
            yield rest[:PIECE]
            rest, given = rest[PIECE:], given + PIECE


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run(encoder: Encoder, chunk_ms: int, minutes: int) -> dict[str, Any]:
    """One stream; a row for every tenth of it."""
    extractor = StreamingExtractor(TorchEngine(encoder, chunk_ms // 20))
    total = minutes * 60 * RATE
    last_audio: list[np.ndarray] = []
    last_frames: list[np.ndarray] = []
    rows, times, heard, frames = [], [], 0, 0
    tenth = total // 10
    for piece in speech(total):
        start = time.perf_counter()
        out = extractor.push(piece).frames
        if len(out):
            times.append(1000 * (time.perf_counter() - start))
        heard, frames = heard + len(piece), frames + len(out)
        if heard > total - LAST_S * RATE:
            last_audio.append(piece)
            last_frames.append(out)
        if heard % tenth == 0:
            rows.append({"minute": heard / RATE / 60, "chunk_ms": statistics.median(times), "rss": resident_bytes()})
            print(f"{chunk_ms} ms, minute {rows[-1]['minute']:.0f}: {rows[-1]['chunk_ms']:.2f} ms a chunk", flush=True)
            times = []
    last_frames.append(extractor.flush().frames)
    frames += len(last_frames[-1])
    drift = compare(encoder, np.concatenate(last_audio), np.concatenate(last_frames), chunk_ms // 20, heard)
    return {"chunk_ms": chunk_ms, "rows": rows, "frames": frames, **drift}


@torch.inference_mode()
def compare(encoder: Encoder, audio: np.ndarray, frames: np.ndarray, chunk: int, heard: int) -> dict[str, float]:
    """The end of the stream against one call on the last audio alone, where that has all its context."""
    spec = encoder.config.stream_spec(chunk)
    skip = -(heard - len(audio)) % spec.chunk_samples  # so that chunks begin where those of the stream do
    wanted = encoder(torch.from_numpy(audio[skip:])[None], chunk_frames=chunk)[0].numpy()
    context = encoder.config.num_layers * (encoder.config.left_context or 0) + encoder.config.pos_conv_kernel + chunk
    tail = len(wanted) - context
    error = np.abs(frames[-tail:] - wanted[-tail:])
    return {"compared_frames": tail, "max_abs": float(error.max()), "scale": float(np.abs(wanted).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--chunks-ms", type=int, nargs="+", default=[80, 320])
    parser.add_argument("--minutes", type=int, default=60)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.checkpoint:
        encoder = load_encoder(given.checkpoint)
    else:
        torch.manual_seed(0)
        encoder = Encoder(student_config(load_recipe("pocket-conv"), None, 768)[0]).eval()
        encoder.measure_statistics(torch.from_numpy(np.concatenate(list(speech(20 * RATE))))[None])
    runs = [run(encoder, chunk_ms, given.minutes) for chunk_ms in given.chunks_ms]
    for found in runs:
        first, last = found["rows"][0], found["rows"][-1]
        print(
            f"{found['chunk_ms']} ms chunks: {first['chunk_ms']:.2f} -> {last['chunk_ms']:.2f} ms a chunk, "
            f"{first['rss'] / 2**20:.0f} -> {last['rss'] / 2**20:.0f} MiB, "
            f"largest difference at the end {found['max_abs']:.1e} (mean size {found['scale']:.2f})"
        )
    write("streaming_hour", {"threads": 1, "minutes": given.minutes, "runs": runs})


if __name__ == "__main__":
    main()
