"""A step in several real processes (gloo, DDP) and micro-batches: the same path as in one."""

import multiprocessing
import os
import socket
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from tiny_models import MASKED, ROWS, make_trainer

from speechpress.compressor.data.batches import Batch
from speechpress.compressor.distill.loop import Loop
from speechpress.compressor.distill.masking import Hearing
from speechpress.compressor.distill.process import Interrupt
from speechpress.compressor.distill.step import hidden_frames, make_optimizer
from speechpress.compressor.models.events import silent
from speechpress.compressor.recipe.hear import Hear
from speechpress.compressor.recipe.schema import Match, Train
from speechpress.compressor.teachers.load import load_teacher


def steps(trainer, rank, world):
    """Two steps of one process; its weights, and what it says of itself."""
    loop = Loop(trainer, silent)
    for rows in (ROWS, ROWS.flip(0)[:5]):
        waves = rows[rank::world]
        loop.step(Batch(waves, [str(row) for row in range(len(waves))], 0, 0, len(rows) / 2, len(rows)))
    taken = list(loop.unsettled)
    loop.settle()
    interrupt = Interrupt()
    assert not loop._interrupted(interrupt)
    interrupt.requested = rank == world - 1  # Ctrl-C reached one of them; all have to stop
    assert loop._interrupted(interrupt)
    weights = {name: value.detach() for name, value in trainer.distiller.module.state_dict().items()}
    facts = [(float(one.loss), float(one.grad_norm), float(one.rows)) for one in taken]
    return {"weights": weights, "facts": facts, "line": loop._log_line()}


PLAIN = {"match": Match(layers=(2, 4))}
HEAR = Hear(mask_prob=0.4, mask_length=3, noise_prob=0.6, noise=("pink", "reverb"), snr_db=(0.0, 5.0))


def hears(trainer, config):
    """The same training, of a student that alone has frames hidden from it and hears noise."""
    return replace(trainer, hearing=Hearing(HEAR, config, 3, []))


def worker(rank, world, port, teacher, config, accumulate, out, hear):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
        "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    fabric = Fabric(accelerator="cpu", devices=world, strategy="ddp")
    fabric.launch()
    trainer = make_trainer(load_teacher(str(teacher)), config, fabric, accumulate, **PLAIN if hear else {})
    trainer = hears(trainer, config) if hear else trainer
    torch.save(steps(trainer, rank, world), out / f"{rank}.pt")


def in_processes(teacher, config, accumulate, out, world, hear=False):
    out.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    forked = multiprocessing.get_context("fork")
    words = (world, port, teacher, config, accumulate, out, hear)
    processes = [forked.Process(target=worker, args=(rank, *words)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return [torch.load(out / f"{rank}.pt") for rank in range(world)]


@pytest.fixture(scope="module")
def alone(tiny_teacher, tiny_config):
    trainer = make_trainer(load_teacher(str(tiny_teacher)), tiny_config, Fabric(accelerator="cpu", devices=1), 1)
    return steps(trainer, 0, 1)


def require_the_same(found, alone):
    for name, wanted in alone["weights"].items():
        torch.testing.assert_close(found["weights"][name], wanted, atol=2e-5, rtol=1e-4, msg=name)
    for one, two in zip(found["facts"], alone["facts"], strict=True):
        assert one == pytest.approx(two, rel=1e-4)
    assert found["line"].keys() == alone["line"].keys()
    for name in ("loss", "grad_norm", "audio_s", "lr", "pull", "step"):
        assert found["line"][name] == pytest.approx(alone["line"][name], rel=1e-4), name
    for layer, figures in alone["line"]["layers"].items():
        assert found["line"]["layers"][layer] == pytest.approx(figures, rel=1e-4)


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (3, 2), (2, 5)])
def test_processes_follow_the_path_of_one(tiny_teacher, tiny_config, alone, world, accumulate, tmp_path):
    """Masks, penalty and norms included; with 5 micro-batches some of a process's have no row."""
    assert alone["facts"][0][0] != alone["facts"][1][0] and [fact[2] for fact in alone["facts"]] == [7, 5]
    for found in in_processes(tiny_teacher, tiny_config, accumulate, tmp_path / "runs", world):
        require_the_same(found, alone)


