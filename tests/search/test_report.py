from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.search.report import Report
from speechpress.compressor.search.rows import blank
from speechpress.compressor.search.space import load_space


def row(number, p50_ms, fidelity, **shape):
    space = load_space(None)
    figures = {"state": "done", "p50_ms": p50_ms, "p99_ms": p50_ms, "ms_per_s": 10 * p50_ms, "fidelity": fidelity}
    return blank(number, space.shape(dict.fromkeys(space.choices, 0)) | shape) | figures | {"chunk_ms": 80.0}


def report(out, axis="chunk"):
    return Report(load_recipe("pocket-heads"), load_space(None), out, 5.0, axis, "host", 20, "hubert-mini")


def test_the_best_students_recipe_trains_it_in_full_and_says_where_it_comes_from(tmp_path):
    rows = [row(0, 1.0, 0.3), row(1, 4.0, 0.6, width=256), row(2, 3.0, 0.5), row(3, 9.0, None) | {"state": "skipped"}]
    document = report(tmp_path / "here").write(rows)
    assert [item["trial"] for item in document["front"]] == [0, 2, 1] and document["best"]["trial"] == 1
    assert (document["done"], document["skipped"], document["failed"]) == (3, 1, 0)
    text = (tmp_path / "here" / "best.yaml").read_text()
    recipe = load_recipe(document["best_recipe"])
    assert recipe.name == "pocket-heads-searched" and recipe.student.config["width"] == 256
    assert recipe.train == load_recipe("pocket-heads").train and recipe.teacher == "facebook/hubert-base-ls960"
    header = text[: text.index("\nname:")]
    assert (
        "# Trial 1 of the search here" in header and "4.00 ms (p50) per 80 ms on host" in header and "0.600" in header
    )
    assert "--quantize int8 --chunk-ms 80" in header
    assert all(len(line) <= 120 and line == line.rstrip() for line in header.splitlines())


def test_without_a_student_there_is_no_recipe_and_one_of_before_goes(tmp_path):
    (tmp_path / "best.yaml").write_text("old")
    document = report(tmp_path).write([row(0, 9.0, None) | {"state": "skipped"}])
    assert document["best"] is None and document["best_recipe"] is None and document["front"] == []
    assert not (tmp_path / "best.yaml").exists() and "over budget" in (tmp_path / "front.svg").read_text()


def test_the_plot_has_the_budget_where_latency_is_per_chunk(tmp_path):
    for axis, words in (("chunk", "budget, 5 ms"), ("second", "p50 per second of audio (ms)")):
        report(tmp_path / axis, axis).write([row(0, 1.0, 0.3), row(1, 4.0, 0.6)])
        picture = (tmp_path / axis / "front.svg").read_text()
        assert words in picture and ("budget, 5 ms" in picture) == (axis == "chunk")
