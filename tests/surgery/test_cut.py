from dataclasses import replace

import pytest
import torch
from bundled import make

from speechpress.compressor.models import costs
from speechpress.compressor.models.checkpoint import load_encoder, parameters, save_encoder
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.models.streaming import StreamingEncoder, folded
from speechpress.compressor.prune.importance import dependency_groups
from speechpress.compressor.surgery.cut import cut
from speechpress.compressor.surgery.masks import attach
from speechpress.compressor.surgery.units import Group, counts, sizes_of

CONFIG = EncoderConfig(
    conv_channels=(8, 10, 12),
    conv_kernels=(10, 4, 4),
    conv_strides=(5, 4, 4),
    width=24,
    head_dim=6,
    num_heads=(4, 3),
    ffn_widths=(20, 30),
    pos_conv_kernel=8,
    pos_conv_groups=4,
)
LARGE = {"conv_norm": "layer", "conv_bias": True, "pre_norm": True, "input_norm": "utterance"}
STREAMS = {"pos_conv_future": 1, "left_context": 6}
VARIANTS = {
    "base": {},
    "large": LARGE,
    "static": {"conv_norm": "static", **STREAMS},
    "reduced": {"time_reduction": 2},
    "frame": {"conv_norm": "frame", "projection_norm": False, "input_norm": "running", **STREAMS},
}


def some_masks(config, values=(0.0, 1.0), seed=0):
    """A third of the units of every group at each end, the others at random from `values`."""
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    for group, count in sizes_of(config).items():
        mask = torch.tensor(values)[torch.randint(len(values), (count,), generator=generator)]
        mask[0], mask[1] = 0.0, 1.0
        masks[group] = mask
    return masks


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("values", [(0.0, 1.0), (0.0, 0.3, 0.7, 1.0)])
def test_the_cut_encoder_equals_the_masked_one(name, values):
    encoder = make(replace(CONFIG, **VARIANTS[name]))
    masks, waves = some_masks(encoder.config, values), torch.randn(2, 4000) * 0.1
    small = cut(encoder, masks)
    whole = encoder.hidden_states(waves)
    handles = attach(encoder, masks.get)
    with torch.inference_mode():
        for found, wanted in zip(small.hidden_states(waves), encoder.hidden_states(waves), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert not torch.allclose(encoder.hidden_states(waves)[-1], whole[-1], atol=1e-2)
    for handle in handles:
        handle.remove()
    torch.testing.assert_close(encoder.hidden_states(waves)[-1], whole[-1])
    assert sizes_of(small.config) == counts(masks) and parameters(small) == costs.parameters(small.config)


@pytest.mark.parametrize("name", VARIANTS)
def test_masks_of_ones_change_nothing(name):
    encoder = make(replace(CONFIG, **VARIANTS[name]))
    waves, ones = torch.randn(1, 4000), {group: torch.ones(n) for group, n in sizes_of(encoder.config).items()}
    before = encoder(waves)
    attach(encoder, ones.get)
    torch.testing.assert_close(encoder(waves), before, atol=1e-5, rtol=0)
    torch.testing.assert_close(cut(encoder, ones)(waves), before, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_tensor_of_a_dependency_group_is_cut(name):
    """torch-pruning follows units through the graph; what it finds is what `cut` makes smaller."""
    encoder = make(replace(CONFIG, **VARIANTS[name]))
    whole, before = folded(encoder), encoder.state_dict()
    names = {module: path for path, module in whole.named_modules()}
    for group, found in dependency_groups(whole).items():
        mask = torch.ones(sizes_of(encoder.config)[group])
        mask[0] = 0.0
        after = cut(encoder, {group: mask}).state_dict()
        changed = {path.rpartition(".")[0] for path, tensor in after.items() if tensor.shape != before[path].shape}
        modules = {names[dep.target.module] for dep, _ in found if dep.target.module in names}
        # The static norm is part of the folded convolution.
        assert changed - {"feature_extractor.conv_layers.0.layer_norm"} <= modules | changed and modules <= changed


def test_a_cut_encoder_reloads_and_streams(tmp_path):
    encoder = make(replace(CONFIG, **VARIANTS["static"]))
    small = cut(encoder, some_masks(encoder.config))
    save_encoder(tmp_path, small)
    again = load_encoder(tmp_path)
    assert again.config == small.config and again.config.num_heads != CONFIG.num_heads
    waves = torch.randn(1, 80 * 24) * 0.1
    step = StreamingEncoder(again, 3)
    state, frames = step.initial_state(), []
    with torch.inference_mode():
        wanted = small(waves, chunk_frames=3)
        audio = torch.cat([torch.zeros(1, step.spec.silence_samples), waves, torch.zeros(1, 400)], 1)
        for chunk in audio.split(step.spec.chunk_samples, 1):
            if chunk.shape[1] == step.spec.chunk_samples:
                found, state = step.step(chunk, state)
                frames.append(found)
    found = torch.cat(frames, 1)[:, -step.spec.first_frame :]
    # The last frames of the stream hear the zeros after the recording; the whole call does not have them.
    same = wanted.shape[1] - encoder.config.future_frames - 3
    torch.testing.assert_close(found[:, :same], wanted[:, :same], atol=1e-5, rtol=0)


def test_layers_go_whole():
    encoder = make(CONFIG)
    small = cut(encoder, {}, layers=[1])
    assert small.config.num_heads == (3,) and small.config.ffn_widths == (30,)
    waves = torch.randn(1, 3000)
    state = encoder.hidden_states(waves)[0]
    torch.testing.assert_close(small(waves), encoder.encoder.layers[1](state, None)[0], atol=1e-6, rtol=0)


def test_units_that_are_not_masked_stay():
    small = cut(make(CONFIG), {Group("head", 1): torch.tensor([0.0, 1.0, 0.0])})
    assert small.config.num_heads == (4, 1) and small.config.ffn_widths == CONFIG.ffn_widths