@pytest.mark.parametrize(("world", "accumulate"), [(2, 2), (1, 3)])
def test_what_only_the_student_hears_is_the_same_in_any_processes(
    tiny_teacher, tiny_config, alone, world, accumulate, tmp_path
):
    fabric = Fabric(accelerator="cpu", devices=1)
    trainer = make_trainer(load_teacher(str(tiny_teacher)), tiny_config, fabric, 1, **PLAIN)
    one = steps(hears(trainer, tiny_config), 0, 1)
    plain = make_trainer(load_teacher(str(tiny_teacher)), tiny_config, fabric, 1, **PLAIN)
    assert one["facts"][0][0] != pytest.approx(steps(plain, 0, 1)["facts"][0][0], rel=1e-3)
    for found in in_processes(tiny_teacher, tiny_config, accumulate, tmp_path / "runs", world, hear=True):
        require_the_same(found, one)


def test_the_teacher_hears_the_clean_whole_recording_whatever_its_student_hears(tiny_teacher, tiny_config):
    teacher, fabric = load_teacher(str(tiny_teacher)), Fabric(accelerator="cpu", devices=1)
    heard, listened = [], teacher.hidden_states

    def hidden_states(waves, **words):
        heard.append((waves.clone(), words.get("masked")))
        return listened(waves, **words)

    teacher.hidden_states = hidden_states
    trainer = hears(make_trainer(teacher, tiny_config, fabric, 1, **PLAIN), tiny_config)
    Loop(trainer, silent).step(Batch(ROWS, [str(row) for row in range(7)], 0, 0, 3.5, 7))
    ((waves, masked),) = heard
    assert torch.equal(waves, ROWS) and masked is None


@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_micro_batches_follow_the_path_of_one(tiny_teacher, tiny_config, alone, accumulate):
    fabric = Fabric(accelerator="cpu", devices=1)
    trainer = make_trainer(load_teacher(str(tiny_teacher)), tiny_config, fabric, accumulate)
    require_the_same(steps(trainer, 0, 1), alone)


def test_the_penalty_pulls_and_is_no_part_of_the_loss(tiny_teacher, tiny_config, alone):
    """By its own gradient: the step's number times the weight, on top of the loss's."""
    moved = []
    for pull in (False, True):
        fabric = Fabric(accelerator="cpu", devices=1)
        trainer = make_trainer(load_teacher(str(tiny_teacher)), tiny_config, fabric, 2, pull=pull)
        parameters = [parameter for parameter in trainer.distiller.parameters() if parameter.requires_grad]
        before = [parameter.detach().clone() for parameter in parameters]
        loop = Loop(trainer, silent)
        loop.step(Batch(ROWS, [str(row) for row in range(7)], 0, 0, 3.5, 7))
        assert float(loop.unsettled[0].loss) == pytest.approx(alone["facts"][0][0], rel=1e-5)
        moved.append([old - new.detach() for old, new in zip(before, parameters, strict=True)])
    for without, together, old in zip(*moved, before, strict=True):
        torch.testing.assert_close(together - without, old, atol=1e-4, rtol=1e-4)


def test_hidden_frames_are_those_of_the_audio_in_spans_of_hubert(tiny_teacher, tiny_config):
    teacher, fabric = load_teacher(str(tiny_teacher)), Fabric(accelerator="cpu", devices=1)
    plain = make_trainer(teacher, tiny_config, fabric, 1, match=Match(layers=(2, 4)))
    assert hidden_frames(plain, ROWS, 0, 0) is None
    spans = make_trainer(teacher, tiny_config, fabric, 1, match=Match(layers=(2, 4), mask_prob=0.5))
    tens = make_trainer(teacher, tiny_config, fabric, 1, match=replace(MASKED, mask_length=10))
    found = hidden_frames(spans, ROWS, 0, 4)
    assert found.shape == (7, 24) and found.any() and not found.all()  # of 8,000 samples
    assert torch.equal(found, hidden_frames(tens, ROWS, 0, 4)) and not torch.equal(
        found, hidden_frames(spans, ROWS, 0, 5)
    )


def test_the_optimizer_is_adamw_as_the_recipe_says():
    module, train = torch.nn.Linear(2, 2), Train(steps=1, lr=3e-4, betas=(0.8, 0.95), eps=1e-7, weight_decay=0.02)
    for scaled in (False, True):
        (group,) = make_optimizer(module, train, scaled=scaled).param_groups
        assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (3e-4, (0.8, 0.95), 1e-7, 0.02)
        assert group["fused"] == (not scaled)
