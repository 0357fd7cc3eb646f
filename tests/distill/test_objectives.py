import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechpress.compressor.distill import objectives
from speechpress.compressor.distill.objectives import (
    FUNCTIONS,
    LayerPairs,
    PredictionHeads,
    Upsample,
    gram,
    heads_metadata,
    l1_and_cosine,
    l1_and_cosine_sums,
    load_heads,
    loss_sums,
    make_heads,
    save_heads,
)
from speechpress.compressor.models.checkpoint import HEADS
from speechpress.compressor.recipe import files as recipe_file
from speechpress.compressor.recipe import schema as matching
from speechpress.compressor.recipe.schema import OBJECTIVES, Match
from speechpress.runtime.errors import SpeechpressError


def states(layers=3, batch=2, frames=5, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, frames, width, generator=generator) for _ in range(layers)]


def test_heads_are_linear_gelu_and_one_linear_per_layer():
    heads = PredictionHeads([4, 8, 12], 8, 6)
    last = states()[-1]
    predictions = heads(states())
    hidden = torch.nn.functional.gelu(heads.expand(last))
    for index, layer in enumerate((4, 8, 12)):
        own = hidden[..., 8 * index : 8 * (index + 1)]
        torch.testing.assert_close(predictions[layer], own @ heads.weight[index] + heads.bias[index])


def test_heads_of_distilhubert_have_the_published_size():
    heads = PredictionHeads([4, 8, 12], 768, 768)
    assert sum(p.numel() for p in heads.parameters()) == 3_543_552  # 27.03 M in training - 23.49 M after it


def test_pairs_are_the_states_themselves_when_widths_agree():
    given_states = states()
    predictions = LayerPairs([(0, 4), (2, 12)], 8, 8)(given_states)
    assert predictions[4] is given_states[0] and predictions[12] is given_states[2]
    assert sum(p.numel() for p in LayerPairs([(0, 4)], 8, 8).parameters()) == 0


def test_pairs_of_other_widths_get_a_projection_and_say_so(caplog):
    predictions = LayerPairs([(1, 2)], 8, 6)(states())
    assert predictions[2].shape == (2, 5, 6)
    assert "linear projection" in caplog.text


@given(st.integers(1, 4), st.integers(1, 6), st.floats(0, 2), st.floats(0, 2))
def test_loss_of_equal_states_is_the_smallest(batch, frames, l1, cosine):
    target = states(1, batch, frames)[0]
    match = Match(layers=(1,), l1=l1, cosine=cosine)
    total, parts = loss_sums({1: target}, {1: target}, match)
    least = batch * frames * cosine * math.log1p(math.exp(-1))
    assert total.item() == pytest.approx(least, abs=1e-4)
    assert parts[1][1].item() == pytest.approx(batch * frames, rel=1e-5)
    worse, _ = loss_sums({1: -target}, {1: target}, match)
    assert worse.item() >= total.item() - 1e-6


def test_loss_is_the_formula_of_the_paper():
    prediction, target = states(2, seed=3)
    cosine = (prediction * target).sum(-1) / prediction.norm(dim=-1) / target.norm(dim=-1)
    expected = (prediction - target).abs().mean(-1).sum() - 0.5 * torch.log(torch.sigmoid(cosine)).sum()
    total, _ = loss_sums({1: prediction}, {1: target}, Match(layers=(1,), cosine=0.5))
    torch.testing.assert_close(total, expected)


def naive_gram(x, y):
    """STaR's matrix of one recording, (T, T), by loops."""
    return torch.stack([torch.stack([(one * two).sum() / len(one) for two in y]) for one in x])


FORMS = {
    "l2": ({"l2": 0.7}, lambda p, t: 0.7 * ((p - t) ** 2).mean(-1).sum()),
    "raw cosine": (
        {"cosine": 2.0, "cosine_form": "raw"},
        lambda p, t: -2 * ((p * t).sum(-1) / p.norm(dim=-1) / t.norm(dim=-1)).sum(),
    ),
    "DPHuBERT": (
        {"l1": 1.0, "cosine": 1.0, "cosine_form": "raw"},
        lambda p, t: ((p - t).abs().mean(-1) - (p * t).sum(-1) / p.norm(dim=-1) / t.norm(dim=-1)).sum(),
    ),
    "Gram": (
        {"gram": 3.0},
        lambda p, t: (
            3 * sum(((naive_gram(a, a) - naive_gram(b, b)) ** 2).mean(-1).sum() for a, b in zip(p, t, strict=True))
        ),
    ),
}


