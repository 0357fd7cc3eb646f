import jinja2
import pytest

from speechpress.compressor.views.pages import markdown_table, render


def test_a_table_in_markdown_keeps_its_columns():
    text = markdown_table(["task", "metric", "student"], [["ks", "a|b", "0.5"]], left=2)
    assert text.splitlines() == ["| task | metric | student |", "| --- | --- | --: |", "| ks | a\\|b | 0.5 |"]


def test_a_template_that_is_not_there_is_no_empty_page():
    with pytest.raises(jinja2.TemplateNotFound):
        render("none.html.j2")
