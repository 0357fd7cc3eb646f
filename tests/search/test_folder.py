import json

import pytest

from speechpress.compressor.export.clock import DeviceClock
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.search.folder import begin, check_folder, check_sources, go_on
from speechpress.compressor.search.space import load_space
from speechpress.compressor.search.trial import Facts
from speechpress.compressor.search.walk import STUDENTS, Search
from speechpress.runtime.errors import SpeechpressError

FACTS = Facts(EncoderConfig(), 768, 12, {"sha256": "t" * 64}, "d" * 64, 1.0, 0.1)


def order(out, *sets, **more):
    recipe = load_recipe("pocket-heads", sets)
    values = {"budget_ms": 5.0, "trials": 6, "space": load_space(None), "data": (), **more}
    return Search(recipe, recipe, out=out, clock=DeviceClock("host", 1, 60), **values)


def test_a_folder_is_made_or_refused(tmp_path):
    assert check_folder(order(tmp_path / "new")) and (tmp_path / "new" / STUDENTS).is_dir()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.txt").write_text("years of work")
    with pytest.raises(SpeechpressError, match=r"is not empty\. Choose another --out"):
        check_folder(order(tmp_path / "thesis"))
    with pytest.raises(SpeechpressError, match="there is no search to resume"):
        check_folder(order(tmp_path / "thesis", resume=True))
    with pytest.raises(SpeechpressError, match=r"could not be written.*--out"):
        check_folder(order(tmp_path / "thesis" / "thesis.txt" / "below"))
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.txt"]


def test_the_same_search_goes_on(tmp_path):
    one = order(tmp_path)
    check_folder(one)
    begin(one, FACTS)
    (tmp_path / "trials.jsonl").write_text('{"trial": 0, "state": "done"}\n{"trial": 1')
    assert go_on(order(tmp_path, trials=99, jobs=2)) == [{"trial": 0, "state": "done"}]
    check_sources(one, FACTS)
    assert load_recipe(str(tmp_path / "recipe.yaml")) == one.proxy and load_space(tmp_path / "space.yaml") == one.space


@pytest.mark.parametrize(
    ("sets", "more", "facts", "said"),
    [
        (["train.lr=0.01"], {}, FACTS, r"train.lr: 0.0005 -> 0.01"),
        ([], {"budget_ms": 6.0}, FACTS, r"budget_ms: 5.0 -> 6.0"),
        ([], {"axis": "second"}, FACTS, r"axis: chunk -> second"),
        ([], {"space": load_space(None).__class__(layers=(1, 2))}, FACTS, r"\(another space\)"),
        ([], {}, Facts(EncoderConfig(), 768, 12, {"sha256": "u"}, "d" * 64, 1.0, 0.1), r"\(another teacher\)"),
        ([], {}, Facts(EncoderConfig(), 768, 12, {"sha256": "t" * 64}, "e", 1.0, 0.1), r"\(another data\)"),
    ],
)
def test_a_search_of_something_else_is_refused_with_what_differs(tmp_path, sets, more, facts, said):
    begin(order(tmp_path), FACTS)
    with pytest.raises(SpeechpressError, match=said):
        again = order(tmp_path, *sets, **more)
        go_on(again)
        check_sources(again, facts)


def test_a_search_of_a_newer_version_is_refused(tmp_path):
    begin(order(tmp_path), FACTS)
    known = json.loads((tmp_path / "search.json").read_text())
    (tmp_path / "search.json").write_text(json.dumps(known | {"schema": 99}))
    with pytest.raises(SpeechpressError, match="newer speechpress"):
        go_on(order(tmp_path))


def test_a_search_that_was_killed_before_it_began_gives_its_folder_back(tmp_path):
    """Words and space are written first and search.json last."""
    wish = order(tmp_path / "new")
    assert check_folder(wish)
    for name in ("recipe.yaml", "space.yaml", ".search.json.abcdefgh.part"):
        (tmp_path / "new" / name).write_text("half")
    assert not check_folder(wish)
    (tmp_path / "new" / STUDENTS / "0000").mkdir()
    with pytest.raises(SpeechpressError, match="is not empty"):
        check_folder(wish)