@pytest.mark.parametrize(("weights", "formula"), FORMS.values(), ids=FORMS)
def test_each_objective_is_its_formula(weights, formula):
    prediction, target = states(2, seed=3)
    match = Match(layers=(1,), **{"l1": 0.0, "cosine": 0.0, **weights})
    total, _ = loss_sums({1: prediction}, {1: target}, match)
    torch.testing.assert_close(total, formula(prediction, target))


def test_relations_of_students_of_another_width():
    """Layer-wise and between layers, against loops; a rotation of the student's states changes nothing."""
    student, teacher = states(2, width=6, seed=1), states(2, width=8, seed=2)
    match = Match("layers", pairs=((0, 4), (1, 8)), l1=0.0, cosine=0.0, gram=1.0, gram_intra=0.5)
    predictions, targets = {4: student[0], 8: student[1]}, {4: teacher[0], 8: teacher[1]}
    total, parts = loss_sums(predictions, targets, match)
    expected = torch.zeros(())
    for row in range(2):
        (s0, s1), (t0, t1) = ([state[row] for state in side] for side in (student, teacher))
        for s, t in ((s0, t0), (s1, t1)):
            expected += ((naive_gram(s, s) - naive_gram(t, t)) ** 2).mean(-1).sum()
        expected += 0.5 * ((naive_gram(s0, s1) - naive_gram(t0, t1)) ** 2).mean(-1).sum()
    torch.testing.assert_close(total, expected)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0))).Q
    turned = {layer: state @ rotation for layer, state in predictions.items()}
    torch.testing.assert_close(loss_sums(turned, targets, match)[0], total, rtol=1e-4, atol=1e-5)
    rows = l1_and_cosine(gram(student[0], student[0]), gram(teacher[0], teacher[0]))
    assert [part.item() for part in parts[4]] == pytest.approx([part.sum().item() for part in rows], rel=1e-5)


def test_weights_of_layers_weigh_their_losses():
    given = states(4, seed=5)
    predictions, targets = {1: given[0], 2: given[1]}, {1: given[2], 2: given[3]}
    alone = [loss_sums({k: predictions[k]}, {k: targets[k]}, Match(layers=(k,)))[0] for k in (1, 2)]
    both, _ = loss_sums(predictions, targets, Match(layers=(1, 2), weights=(0.1, 1.0)))
    torch.testing.assert_close(both, 0.1 * alone[0] + alone[1])


@given(st.integers(0, 3))
def test_sums_of_parts_of_a_batch_are_the_sum_of_the_batch(cut):
    given_states = states(2, batch=3)
    match = Match(layers=(1,), l2=1.0, gram=1.0, cosine_form="raw")
    whole, _ = loss_sums({1: given_states[0]}, {1: given_states[1]}, match)
    rows = [slice(0, cut), slice(cut, 3)]
    parts = [loss_sums({1: given_states[0][row]}, {1: given_states[1][row]}, match)[0] for row in rows]
    torch.testing.assert_close(parts[0] + parts[1], whole)


def test_objectives_of_half_precision_states_are_in_float():
    target = torch.full((1, 3, 1024), 300.0, dtype=torch.float16)
    match = Match(layers=(1,), l2=1.0, gram=1.0)
    total, _ = loss_sums({1: target * 0.5}, {1: target}, match)
    assert total.dtype == torch.float32 and torch.isfinite(total)


def test_sums_are_those_of_the_loss():
    given_states = states(2, seed=7)
    _, parts = loss_sums({1: given_states[0]}, {1: given_states[1]}, Match(layers=(1,), l2=1.0))
    found = l1_and_cosine_sums({1: given_states[0]}, {1: given_states[1]})
    assert all(torch.equal(one, two) for one, two in zip(parts[1], found[1], strict=True))
    assert l1_and_cosine(given_states[0], given_states[1])[0].shape == (2, 5)


def test_pairs_with_the_same_number_share_a_projection_that_starts_as_the_identity():
    heads = LayerPairs([(0, 0), (1, 4), (2, 8)], 8, 8, [0, 1, 1])
    assert len(list(heads.parameters())) == 4 and set(heads.state_dict()) == {
        f"projections.{n}.{kind}" for n in (0, 1) for kind in ("weight", "bias")
    }
    given_states = states()
    for (student, teacher), prediction in zip(heads.pairs, heads(given_states).values(), strict=True):
        torch.testing.assert_close(prediction, given_states[student], msg=str(teacher))
    heads.projections[1].weight.data.mul_(2)
    torch.testing.assert_close(heads(given_states)[8], 2 * given_states[2])


