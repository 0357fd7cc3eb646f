import pytest
import torch
from bundled import BASE, make

from speechpress.compressor.distill.gates import GatedDistiller, HardConcrete, SparsityPenalty, gated_optimizer
from speechpress.compressor.distill.objectives import PredictionHeads
from speechpress.compressor.models import costs
from speechpress.compressor.recipe.schema import Prune, Train
from speechpress.compressor.surgery.cut import cut
from speechpress.compressor.surgery.units import Group, counts, resized, sizes_of


def gate_at(log_alpha, units=2000):
    gate = HardConcrete(units)
    gate.log_alpha.data.fill_(log_alpha)
    return gate


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 3.0])
def test_the_share_of_open_gates_is_what_the_formula_says(log_alpha):
    torch.manual_seed(0)
    gate = gate_at(log_alpha)
    samples = torch.stack([gate.sample() for _ in range(20)]).detach()
    assert samples.min() >= 0 and samples.max() <= 1
    assert float((samples > 0).float().mean()) == pytest.approx(float(gate.open_share()[0].detach()), abs=0.01)


def test_gates_start_open():
    torch.manual_seed(0)
    gate = HardConcrete(2000)
    assert float(gate.open_share().mean().detach()) > 0.98 and float((gate.sample() == 1).float().mean()) > 0.9
    assert float(gate.value().min()) > 0.9


def test_in_evaluation_the_least_open_are_closed_until_the_share_is_met():
    torch.manual_seed(0)
    module = distiller()
    gates, config = module.gates, module.encoder.config
    assert all(bool((mask > 0.9).all()) for mask in module.eval().gates.current.values())
    with torch.no_grad():
        gates.gates["ffn_0"].log_alpha[:300] = -1.0
    gates.wanted = 0.35
    masks = module.eval().gates.current
    left = costs.parameters(resized(config, counts(masks)))
    assert 0.64 < left / costs.parameters(config) <= 0.65 and not masks[Group("ffn", 0)][:250].any()
    assert cut(module.encoder, masks).config == resized(config, counts(masks))


def test_one_unit_of_a_group_stays_and_that_is_known():
    module = distiller()
    module.gates.gates["head_0"].log_alpha.data.fill_(-9.0)
    module.gates.wanted = 0.3
    assert counts(module.eval().gates.current)[Group("head", 0)] == 1
    assert module.gates.clamped() == [Group("head", 0)]


def distiller(of=("conv", "head", "ffn")):
    encoder = make(BASE)
    return GatedDistiller(encoder, PredictionHeads([1], 32, 32), Prune(0.5, of=of, ramp=10))


def test_gates_only_on_what_is_named():
    module = distiller(of=("ffn",))
    assert module.gates.groups == [Group("ffn", 0)]
    module.gates.wanted = 0.2
    assert list(module.eval().gates.current) == [Group("ffn", 0)]


def test_in_evaluation_the_gated_student_is_without_chance_and_in_training_it_is_not():
    module, waves = distiller(), torch.randn(1, 16_000)
    torch.manual_seed(0)
    one, two = (module.train()(waves)[1] for _ in range(2))
    assert not torch.equal(one, two)
    one, two = (module.eval()(waves)[1] for _ in range(2))
    assert torch.equal(one, two)


def test_the_expected_sparsity_is_that_of_the_parameters():
    module = distiller()
    config = module.encoder.config
    with torch.no_grad():
        for gate in module.gates.gates.values():
            half = len(gate.log_alpha) // 2
            gate.log_alpha[:half], gate.log_alpha[half:] = 30.0, -30.0
    left = resized(config, {group: count // 2 for group, count in sizes_of(config).items()})
    wanted = 1 - costs.parameters(left) / costs.parameters(config)
    assert float(module.gates.sparsity().detach()) == pytest.approx(wanted, abs=1e-4)
    module.gates.wanted = wanted
    assert counts(module.eval().gates.current) == sizes_of(left)


def test_the_target_rises():
    penalty = SparsityPenalty(distiller(), Prune(0.5, ramp=10))
    assert [penalty.target(step) for step in (0, 5, 10, 99)] == [0.0, 0.25, 0.5, 0.5]


def test_multipliers_ascend_until_the_sparsity_is_there():
    torch.manual_seed(0)
    module, train, prune = distiller(), Train(steps=300, lr=1e-3), Prune(0.5, ramp=50, lr=0.1)
    penalty, optimizer = SparsityPenalty(module, prune), gated_optimizer(module, train, prune, scaled=False)
    for group in optimizer.param_groups:
        group["lr"] = train.lr * group.get("lr_factor", 1.0)
    assert [group.get("maximize") for group in optimizer.param_groups] == [False, False, True]
    for step in range(300):
        penalty(step).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert float(module.gates.sparsity().detach()) == pytest.approx(0.5, abs=0.05)
    assert float(module.multipliers[0].detach()) < 0  # it was under the target for a while
