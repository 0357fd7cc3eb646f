import hashlib
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch.utils._python_dispatch import TorchDispatchMode

from speechpress.compressor.data.batches import Batch, Batches
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.distill.distill import make_fabric
from speechpress.compressor.distill.loop import Loop
from speechpress.compressor.distill.objectives import PredictionHeads
from speechpress.compressor.distill.process import Interrupt
from speechpress.compressor.distill.run import RunOptions
from speechpress.compressor.distill.step import (
    Distiller,
    Trainer,
    distillation_step,
    learning_rate,
    make_optimizer,
    scales_gradients,
    step_seed,
)
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.models.events import silent
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.recipe.schema import Match, Train
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

MATCH = Match(layers=(2, 4))


class Broken(Distiller):
    """Its loss is a number, its gradient is not."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.root = torch.nn.Parameter(torch.zeros(()))

    def forward(self, *args):
        return {layer: states + self.root.sqrt() for layer, states in super().forward(*args).items()}


@pytest.fixture(scope="module")
def teacher(tiny_teacher):
    return load_teacher(str(tiny_teacher))


@pytest.fixture(scope="module")
def make_trainer(teacher, tiny_config):
    def make(train, fabric=None, made_of=Distiller, dropout=0.0, optimizer=None, **more):
        torch.manual_seed(0)
        config = replace(tiny_config.with_layers(2), dropout=dropout, attention_dropout=0.0, activation_dropout=0.0)
        module = made_of(Encoder(config), PredictionHeads(MATCH.layers, 32, 32)).train()
        fabric = fabric or Fabric(accelerator="cpu", devices=1)
        own = torch.optim.SGD(module.parameters(), lr=1.0) if optimizer is None else optimizer(module)
        distiller, own = fabric.setup(module, own)
        more = {"match": MATCH, **more}
        return Trainer(fabric=fabric, teacher=teacher, distiller=distiller, optimizer=own, train=train, **more)

    return make


def batch(rows=3, samples=4000, seed=0):
    waves = torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed)) * 0.1
    return Batch(waves, [str(row) for row in range(rows)], 0, 0, rows * samples / 16_000, rows)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("clip", [0.0, 0.1, 1e6])
def test_a_step_is_its_formula(make_trainer, teacher, clip, accumulate):
    """Teacher, student, heads, loss, the limit on the gradient and the update, written out once more."""
    train = Train(steps=10, lr=0.1, warmup=0.5, clip=clip, accumulate=accumulate)
    trainer, given = make_trainer(train), batch()
    module = trainer.distiller.module
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    targets = teacher.hidden_states(given.waves)
    predictions = module.heads(module.encoder.hidden_states(given.waves))
    losses = []
    for layer in MATCH.layers:
        cosine = torch.nn.functional.cosine_similarity(predictions[layer], targets[layer], dim=-1)
        losses.append(((predictions[layer] - targets[layer]).abs().mean(-1) - torch.log(torch.sigmoid(cosine))).mean())
    loss = (losses[0] + losses[1]) / 2
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, [module.get_parameter(name) for name in names])
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    scale = min(1.0, clip / float(norm)) if clip else 1.0

    taken = distillation_step(trainer, given, 3)

    assert taken.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    assert taken.grad_norm.item() == pytest.approx(norm.item(), rel=1e-4)
    assert taken.sums.loss.item() / taken.sums.frames == pytest.approx(loss.item(), rel=1e-5)
    rate = learning_rate(train, 3)
    assert rate == pytest.approx(0.1 * 4 / 5)
    moved = torch.cat([(before[name] - module.get_parameter(name).detach()).flatten() for name in names])
    wanted = torch.cat([gradient.flatten() for gradient in gradients]) * rate * scale
    assert float((moved - wanted).norm()) < 0.01 * float(wanted.norm())
    assert (clip == 0.1) == (scale < 1)  # both cases occur


def test_every_micro_batch_of_every_step_has_a_random_state_of_its_own(make_trainer):
    seen = []

    class Watched(Distiller):
        def forward(self, *args):
            seen.append(torch.initial_seed())
            return super().forward(*args)

    trainer = make_trainer(Train(steps=5, seed=7, accumulate=2), made_of=Watched, dropout=0.5)
    losses = [distillation_step(trainer, batch(), step).loss for step in (0, 1)]
    assert seen == [step_seed(7, step, 0, micro) for step in (0, 1) for micro in (0, 1)] and len(set(seen)) == 4
    assert losses[0] != losses[1]


def test_seeds_are_those_of_the_stated_function():
    assert step_seed(1, 20, 3, 0) == int(hashlib.sha256(b"1/20/3/0").hexdigest()[:16], 16) // 2
    assert step_seed(0, 0, 0, 0) == 1879184629313624024  # for ever: a resumed run must draw the same
    near = {step_seed(*numbers) for numbers in [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]}
    assert len(near) == 5 and all(0 <= seed < 2**63 for seed in near)


class Reads(TorchDispatchMode):
    """Counts the numbers that Python takes out of tensors: on a GPU, each of them waits for all work to be done."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("clip", [0.0, 5.0])