def test_what_only_compares_relations_projects_nothing():
    match = Match("layers", pairs=((0, 4), (2, 12)), l1=0.0, cosine=0.0, gram=1.0)
    heads = make_heads(match, 6, 8)
    given_states = states(width=6)
    assert not list(heads.parameters()) and heads(given_states)[12] is given_states[2]


@pytest.mark.parametrize("kind", ["repeat", "conv"])
def test_frames_of_a_time_reduced_student_meet_the_teachers(kind):
    upsample = Upsample(8, 2, kind)
    x = states(1)[0]
    y = upsample(x)
    assert y.shape == (2, 10, 8)
    if kind == "repeat":
        assert torch.equal(y[:, 0::2], x) and torch.equal(y[:, 1::2], x)
    else:
        for tap in (0, 1):
            naive = x @ upsample.conv.weight[:, :, tap] + upsample.conv.bias
            torch.testing.assert_close(y[:, tap::2], naive)
    for heads in (
        PredictionHeads([4, 8], 8, 6, factor=2, upsample=kind),
        LayerPairs([(1, 4)], 8, 6, factor=2, upsample=kind),
    ):
        assert heads(states())[4].shape == (2, 10, 6)


@pytest.mark.parametrize("kind", ["repeat", "conv"])
def test_a_student_of_the_teachers_rate_is_not_upsampled(kind):
    upsample, x = Upsample(8, 1, kind), states(1)[0]
    assert upsample(x) is x and not list(upsample.parameters())


def test_a_form_that_was_read_from_a_file_is_the_same_form():
    """Text that was read is another object than the same text in the code."""
    prediction, target = states(2, seed=3)
    read = json.loads('{"cosine_form": "raw", "style": "heads", "upsample": "conv"}')
    sums = [loss_sums({1: prediction}, {1: target}, Match(layers=(1,), cosine_form=read["cosine_form"]))[0]]
    sums.append(loss_sums({1: prediction}, {1: target}, Match(layers=(1,), cosine_form="raw"))[0])
    assert torch.equal(*sums)
    heads = make_heads(Match(read["style"], layers=(1,), upsample=read["upsample"]), 8, 6, factor=2)
    assert isinstance(heads, PredictionHeads) and heads.upsample.conv is not None


def test_half_precision_states_with_large_norms_stay_finite():
    target = torch.full((1, 1, 1024), 3000.0, dtype=torch.float16)  # its norm, 96000, is beyond half precision
    assert torch.isinf(target.norm(dim=-1)).all()
    l1, cosine = l1_and_cosine(target, target)
    assert l1.item() == 0 and cosine.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("heads", "width", "teacher_width"),
    [
        (PredictionHeads([1, 3], 8, 6), 8, 6),
        (PredictionHeads([1, 3], 8, 6, factor=2, upsample="conv"), 8, 6),
        (LayerPairs([(0, 1), (2, 4)], 8, 6), 8, 6),
        (LayerPairs([(1, 2)], 6, 6), 6, 6),
        (LayerPairs([(0, 1), (1, 2), (2, 4)], 6, 6, [0, 1, 1]), 6, 6),
        (LayerPairs([(0, 1), (2, 4)], 8, 6, bare=True), 8, 6),
        (LayerPairs([(0, 1), (2, 4)], 8, 6, factor=2, upsample="conv"), 8, 6),
        (LayerPairs([(0, 1)], 8, 8, factor=3), 8, 8),
    ],
)
def test_saved_heads_predict_the_same(tmp_path, heads, width, teacher_width):
    save_heads(tmp_path, heads)
    loaded = load_heads(tmp_path, width, teacher_width)
    given_states = states(width=width)
    for layer, expected in heads(given_states).items():
        assert torch.equal(loaded(given_states)[layer], expected)


def test_heads_of_before_are_described_as_before():
    """Their files hold nothing else, and a run goes on with them."""
    assert heads_metadata(PredictionHeads([4, 8], 8, 6)) == {"style": "heads", "layers": "4,8"}
    assert heads_metadata(LayerPairs([(0, 4)], 8, 6)) == {"style": "layers", "layers": "0,4"}


