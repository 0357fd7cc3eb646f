"""Kills a piece of work at its n-th change of the disk, in a forked process: for tests that nothing half is left.

Called as a program it prints, as JSON, what was found at some of the points of every command that writes: fork it
before anything was trained, because a process that has used autograd cannot be forked.
"""

import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink", "shutil.rmtree")
Work = Callable[[], object]


def is_change(event: str, words: tuple, below: str) -> bool:
    """Whether an audit event is a change of something below a folder."""
    if event == "open":
        writes = words[2] is not None and words[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        return bool(writes) and isinstance(words[0], str | bytes | os.PathLike) and under(words[0], below)
    return event in CHANGES and under(words[0], below)


def under(path: object, below: str) -> bool:
    return not isinstance(path, int) and os.fsdecode(path).startswith(below)


def changes(work: Work, below: Path, kill_at: int = 0) -> int | None:
    """How often `work` changes something below a folder; None when it was killed at the change `kill_at`."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(work, str(below), kill_at, write)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    if status:
        raise AssertionError(said)
    return int(said)


def _in_child(work: Work, below: str, kill_at: int, write: int) -> None:
    count = 0

    def hook(event: str, words: tuple) -> None:
        nonlocal count
        if is_change(event, words, below):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    said, code = "", 0
    try:
        sys.addaudithook(hook)
        work()
        said = str(count)
    except BaseException:
        said, code = traceback.format_exc(), 1
    os.write(write, said.encode())
    os._exit(code)


@dataclass
class Case:
    """A command: `begin` the first time, `again` afterwards, and `look`, which says "whole", "refused" or "nothing"."""

    begin: Work
    again: Work
    look: Callable[[], str]
    place: Path
    points: int
    found: list[str] = field(default_factory=list)


def run(case: Case) -> list[str]:
    """What was left at each point, with what the next run made of it."""
    empty(case.place)
    total = changes(case.begin, case.place)
    assert total
    first = case.look()
    for number in range(case.points):
        at = max(1, round(total * (number + 1) / case.points))
        empty(case.place)
        assert changes(case.begin, case.place, at) is None, f"not killed at {at} of {total}"
        left = case.look()
        changes(case.again, case.place)
        case.found.append(f"{left}, then {case.look()}, parts left: {len(list(case.place.rglob('.*.part')))}")
        if number % 2:  # once more over what is there now
            changes(case.again, case.place, at)
            case.found.append(f"over a whole one {case.look()}")
    return [first, *case.found]


def empty(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)
    folder.mkdir()


def cases(root: Path, clips: Path) -> Iterator[tuple[str, Case]]:
    """Every command that writes, on encoders that take no time."""
    import torch
    from bundled import CHUNK_MS, SMALL, make

    from speechpress.compressor.distill import metrics as plots  # noqa: F401
    from speechpress.compressor.distill.distill import distill
    from speechpress.compressor.distill.run import RunOptions
    from speechpress.compressor.export import export as exporting
    from speechpress.compressor.export.source import open_source
    from speechpress.compressor.models.checkpoint import load_checkpoint, save_encoder, sha256, write_json
    from speechpress.compressor.models.scores import write_back
    from speechpress.compressor.prune import options as prune_options
    from speechpress.compressor.prune.prune import prune
    from speechpress.compressor.quantize import ptq as quantize_checkpoint
    from speechpress.compressor.recipe.files import load_recipe
    from speechpress.compressor.targets import target_of
    from speechpress.compressor.teachers.convert import convert
    from speechpress.compressor.teachers.load import load_teacher
    from speechpress.runtime.bundle import check_hashes, read_bundle
    from speechpress.runtime.errors import SpeechpressError

    torch.set_num_threads(1)
    teacher, place = root / "teacher", root / "place"
    place.mkdir()
    save_encoder(teacher, make(SMALL))
    write_json(teacher / "card.json", {"steps": 3})

    def opened(folder: Path, read: Callable[[Path], object]) -> Callable[[], str]:
        def look() -> str:
            if not folder.exists():
                return "nothing"
            try:
                read(folder)
            except SpeechpressError:
                return "refused"
            return "whole"

        return look

    def case(work: Callable[[Path, bool], object], read: Callable[[Path], object], points: int) -> Case:
        out = place / "out"
        return Case(lambda: work(out, False), lambda: work(out, True), opened(out, read), place, points)

    settings = ["train.steps=1", "train.precision=fp32", "train.batch=1", "train.crop_s=0.3", "match.layers=[1]"]
    recipe = load_recipe("distilhubert", [f"teacher={teacher}", "match.depth=1", "student.layers=1", *settings])

    def distilled(out: Path, overwrite: bool) -> None:
        distill(recipe, RunOptions((clips,), out, "cpu", overwrite=overwrite, workers=0), lambda event: None)

    yield "distill", case(distilled, load_checkpoint, 4)

    def pruned(out: Path, overwrite: bool) -> None:
        order = prune_options.PrunePlan(teacher, prune_options.PruneTarget("sparsity", 0.2), "magnitude", 0)
        prune(order, RunOptions((), out, "cpu", overwrite=overwrite), lambda event: None, lambda words: None)

    yield "prune", case(pruned, load_checkpoint, 4)
    prepared = quantize_checkpoint.prepare(teacher, None, needs_speech=False)

    def quantized(out: Path, overwrite: bool) -> None:
        quantize_checkpoint.quantize(prepared, "int8", out, lambda words: None, overwrite=overwrite)

    yield "quantize", case(quantized, load_checkpoint, 4)
    plain = root / "plain"
    save_encoder(
        plain, make(replace(SMALL, conv_norm="group", pos_conv_future=None, left_context=None, num_heads=(4,)))
    )

    def converted(out: Path, overwrite: bool) -> None:
        if not (overwrite and out.exists()):  # there is no --overwrite; what is there is whole
            convert(str(plain), out, "transformers")

    yield "convert", case(converted, lambda out: load_teacher(str(out)), 4)
    order = exporting.plan(open_source(teacher), target_of("host"), "none", (CHUNK_MS,), 0.0)
    methods, values = exporting._program(order)
    lowered = exporting.lower(methods, values, "xnnpack", exporting.as_prepared(order.quantization, SMALL))
    exporting.lower = lambda *words: lowered  # it writes nothing, and is the same every time

    def exported(out: Path, overwrite: bool) -> None:
        exporting.export(order, out, overwrite, allow_fallback=True, say=lambda words: None)

    yield "export", case(exported, lambda out: check_hashes(read_bundle(out)), 3)

    def measured(out: Path, overwrite: bool) -> None:
        if not out.exists():
            quantized(out, False)
        about = {"of": {"weights_sha256": sha256(out / "model.safetensors")}, "tasks": {"ks": {}}}
        for suite in ("mini", "superb", "mini"):
            write_back({**about, "suite": suite}, out)

    def result(out: Path) -> None:
        load_checkpoint(out)
        for file in out.glob("eval*.json"):
            json.loads(file.read_text())

    yield "eval", case(measured, result, 4)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = {name: run(case) for name, case in cases(Path(folder), Path(sys.argv[1]))}
    sys.stdout.write(json.dumps(made) + "\n")
