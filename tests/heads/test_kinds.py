"""Every kind of head: any cut into chunks gives what the whole recording gives, and a compiler takes it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_heads import ARGUMENTS, LAYERS, WIDTH, heard, tiny_head, whole

from speechpress.compressor.heads.kinds import KINDS
from speechpress.runtime.answers.head_spec import KINDS as OUTPUTS

VARIANTS = [(kind, number) for kind in ARGUMENTS for number in range(len(ARGUMENTS[kind]))]
every = pytest.mark.parametrize("kind, variant", VARIANTS)


def in_chunks(head, layers, exists, cuts):
    """Outputs of all chunks joined, and the last row of those of a chunk."""
    state, parts = head.initial_state(len(layers)), []
    for start, end in zip([0, *cuts], [*cuts, layers.shape[1]], strict=True):
        if start < end:
            outputs, state = head(layers[:, start:end], exists[:, start:end], state)
            parts.append(outputs)
    return parts


def joined(kind, parts):
    each = zip(OUTPUTS[kind].values(), zip(*parts, strict=True), strict=True)
    return [torch.cat(rows, 1) if per == "frame" else rows[-1] for per, rows in each]


def test_this_file_has_every_kind_with_a_row():
    assert set(ARGUMENTS) <= set(KINDS) <= set(OUTPUTS)


@every
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_cut_into_chunks_gives_what_the_whole_gives(kind, variant, data):
    head, frames = tiny_head(kind, variant), 30
    cuts = sorted(data.draw(st.sets(st.integers(1, frames - 1), max_size=6)))
    early, late = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))
    layers = heard(frames, batch=2)
    exists = torch.ones(2, frames, dtype=torch.bool)
    exists[:, :early] = False
    exists[:, frames - late :] = False
    there = slice(early, frames - late)
    wanted = whole(head, layers[:, there])
    parts = in_chunks(head, layers, exists, cuts)
    for per, one, other in zip(OUTPUTS[kind].values(), joined(kind, parts), wanted, strict=True):
        # Only frames that exist have answers; before and after them there is none to compare.
        torch.testing.assert_close(one[:, there] if per == "frame" else one, other, atol=1e-5, rtol=1e-5)


@every
def test_what_a_frame_says_does_not_depend_on_later_ones(kind, variant):
    head, layers = tiny_head(kind, variant), heard(20)
    changed = layers.clone()
    changed[:, 12:] = heard(8, seed=2)
    for per, one, other in zip(OUTPUTS[kind].values(), whole(head, layers), whole(head, changed), strict=True):
        if per == "frame":
            assert torch.equal(one[:, :12], other[:, :12]) and not torch.equal(one, other)
        else:
            assert not torch.equal(one, other)


@every
def test_outputs_have_the_widths_and_types_that_are_told(kind, variant):
    head = tiny_head(kind, variant)
    outputs = whole(head, heard(9, batch=2))
    assert len(outputs) == len(OUTPUTS[kind])
    for width, per, output in zip(head.widths, OUTPUTS[kind].values(), outputs, strict=True):
        assert output.shape == (2, 9 if per == "frame" else 1, width)
    assert KINDS[kind].arguments_of(head) == ARGUMENTS[kind][variant]


class Flat(torch.nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head, self.names = head, tuple(head.initial_state())

    def forward(self, layers, exists, *state):
        outputs, new = self.head(layers, exists, dict(zip(self.names, state, strict=True)))
        return (*outputs, *(new[name] for name in self.names))


@every
def test_a_step_of_fixed_shapes_is_exported(kind, variant):
    head, layers = tiny_head(kind, variant), heard(8)
    given = (layers, torch.ones(1, 8, dtype=torch.bool), *head.initial_state().values())
    program = torch.export.export(Flat(head), given, strict=True)
    for one, other in zip(program.module()(*given), Flat(head)(*given), strict=True):
        torch.testing.assert_close(one, other)
    assert all(value.numel() for value in head.initial_state().values())  # ExecuTorch takes no empty tensor


@every
def test_a_recording_of_any_length_is_exported(kind, variant):
    head = tiny_head(kind, variant)
    frames = torch.export.Dim("frames", min=2, max=4000)
    given = (heard(8), torch.ones(1, 8, dtype=torch.bool), *head.initial_state().values())
    fixed = (None,) * len(head.initial_state())
    shapes = {"layers": {1: frames}, "exists": {1: frames}, **({"state": fixed} if fixed else {})}
    program = torch.export.export(Flat(head), given, dynamic_shapes=shapes)
    longer = (heard(31), torch.ones(1, 31, dtype=torch.bool), *head.initial_state().values())
    torch.testing.assert_close(program.module()(*longer)[0], Flat(head)(*longer)[0])


def test_units_are_the_nearest_centres_of_one_layer():
    head, layers = tiny_head("units"), heard(11)
    centres = torch.randn(7, WIDTH)
    head.set_centres(centres)
    x = torch.nn.functional.layer_norm(layers[:, :, 1], (WIDTH,)) * head.sum.scale[1] + head.sum.shift[1]
    distances, ids = whole(head, layers)
    torch.testing.assert_close(distances, torch.cdist(x, centres[None]).square(), atol=1e-4, rtol=1e-4)
    assert torch.equal(ids[..., 0], torch.cdist(x, centres[None]).argmin(-1)) and ids.dtype == torch.int64
    assert head.sum.weights.tolist() == [0.0, 1.0, 0.0] and not any(p.requires_grad for p in head.parameters())


def test_a_speaker_vector_has_length_one_also_before_anything_was_heard():
    head = tiny_head("speaker")
    silent = whole(head, heard(4), torch.zeros(1, 4, dtype=torch.bool))[0]
    for vector in (silent, whole(head, heard(4))[0]):
        torch.testing.assert_close(vector.norm(dim=-1), torch.ones(1, 1))


def test_the_mean_of_a_classifiers_frames_is_the_classifier_of_the_mean():
    head, layers = tiny_head("classify"), heard(9)
    torch.testing.assert_close(whole(head, layers)[0].mean(1), head.classify(head.sum(layers).mean(1)))


def test_the_sum_of_layers_starts_with_equal_weights():
    head = KINDS["classify"].make(LAYERS, WIDTH, classes=2)
    assert head.sum.weights.tolist() == pytest.approx([1 / 3] * 3)