def test_a_step_waits_for_nothing(make_trainer, clip):
    train = Train(steps=5, clip=clip, accumulate=2)
    loop = Loop(make_trainer(train, optimizer=lambda module: make_optimizer(module, train, scaled=False)), silent)
    loop.step(batch())  # the optimizer makes its state
    with Reads() as reads:
        for _ in range(3):
            loop.step(batch())
    assert reads.count == 0 and len(loop.unsettled) == 4
    with Reads() as reads:
        float(loop.unsettled[0].loss)
    assert reads.count == 1  # it does count
    loop.settle()
    assert loop.progress.loss_ema is not None and loop.since.grad_norm > 0 and not loop.unsettled


def test_numbers_are_looked_at_before_anything_is_written(make_trainer, few_clips):
    """Step 4 goes wrong; the line after step 5 is due at 10 and would come too late for the save at 6."""
    module, saved, events = None, [], []

    def before_step(step):
        if step == 4:
            module.heads.bias.data.fill_(float("nan"))

    train = Train(steps=1000, batch=2, crop_s=0.5, checkpoint_every=3, validate_every=1000)
    trainer = make_trainer(train, before_step=before_step)
    module, loop = trainer.distiller.module, Loop(trainer, events.append)

    def after_step():
        if loop.progress.step % 3 == 0:
            saved.append((loop.progress.step, loop.progress.loss_ema, bool(module.heads.bias.isfinite().all())))

    batches = Batches(open_corpus(few_clips).cuts, batch=2, crop_s=0.5, workers=0)
    with pytest.raises(SpeechpressError, match="the loss is nan at step 4;"):
        loop.run(batches, Interrupt(), after_step)
    assert loop.log_every == 10 and not events
    ((step, loss_ema, whole),) = saved
    assert step == 3 and loss_ema > 0 and whole


def test_an_interrupted_loop_knows_its_numbers(make_trainer, few_clips):
    loop = Loop(make_trainer(Train(steps=1000, validate_every=1000)), silent)
    interrupt = Interrupt()

    def after_step():
        interrupt.requested = loop.progress.step == 2

    assert not loop.run(Batches(open_corpus(few_clips).cuts, batch=2, crop_s=0.5, workers=0), interrupt, after_step)
    assert loop.progress.step == 2 and loop.progress.loss_ema > 0 and not loop.unsettled


@pytest.mark.parametrize("clip", ["0", "5"])
def test_half_precision_that_fell_back_to_full_is_watched_as_full(make_trainer, teacher, clip, tmp_path):
    """fp16 in a recipe is fp32 on a CPU: there is no scaler to leave a bad step out."""
    recipe = load_recipe("distilhubert", ["train.steps=4", "train.precision=fp16", f"train.clip={clip}"])
    fabric = make_fabric(recipe, RunOptions((), tmp_path, "cpu"))
    scaled = scales_gradients(fabric)
    assert not scaled
    trainer = make_trainer(
        recipe.train, fabric, Broken, optimizer=lambda module: make_optimizer(module, recipe.train, scaled=scaled)
    )
    assert trainer.optimizer.param_groups[0]["fused"]
    loop = Loop(trainer, silent)
    loop.step(batch())
    with pytest.raises(SpeechpressError, match=r"the gradient is (nan|inf) at step 0") as caught:
        loop.settle()
    assert "precision" not in str(caught.value)


def test_a_scaler_is_seen_where_there_is_one():
    from lightning_fabric.plugins.precision import MixedPrecision

    fabric = Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu"))
    assert scales_gradients(fabric)
    assert not scales_gradients(Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))


def test_a_batch_that_nobody_could_read_is_no_measure_for_others(make_trainer):
    loop = Loop(make_trainer(Train(steps=5)), silent)
    loop.step(batch(rows=0))
    loop.settle()
    assert loop.progress.step == 1 and loop.progress.loss_ema is None and loop._log_line() is None
    loop.step(batch())
    loop.settle()
    assert loop.progress.best_ema > 0.1
    assert loop._log_line()["loss"] == pytest.approx(loop.progress.loss_ema)


@pytest.mark.parametrize(("amx", "advice"), [(True, "bf16 is faster here"), (False, "bf16 for bf16")])
def test_half_precision_without_a_gpu_is_said_with_what_is_faster(amx, advice, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx})
    make_fabric(load_recipe("distilhubert", ["train.precision=fp16"]), RunOptions((), tmp_path, "cpu"))
    assert f"(--set train.precision={advice})" in caplog.text
