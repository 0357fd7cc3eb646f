import pytest
import torch
from lightning_fabric import Fabric

from speechpress.compressor.distill.loop import Progress
from speechpress.compressor.distill.resume import check_identity, load_state, save_state
from speechpress.compressor.models.checkpoint import STATE, read_tensors, write_tensors
from speechpress.runtime.errors import SpeechpressError


def trained(seed=0, steps=3):
    torch.manual_seed(seed)
    module = torch.nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    for _ in range(steps):
        module(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return module, optimizer


def test_the_next_step_after_loading_is_the_very_same(tmp_path):
    fabric = Fabric(accelerator="cpu", devices=1)
    module, optimizer = trained()
    progress = Progress(step=3, audio_s=1.5, loss_ema=0.25)
    save_state(tmp_path, module, optimizer, fabric, progress, {"recipe": {"a": 1}}, {"valid": {"x": 1}})
    other, other_optimizer = trained(seed=1, steps=1)
    loaded, extra = load_state(tmp_path, other, other_optimizer, fabric, {"recipe": {"a": 1}})
    assert loaded == progress and extra == {"valid": {"x": 1}}
    for each, opt in ((module, optimizer), (other, other_optimizer)):
        each(torch.ones(1, 4)).sum().backward()
        opt.step()
    assert torch.equal(module.weight, other.weight) and torch.equal(module.bias, other.bias)


def test_every_difference_is_named(tmp_path):
    saved = {"recipe": {"train": {"lr": 1, "steps": 5}}, "teacher": "abc"}
    now = {"recipe": {"train": {"lr": 2, "steps": 5}}, "teacher": "abd"}
    with pytest.raises(SpeechpressError) as error:
        check_identity(tmp_path, saved, now)
    assert "recipe.train.lr" in str(error.value) and "teacher" in str(error.value)
    assert "steps" not in str(error.value)
    check_identity(tmp_path, saved, saved)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            lambda state: state.pop("module.weight"),
            r"resume\.safetensors: has no weight, which this run needs; restart",
        ),
        (lambda state: state.update({"module.mean": torch.zeros(2)}), "has mean, which this run lacks;"),
        (lambda state: state.update({"module.bias": torch.zeros(3)}), r"bias is \[3\], but must be \[2\]; restart the"),
    ],
)
def test_a_state_without_a_tensor_or_with_one_of_another_width_is_refused(tmp_path, change, wanted):
    fabric = Fabric(accelerator="cpu", devices=1)
    module, optimizer = trained()
    save_state(tmp_path, module, optimizer, fabric, Progress(step=3), {}, {})
    tensors, metadata = read_tensors(tmp_path / STATE)
    change(tensors)
    write_tensors(tmp_path / STATE, tensors, metadata)
    with pytest.raises(SpeechpressError, match=wanted):
        load_state(tmp_path, module, optimizer, fabric, {})