def test_no_heads_is_none_and_wrong_widths_are_an_error(tmp_path):
    assert load_heads(tmp_path, 8, 6) is None
    save_heads(tmp_path, PredictionHeads([1], 8, 6))
    with pytest.raises(SpeechpressError, match=HEADS):
        load_heads(tmp_path, 8, 7)


def test_schema_and_table_of_objectives_have_the_same_keys():
    """Of `match`, what is a weight is an objective, and every objective has its words and its function."""
    whole = {name for name, kind in get_type_hints(Match).items() if kind in (float, float | None)} - {
        "mask_prob",
        "lag_ms",
        "standardise_power",
        "standardise_plain",
    }
    assert whole == set(OBJECTIVES) == set(FUNCTIONS)
    for name, row in OBJECTIVES.items():
        assert row.name == name and row.words and row.doc and row.compares in ("frames", "relations")
    assert len({row.words for row in OBJECTIVES.values()}) == len(OBJECTIVES)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_a_row_says_its_function_does(name):
    """Which compare frames, which relations, and which need a layer below."""
    row, weights = OBJECTIVES[name], {**dict.fromkeys(OBJECTIVES, 0.0), name: 1.0}
    match = Match("layers", pairs=((0, 4), (1, 8)), **weights)
    student, teacher = states(2, width=6, seed=1), states(2, width=8, seed=2)
    predictions, targets = {4: student[0], 8: student[1]}, {4: teacher[0], 8: teacher[1]}
    assert match.terms == {name: 1.0} and match.relations_only == (row.compares == "relations")
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0))).Q
    turned = {layer: state @ rotation for layer, state in targets.items()}
    far, near = (float(loss_sums(given, targets, match)[0]) for given in (turned, targets))
    if row.compares == "relations":
        assert far == pytest.approx(near, abs=1e-3) and near == pytest.approx(0)
        assert float(loss_sums(predictions, targets, match)[0]) > 0  # of another width
    else:
        assert far > near + 1
    alone = Match("layers", pairs=((0, 4),), **weights)
    lowest, _ = loss_sums({4: states(1, seed=9)[0]}, {4: teacher[0]}, alone)
    assert bool(lowest == 0) == (row.layers > 1)


ROW = "    l2: float | None = objective("
NEW_ROW = """    huber: float | None = objective(
        None, doc="weight of the Huber loss", words="Huber loss", compares="frames"
    )
"""
FUNCTION = '    "gram": '
NEW_FUNCTION = '    "huber": lambda layer: F.huber_loss(layer.prediction, layer.target, reduction="none").mean(-1),\n'
USE = f"""
import torch
from {matching.__name__} import OBJECTIVES
from {objectives.__name__} import loss_sums
from {recipe_file.__name__} import load_recipe
match = load_recipe("distilhubert", ["match.l1=0", "match.cosine=0", "match.huber=2"]).match
x, y = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
layers = match.teacher_layers
total, _ = loss_sums(dict.fromkeys(layers, x), dict.fromkeys(layers, y), match)
wanted = 2 * len(layers) * torch.nn.functional.huber_loss(x, y, reduction="none").mean(-1).sum()
assert torch.allclose(total, wanted) and OBJECTIVES["huber"].words == "Huber loss"
load_recipe("distilhubert", ["match.huber=-1"])
"""


def test_an_objective_is_added_by_one_row_and_one_function(tmp_path):
    """In a copy of the package, which is then used: the recipe and its checks, the loss, the words."""
    package = next(path for path in Path(matching.__file__).parents if path.name == "compressor").parent
    ignored = shutil.ignore_patterns("__pycache__", "starter", "demo-bundle", "android", "cpp", "page")
    for name in ("compressor", "runtime", "devices", "recipes"):
        shutil.copytree(package / name, tmp_path / "speechpress" / name, ignore=ignored)
    (tmp_path / "speechpress" / "__init__.py").touch()
    for module, before, new in ((matching, ROW, NEW_ROW), (objectives, FUNCTION, NEW_FUNCTION)):
        home = tmp_path / "speechpress" / Path(module.__file__).relative_to(package)
        text = home.read_text()
        assert text.count(before) == 1
        home.write_text(text.replace(before, new + before))
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", USE]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert "match.huber is -1.0, but must be at least 0" in done.stderr.splitlines()[-1], done.stderr
