"""`compress head --from-eval`: the heads that `compress eval --suite` has trained and scored, instead of new ones.

They lie in the cache beside their scores. A head is found by what it was scored on: weights, chunks, clips, answers and
budget; so the result in eval.json and the head belong to each other.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechpress.runtime.atomic import atomic_folder
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.json_file import read_json
from speechpress.runtime.schema import fits

from ..evaluate.heads import Budget
from ..evaluate.probes import Tensors
from ..evaluate.solve import ScoreStore, TaskScore, score_key
from ..evaluate.upstreams import encoder_upstream
from ..models.checkpoint import WEIGHTS, Checkpoint, load_checkpoint, read_tensors, sha256
from ..models.document_schema import EVAL
from ..models.events import OnText
from ..models.kept_heads import copy_heads, head_names
from ..models.scores import NAME
from ..models.streaming import chunk_frames_of
from ..tasks.mini import MAKERS, mini_task
from ..tasks.task import Task
from .data import NO_HEADS, WISHES
from .files import KeptHead, checked_name, save_head
from .learn import HeadOptions, made
from .place import copy_checkpoint
from .train import Learned, decoder_of, line

# Kinds of task whose head of the suite computes what a head of a stream does; of the others, why it does not.
CANNOT = {
    "words": "its letters are recognised by an LSTM that reads from the end as well; train one with --task asr",
    "diarize": "it is an LSTM that reads from the end as well; train one with --task sd",
    "slots": NO_HEADS["sf"],
    "search": NO_HEADS["qbe"],
}


def take(checkpoint: Path, options: HeadOptions, say: OnText) -> dict[str, Any]:
    """Put the kept heads of a checkpoint's evaluation into it, those of --task or all of them.

    Returns:
        {"out", "taken": {name: line of the card}, "left_out": {task: reason}, "heads"}

    Raises SpeechpressError when it was not evaluated so, nothing was kept, or a name is taken.
    """
    opened = load_checkpoint(checkpoint)
    result = _result(opened)
    names = [options.task] if options.task else [name for name in result["tasks"] if name in MAKERS]
    taken: dict[str, KeptHead] = {}
    left: dict[str, str] = {}
    for name in names:
        if name not in result["tasks"] or name not in MAKERS:
            raise SpeechpressError(f"{checkpoint / NAME}: holds no result of task {name!r}; evaluate it first")
        task = mini_task(name, options.data)
        if task.kind in CANNOT:
            left[name] = CANNOT[task.kind]
            continue
        head_name = checked_name(options.name if options.task and options.name else WISHES[name].name)
        if head_name in head_names(opened.path) and not options.overwrite:
            raise SpeechpressError(
                f"{checkpoint}: has a head {head_name!r} already; replace it with --overwrite, or take the tasks one "
                "by one with --task and --name"
            )
        taken[head_name] = _kept(opened, result, task, head_name, options)
        say(f"{name}: head {head_name!r}, {task.metric} {taken[head_name].card['value']:.3f}")
    out = _written(opened, taken, options)
    lines = {name: dict(head.card) for name, head in taken.items()}
    return {"out": str(out), "taken": lines, "left_out": left, "heads": head_names(out)}


def _result(opened: Checkpoint) -> dict[str, Any]:
    """eval.json; raises SpeechpressError unless it is of the mini suite, on these weights, and of a sum of layers."""
    path = opened.path / NAME
    again = f"run `compress eval {opened.path} --suite mini --data-root ...` first"
    if not path.is_file():
        raise SpeechpressError(f"{path}: is not there, so no head was scored; {again}")
    result = read_json(path)
    if not fits(result, EVAL) or not isinstance(result.get("budget"), dict):
        raise SpeechpressError(f"{path}: is not a result of `compress eval --suite`; {again}")
    if result["suite"] != "mini":
        raise SpeechpressError(f"{path}: is a result of {result['suite']!r}; only heads of the mini suite are kept")
    if (result.get("of") or {}).get("weights_sha256") != sha256(opened.path / WEIGHTS):
        raise SpeechpressError(f"{path}: is stale: it was measured on other weights; {again}")
    if result.get("layers") != "weighted":
        raise SpeechpressError(f"{path}: was measured on the last layer alone; evaluate it with --layers weighted")
    return result


def _kept(opened: Checkpoint, result: dict[str, Any], task: Task, name: str, options: HeadOptions) -> KeptHead:
    budget, chunk_ms = _budget(result["budget"]), (result.get("latency") or {}).get("chunk_ms")
    chunk = None if chunk_ms is None else chunk_frames_of(opened.encoder.config, chunk_ms)
    upstream = encoder_upstream(opened.encoder, chunk)
    store, key = ScoreStore(options.cache), score_key(task, upstream.key, budget)
    score = store.get(key) if options.cache else None
    if score is None or not store.head_path(key).is_file():
        raise SpeechpressError(
            f"task {task.name!r}: no head of it is kept in {options.cache or 'a cache'}; evaluate it (again, if that "
            f"was done by an older version: its cache holds scores without heads): compress eval {opened.path} --suite "
            f"mini --tasks {task.name} --data-root {options.data}"
        )
    tensors, _ = read_tensors(store.head_path(key))
    learned = _learned(task, tensors, score)
    told = line(learned, task, opened, [chunk], replace(options, task=task.name, budget=budget))
    card = {**told, "value": score.test, "by": "compress eval --suite mini"}
    return KeptHead(
        name,
        learned.kind,
        learned.head,
        learned.labels,
        decoder_of(learned.kind, task),
        learned.threshold,
        student_sha256=sha256(opened.path / WEIGHTS),
        card=card,
    )


def _budget(told: Mapping[str, Any]) -> Budget:
    try:
        return Budget(int(told["steps"]), int(told["batch"]), tuple(map(float, told["lrs"])), int(told["seeds"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SpeechpressError(f"{NAME}: its budget is damaged ({error}); evaluate the checkpoint again") from None


def _learned(task: Task, tensors: Tensors, score: TaskScore) -> Learned:
    """A head of the suite as a head of ours; raises SpeechpressError when its file is damaged."""
    try:
        if task.kind == "classify":
            return Learned(made("classify", tensors, classes=len(task.classes)), "classify", task.classes, score)
        if task.kind == "ctc":
            tokens = sorted({token for item in task.part("train") for token in item.target})
            head = made("ctc", tensors, tokens=len(tokens) + 1, kernel=1, hidden=0)
            return Learned(head, "ctc", ("", *tokens), score)
        hidden, embedding = len(tensors["project.bias"]), len(tensors["embed.bias"])
        # The suite keeps no trials of val, so there is no threshold; an app chooses its own.
        return Learned(made("speaker", tensors, hidden=hidden, embedding=embedding), "speaker", (), score)
    except (KeyError, RuntimeError, ValueError) as error:
        raise SpeechpressError(f"task {task.name!r}: its kept head is damaged ({error}); evaluate it again") from error


def _written(opened: Checkpoint, taken: Mapping[str, KeptHead], options: HeadOptions) -> Path:
    out = options.out or opened.path
    if not taken:
        raise SpeechpressError("none of these tasks has a head that can stream; nothing was written")
    if out.resolve() == opened.path.resolve():
        for head in taken.values():
            save_head(out, head)
        return out
    if out.exists():
        raise SpeechpressError(f"{out}: already exists; choose another --out")
    with atomic_folder(out) as part:
        copy_checkpoint(opened.path, part)
        copy_heads(opened.path, part)
        for head in taken.values():
            save_head(part, head)
    return out
