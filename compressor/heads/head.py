"""`compress head`: labelled speech and a checkpoint -> the checkpoint with a head, and how well it answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..evaluate.checks import check_tasks
from ..evaluate.upstreams import encoder_upstream
from ..models.checkpoint import WEIGHTS, Checkpoint, load_checkpoint, sha256
from ..models.events import OnText
from ..tasks.kinds import KINDS as TASK_KINDS
from ..tasks.task import Task
from .cluster import train_units
from .data import known_wish, open_task
from .features import Chunk, chunks_of, heard
from .files import checked_name
from .finetune import finetuned
from .learn import HeadOptions
from .place import check_place, put
from .train import kept_head, learn, line


def train_head(checkpoint: Path, options: HeadOptions, say: OnText) -> dict[str, Any]:
    """Train a head on a student, write it, and tell how well it answers.

    Raises:
        SpeechpressError: no checkpoint, labels that do not fit the task, a name that is taken, or a folder in use.
    """
    wish = known_wish(options.task)
    name = checked_name(options.name or wish.name)
    opened = load_checkpoint(checkpoint)
    # All that can be refused is refused before the first clip is heard.
    check_place(opened, name, options)
    chunks = chunks_of(opened, options.chunks_ms)
    if wish.kind == "units":
        return train_units(opened, name, chunks, options, say)
    task = open_task(options.task, options.data, options.column, options.labels)
    check_tasks([task], [encoder_upstream(opened.encoder, chunks[0])])
    say(f"{task.name}: {_shown_counts(task)}, heard {_shown_chunks(opened, chunks)}")
    if options.finetune:
        return finetuned(opened, name, task, chunks, options, say)
    features = TASK_KINDS[task.kind].features
    with heard(opened.encoder, task.items, features, chunks, options.cache, options.device, say) as store:
        task = task.without(item.path for item in store.skipped)
        learned = learn(task, store, store.hop_samples, options, say)
    card = line(learned, task, opened, chunks, options)
    kept = kept_head(name, learned, task, sha256(opened.path / WEIGHTS), card)
    return put(opened, kept, options, say)


def _shown_counts(task: Task) -> str:
    counts = task.counts()
    return f"{counts['train']} clips to train, {counts['val']} to choose, {counts['test']} to test"


def _shown_chunks(opened: Checkpoint, chunks: Sequence[Chunk]) -> str:
    config = opened.encoder.config
    sizes = [f"{config.stream_spec(chunk).chunk_ms:g}" for chunk in chunks if chunk]
    return f"in chunks of {', '.join(sizes)} ms" if sizes else "as whole recordings"
