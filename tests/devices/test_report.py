"""The report: figures, comparisons, and the page as a browser sees it."""

import copy
import csv
import json
import subprocess

import pytest
from pages import CHROMIUM, FLAGS, check_in_browser, check_whole, read, words_of
from profiled import made

from speechpress.devices.etdump import Event, share_out
from speechpress.devices.record import settle
from speechpress.devices.report import build, find_records, shown, titles, write_csv, write_html, write_markdown
from speechpress.runtime.atomic import write_json
from speechpress.runtime.errors import SpeechpressError

CALL = Event("DELEGATE_CALL", 2.1, False)
EVENTS = [Event("Convolution #1", 2.0, True), CALL, Event("native_call_add.out", 0.3, False)]


def several():
    """Profiles of three bundles, one with operators, one that stopped, one with a hostile name."""
    fast = made(4.0, seed=1, quantize="int8", size_bytes=8_900_000)
    fast["accuracy"]["parity"] = {"max_abs": 0.1, "snr_db": 18.0, "cosine": 0.99}
    fast["operators"] = share_out(EVENTS, {"kernels": {"add.out": ["stream"]}, "partitions": [["feature_extractor.0"]]})
    stopped = made(9.0, seed=2, name="<script>alert(1)</script>")
    stopped |= {
        "finished": False,
        "paces": {},
        "stopped": {"message": "ssh:pi@board: the connection was lost", "exit_code": 1},
    }
    settle(stopped)
    slow = made(12.0, seed=3)
    slow["warnings"] = [{"name": "heat", "text": "it became 84 °C hot"}]
    return [slow, fast, stopped]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_html(path, build(several(), [made(10.0, seed=9)]))
    return path


def test_the_page_holds_everything_and_loads_nothing(page):
    check_whole(page)
    reader = read(page)
    assert reader.tags.count("svg") >= 8
    text = words_of(page)
    for words in (
        "Slower than the baseline",
        "it became 84 °C hot",
        "Ended early: ssh:pi@board",
        "facebook/hubert-base-ls960",
        "Raspberry Pi 5 Model B Rev 1.0",
        "2.40",  # GHz
        "outside the backend: 12.5 %",
        "200,000",
        "name: pocket",
        "<script>alert(1)</script>",  # as text
    ):
        assert words in text, words


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_opens_it_without_a_word(page, tmp_path):
    """No error or warning on its console, no request, and everything is drawn."""
    check_in_browser(page, tmp_path)
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'other'}", "--dump-dom", page.as_uri()]
    shown_page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
    assert shown_page.count("<svg") == page.read_text(encoding="utf-8").count("<svg")


def test_markdown_and_csv_say_the_same(tmp_path):
    view = build(several(), [])
    write_markdown(tmp_path / "r.md", view)
    write_csv(tmp_path / "r.csv", view)
    lines = (tmp_path / "r.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|") and "84 °C" in "\n".join(lines)
    with (tmp_path / "r.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["quantize"] for row in rows] == ["none", "int8", "none"] and rows[2]["p50_ms"] == ""
    assert float(rows[0]["p50_ms"]) == view.rows[0].record["result"]["p50_ms"]
    assert f"{float(rows[0]['p50_ms']):.2f} ms" in lines[2]


def test_hostile_names_stay_text_in_every_report(tmp_path):
    """A bundle and a device that somebody else named, in a page, in Markdown and in CSV."""
    names = "<script>alert(1)</script>", "a|b|c", "=HYPERLINK(0)", "@SUM(1)\n| x |"
    records = [made(10.0 + k, seed=k, name=name) for k, name in enumerate(names)]
    for record, name in zip(records, names, strict=True):
        record["device"]["address"] = name
        record["warnings"] = [{"text": name}]
    view = build(records, [])
    write_html(tmp_path / "r.html", view)
    write_markdown(tmp_path / "r.md", view)
    write_csv(tmp_path / "r.csv", view)
    assert "<script>alert" not in (tmp_path / "r.html").read_text(encoding="utf-8")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    table = text.split("\n\n")[0].splitlines()
    assert "<script" not in text and len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert len(table) == 2 + len(names)
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=HYPERLINK(0)" in cells and not [cell for cell in cells if cell.startswith(("=", "@", "+"))]


def test_regressions_are_named():
    view = build(
        [made(12.0, seed=1), made(10.1, seed=2, quantize="int8")],
        [made(10.0, seed=3), made(10.0, seed=4, quantize="int8")],
    )
    assert [row.verdict for row in view.rows] == ["worse", "same"]
    assert any(line.startswith("pocket, fp32: p50 10.0") for line in view.regressions)
    document = view.document()
    assert json.loads(json.dumps(document)) == document and document["results"][0]["verdict"] == "worse"
    assert build([made(12.0)], []).rows[0].verdict is None


def test_titles_tell_profiles_apart():
    one, two = made(seed=1), made(seed=2)
    assert titles([one]) == ["pocket, fp32"]
    two["settings"]["threads"] = 2
    assert titles([one, two]) == ["pocket, fp32, 1 thread", "pocket, fp32, 2 threads"]
    again = copy.deepcopy(one) | {"created": "later"}
    assert len(set(titles([one, again]))) == 2


def test_records_are_found_in_folders(tmp_path):
    write_json(tmp_path / "deep" / "a.json", made(seed=1))
    write_json(tmp_path / "b.json", made(seed=2))
    assert len(find_records([tmp_path])) == 2 and len(find_records([tmp_path / "b.json"])) == 1
    (tmp_path / "deep" / "other.json").write_text("{}")
    with pytest.raises(SpeechpressError, match=r"other\.json: is not a profile"):
        find_records([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpeechpressError, match="there are no profiles"):
        find_records([tmp_path / "empty"])


def test_a_report_in_which_nothing_was_timed(tmp_path):
    stopped = several()[2]
    write_html(tmp_path / "r.html", build([stopped], []))
    write_markdown(tmp_path / "r.md", build([stopped], []))
    assert "Ended early" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_figures_with_units():
    assert shown(0.0482, "budget_share") == "4.8 %" and shown(2.8e8, "peak_rss_bytes") == "280 MB"
    assert shown(None, "p50_ms") == "–" and shown(0.02188, "rtf") == "0.0219"
