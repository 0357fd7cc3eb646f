import pytest

from speechpress.compressor.recipe.files import load_recipe, parse_recipe
from speechpress.compressor.recipe.schema import Final, Prune
from speechpress.runtime.errors import SpeechpressError


def test_dphubert_prunes_as_the_paper_says():
    recipe = load_recipe("dphubert")
    assert recipe.prune == Prune(0.75, "l0", ("conv", "head", "ffn"), 5000, 0.02, final=Final(25_000, 1e-4, 0.2))
    assert (recipe.train.steps, recipe.train.lr, recipe.train.warmup * recipe.train.steps) == (50_000, 2e-4, 15_000)
    assert recipe.match.pairs == ((0, 0), (4, 4), (8, 8), (12, 12))


def test_a_recipe_with_pruning_is_written_and_read_again():
    recipe = load_recipe("dphubert", ["prune.of=[head]", "prune.final.steps=7"])
    assert parse_recipe(recipe.text(), "again") == recipe
    sparse = load_recipe("distilhubert", ["prune.sparsity=0.5", "prune.method=parp"])
    assert sparse.prune == Prune(0.5, "parp") and parse_recipe(sparse.text(), "again") == sparse


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["prune.sparcity=0.5"], "unknown key 'prune.sparcity'. Did you mean 'sparsity'"),
        (["prune.sparsity=1"], "must be less than 1"),
        (["prune.method=magic"], "must be one of l0, parp, one-shot"),
        (["prune.of=[width]"], "must be one of conv, head, ffn"),
        (["prune.of=[]"], "prune.of must name"),
        (["prune.final.step=5"], "unknown key 'prune.final.step'. Did you mean 'steps'"),
        (["prune.final=null"], "prune.final"),
        (["train.steps=100"], "prune.ramp is 5000, but must be less than train.steps, 100"),
        (["prune.method=parp"], "prune.final is for method l0"),
    ],
)
def test_bad_sections_are_refused(settings, said):
    with pytest.raises(SpeechpressError, match=said):
        load_recipe("dphubert", settings)


def test_gates_need_a_final_distillation():
    with pytest.raises(SpeechpressError, match=r"prune\.final is missing"):
        load_recipe("distilhubert", ["prune.sparsity=0.5"])
    with pytest.raises(SpeechpressError, match=r"prune\.ramp is for method l0"):
        load_recipe("distilhubert", ["prune.sparsity=0.5", "prune.method=one-shot", "prune.ramp=7"])
