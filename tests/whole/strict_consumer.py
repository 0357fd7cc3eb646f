"""What somebody may write who type-checks with `mypy --strict`: every public name, with the type that it has.

It is never run, only checked (.ci/run); `test_release.py` sees to it that no public name is left out.
"""

from pathlib import Path
from typing import Any, assert_type

import numpy as np

import speechpress
from speechpress import (
    SpeechpressError,
    StreamingExtractor,
    distill,
    evaluate,
    export,
    extract,
    head,
    load_bundle,
    load_encoder,
    load_recipe,
    load_teacher,
    profile,
    prune,
    push,
    quantize,
    verify,
)
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.schema import Recipe
from speechpress.compressor.teachers.load import Teacher
from speechpress.runtime.engine import PteEngine, PteModel


def hear(event: dict[str, Any]) -> None:
    print(event["event"])  # noqa: T201


def make(folder: Path) -> dict[str, Any]:
    assert_type(speechpress.__version__, str)
    recipe = assert_type(load_recipe("pocket", ["train.steps=10"]), Recipe)
    teacher = assert_type(load_teacher("hubert-mini"), Teacher)
    assert_type(teacher.card.depth, int)
    run = distill(recipe, data=[folder, "s3://bucket/shar"], out=folder / "run", on_event=hear)
    assert_type(run, dict[str, Any])
    assert_type(evaluate("runs/a", tasks="ks", seeds=1, say=print), dict[str, Any])
    assert_type(prune("runs/a", out="runs/b", to_params="10M"), dict[str, Any])
    assert_type(quantize("runs/b", "int8", out="runs/c"), dict[str, Any])
    assert_type(head("runs/c", "vad", data=folder, chunk_ms=(320.0,)), dict[str, Any])
    assert_type(extract("runs/c", folder, out="features", layers="last"), dict[str, Any])
    assert_type(push("runs/c", "me/c", dry_run=True), dict[str, Any])
    return export("runs/c", "android", out="bundles/c", chunk_ms=[320.0], heads="all")


def use(samples: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    assert_type(load_encoder("runs/c"), Encoder)
    bundle = assert_type(load_bundle("bundles/c"), PteModel)
    assert_type(profile("bundles/c", chunks=10, on_event=hear), dict[str, Any])
    report = verify("bundles/c")
    if not report["ok"] or not isinstance(bundle, PteEngine):
        raise SpeechpressError("bundles/c: not what was exported, or does not stream")
    stream = StreamingExtractor(bundle)
    heard, rest = stream.push(samples), stream.flush()
    return float(heard.frames.mean()) + float(rest.frames.mean())
