"""Every page in a real browser: it fits narrow and wide windows, can be read in both schemes, and its tables sort.

One browser for all of them: starting it takes longer than all that is asked of it here.
"""

import pages_made
import pytest
from browser import CHROMIUM, Browser
from pages import CONTRAST, check_whole, read

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
KINDS = ("evaluation", "profile", "study", "search")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return pages_made.write_all(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def shown(browser, pages):
    """Opens a page of a kind; what it wrote on the console is an error, whatever it was."""

    def show(kind):
        browser.console.clear()
        browser.open(pages[kind].as_uri())
        browser.wait(f"document.readyState === 'complete' && location.href.endsWith('{pages[kind].name}')")
        return browser

    yield show
    assert not browser.console, browser.console


@pytest.mark.parametrize("kind", KINDS)
def test_it_fits_every_width_and_can_be_read_in_both_schemes(shown, kind):
    page = shown(kind)
    for width in (400, 800, 1280, 1600):
        page.resize(width, 900)
        wide = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide[0] <= wide[1] <= width, (width, wide)
        drawn = page.evaluate("[...document.querySelectorAll('svg')].filter((one) => one.checkVisibility()).length")
        assert drawn >= 1, width
        boxes = "[...document.querySelectorAll('.plot, .tile, dd, h1')]"
        cut = f"{boxes}.filter((one) => one.scrollWidth > one.clientWidth + 1)"
        assert not page.evaluate(f"{cut}.map((one) => one.outerHTML.slice(0, 200))"), width
    for width, scheme in ((400, "light"), (1280, "light"), (400, "dark"), (1280, "dark")):
        page.prefer(color_scheme=scheme)
        page.resize(width, 900)
        page.resize(width, page.evaluate("document.documentElement.scrollHeight"))
        found = page.evaluate(CONTRAST)
        assert len(found) > 60 and min(found)[0] >= 4.5, (width, scheme, min(found))


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_whose_it_is_and_begins_with_figures(pages, shown, kind):
    check_whole(pages[kind])
    page = shown(kind)
    name = "facebook/hubert-base-ls960" if kind == "study" else "pocket"
    title, heading = page.evaluate("[document.title, document.querySelector('h1').textContent]")
    assert name in heading and title.startswith(name) and title.endswith("speechpress")
    # Nothing but headings stands before the first figure.
    before = page.evaluate("""(() => { const tile = document.querySelector(".tile");
      return [...document.querySelectorAll("main *")].filter((one) => one.compareDocumentPosition(tile) & 4)
        .map((one) => one.tagName); })()""")
    assert set(before) <= {"HEADER", "H1", "H2", "P", "SECTION"}
    labels = page.evaluate("[...document.querySelectorAll('svg')].map((one) => one.getAttribute('aria-label'))")
    assert labels and all(labels)


@pytest.mark.parametrize("kind", KINDS)
def test_its_tables_sort_by_mouse_and_keyboard(shown, kind):
    page = shown(kind)
    page.resize(1280, 900)
    code = "[...document.querySelector('{0}').tBodies[0].rows].map((row) => row.cells[{1}].textContent.trim())"
    table, column = {
        "evaluation": ("table", 2),
        "profile": ("table", 1),
        "study": (".stack table:not(:has(small))", 1),
    }.get(kind, ("table", 2))
    heads = f"document.querySelector('{table}').tHead.rows[0].cells"
    before = page.evaluate(code.format(table, column))
    page.evaluate(f"{heads}[{column}].querySelector('button').focus()")
    page.key("Enter", "Enter")
    found = page.evaluate(code.format(table, column))
    numbers = [float(text.split(" ")[0]) for text in found if text != "–"]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) > 1 and sorted(found) == sorted(before)
    # What has no number is last, whichever way it is turned.
    assert found[len(numbers) :] == ["–"] * (len(found) - len(numbers))
    page.evaluate(f"{heads}[{column}].querySelector('button').click()")
    turned = page.evaluate(code.format(table, column))
    assert [float(text.split(" ")[0]) for text in turned if text != "–"] == numbers[::-1]
    assert turned[len(numbers) :] == found[len(numbers) :]
    assert page.evaluate(f"{heads}[{column}].getAttribute('aria-sort')") == "ascending"


def test_a_summary_row_stays_under_its_table(shown):
    page = shown("evaluation")
    page.evaluate("document.querySelector('th button').click()")
    assert page.evaluate("document.querySelector('table').tFoot.rows[0].cells[0].textContent") == "mean"
    assert page.evaluate("document.querySelector('table').tBodies[0].rows[0].cells[0].textContent") == "asr"


def test_reports_and_the_demo_share_one_stylesheet(pages):
    from speechpress.runtime.demo.web import PAGE

    style = (PAGE / "style.css").read_text(encoding="utf-8")
    for path in pages.values():
        assert style.strip() in path.read_text(encoding="utf-8") and read(path).tags.count("style") >= 1
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    assert page.index('href="style.css"') < page.index('href="demo.css"')
    # Colours that both need are said once.
    assert not {"--page:", "--card:", "--ink:", "--soft:"} & set((PAGE / "demo.css").read_text("utf-8").split())
