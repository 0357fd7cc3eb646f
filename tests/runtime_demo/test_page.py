"""The demo's page in a real browser: what it shows, at which widths, and by the keyboard."""

from dataclasses import replace

import pytest
import talked
from browser import CHROMIUM, Browser, wait_for
from pages import CONTRAST

from speechpress.runtime.answers.event import Event
from speechpress.runtime.answers.head_spec import HeadSpec
from speechpress.runtime.demo.lanes import LOOKS
from speechpress.runtime.demo.spotting import Hit
from speechpress.runtime.demo.teaching import Lesson
from speechpress.runtime.demo.web import Server, WebSource
from speechpress.runtime.demo.worker import Stats

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


class Teaching:
    """Remembers what it was told."""

    def __init__(self):
        self.told, self.lesson = [], Lesson("word 1", said=2, note="heard 0.5 s")

    def __getattr__(self, name):
        return lambda *given: self.told.append((name, *given))


FACTS = {"model": "pocket int8", "chunk_ms": 80, "frame_s": 0.02, "latency_ms": 85, "teaching": True}


def demo(heads=talked.HEADS):
    return Server(FACTS, WebSource(None), Teaching(), heads=heads)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def server(browser):
    yield from opened(demo(), browser)


def opened(server, browser):
    server.start()
    browser.console.clear()
    browser.resize(1280, 900)
    browser.open(server.address)
    browser.wait("document.getElementById('model')?.textContent === 'pocket int8'")
    wait_for(lambda: server.pages == 1, "the page")
    yield server
    server.stop()
    # Scripts, styles, frames and pictures of others would be named here; errors and warnings too.
    assert not [entry for entry in browser.console if "ERR_CONNECTION_REFUSED" not in str(entry)], browser.console


def talk(server, browser, seconds=6.0):
    stats = Stats(80)
    for number, said in enumerate(talked.chunks(seconds)):
        words = (Hit("hello", 6, 4.0, 4.5),) if number == 60 else ()
        stats.add(said)
        server.show(replace(said, words=words), stats, ["hello"])
    browser.wait(f"speechpress.chunks === {round(seconds / 0.08)}")


def test_what_stands_there_before_anything_is_heard(server, browser):
    text = browser.evaluate("document.body.innerText")
    assert "No sound yet" in text and "Got it" in text and "no heads" not in text
    for words in ("colour: kind of sound", "height: loudness", "a word that was recognised", "may still change"):
        assert words in text, text
    talk(server, browser, 0.8)
    assert not browser.evaluate("document.getElementById('empty').checkVisibility()")
    assert "no word is taught yet" not in browser.evaluate("document.body.innerText")


def test_a_bundle_without_heads_says_so(browser):
    for _ in opened(demo(()), browser):
        text = browser.evaluate("document.body.innerText")
        assert "has no heads" in text and "may still change" not in text and "answer delay" not in text


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_it_fits_every_width_and_can_be_read(server, browser, scheme):
    browser.prefer(color_scheme=scheme)
    poor = dict(browser.evaluate(CONTRAST)[::-1])
    talk(server, browser)
    for width in (400, 800, 1280):
        browser.resize(width, 900)
        browser.wait(f"innerWidth === {width} && speechpress.drawn > 2")
        wide = browser.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert wide[0] <= wide[1] <= width, (width, wide)
        inner = "[...document.querySelectorAll('.about, .figure, header, .words, button')]"
        assert not browser.evaluate(f"{inner}.filter((one) => one.scrollWidth > one.clientWidth + 1).length"), width
    found = browser.evaluate(CONTRAST)
    poor |= dict(found)
    assert len(found) > 40 and min(poor) >= 4.5, poor[min(poor)]


def test_every_kind_of_head_has_a_lane(server, browser):
    assert {look.draw for look in LOOKS.values()} == set(browser.evaluate("Object.keys(DRAWINGS)"))
    # The newest stays in sight: its clock does not go on.
    browser.prefer(reduced_motion="reduce")
    talk(server, browser)
    lanes = browser.evaluate("[...document.querySelectorAll('.lane')].map((one) => one.innerText.split(/\\n+/))")
    now = {name: newest for name, _, newest in lanes}
    assert now["letters"].replace(" ", "").endswith("jumpsoverthe") and now["mood"] == "happy 0.61"
    assert now["phones"].split()[-1] in talked.PHONES and now["who"] == "2 numbers about 5.0 s"
    # Words are drawn over the map, as those that are taught.
    assert now["voice"] == "speech 0.90" and set(now) == {head.name for head in talked.HEADS} - {"wake"}
    assert [word["word"] for word in browser.evaluate("[...words, ...found()]")] == ["hello", "computer", "computer"]
    browser.wait("speechpress.drawn > 2")
    drawn = browser.evaluate("""[...document.querySelectorAll('.lane canvas')].map((canvas) => {
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height), seen = new Set();
        for (let i = 0; i < data.length; i += 4) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
        return seen.size; })""")
    assert len(drawn) == 5 and min(drawn) > 1 and drawn[-1] > 20, drawn  # units have many colours
    assert browser.evaluate("document.getElementById('late').textContent").endswith(" ms")


def test_labels_on_the_page_do_not_overlap_and_keep_their_place(server, browser):
    browser.prefer(reduced_motion="reduce")
    talk(server, browser)
    code = """(() => { const lane = lanes.get("phones"); let out = [];
      const pen = { measureText: (t) => ({ width: 9 * t.length }), fillText: (t, x, y) => out.push([t, x, y]) };
      drawText(pen, lane, { x: (t) => 100 * t, per_s: 100, scale: 1 });
      return out; })()"""
    # In one go, because the page itself draws them between two, with its own widths.
    first = browser.evaluate(f"(lanes.get('phones').ends = null, lanes.get('phones').settled = new Map(), {code})")
    assert browser.evaluate(code) == first and len(first) > 50
    rows = {}
    for label, x, y in first:
        assert x >= rows.get(y, -1), label
        rows[y] = x + 9 * len(label)


@pytest.mark.parametrize("width", [400, 1280])
def test_no_label_of_quick_speech_is_left_out(server, browser, width):
    """12 phones and 14 letters a second; a label that found no place is kept as null."""
    browser.prefer(reduced_motion="reduce")
    browser.resize(width, 900)
    browser.wait(f"innerWidth === {width}")
    talk(server, browser)
    drawn = browser.evaluate("speechpress.drawn")
    browser.wait(f"speechpress.drawn > {drawn} + 1")
    for head in ("phones", "letters"):
        placed = browser.evaluate(f"[...lanes.get('{head}').settled.values()].map((place) => place !== null)")
        assert len(placed) > 60 and all(placed), (head, placed)


def test_an_answer_that_may_change_is_pale_until_the_final_one_takes_its_place(server, browser):
    said = next(talked.chunks(1.0))
    event = Event("phones", "ctc", 0, "AA", 0.0, 0.05, 0.4, final=False)
    now = "(({ now, events }) => [now.textContent, now.className, events.size])(lanes.get('phones'))"
    for told, wanted in ((event, ["AA", "partial", 1]), (replace(event, label="EH", final=True), ["EH", "", 1])):
        server.show(replace(said, events=(told,)), Stats(80), [])
        browser.wait(f"JSON.stringify({now}) === JSON.stringify({wanted})")


def test_labels_are_text_and_never_markup(browser):
    bad = "<img src=x onerror=\"document.title='bad'\">"
    head = HeadSpec(bad, "classify", (bad, "a\u202eb"))
    for server in opened(demo((head,)), browser):
        said = next(talked.chunks(1.0))
        server.show(replace(said, events=(Event(bad, "classify", 0, bad, 0.0, 0.05, 0.4),)), Stats(80), [bad])
        browser.wait("speechpress.chunks === 1")
        assert browser.evaluate("document.querySelector('.lane b').textContent") == f"{bad} 0.40"
        assert browser.evaluate("document.images.length") == 0 and browser.evaluate("document.title") != "bad"
        assert browser.evaluate("lanes.values().next().value.labels[1]") == "a\ufffdb"


def test_everything_can_be_done_by_the_keyboard(server, browser):
    told = server._teaching.told

    def tap(key, code, wanted, kind="tap"):
        browser.key(key, code, kind)
        wait_for(lambda: told == wanted, f"{wanted}, but it was {told}")

    browser.evaluate("document.activeElement.blur()")
    tap(" ", "Space", [("begin",)], "down")
    tap(" ", "Space", [("begin",), ("end",)], "up")
    told.clear()
    browser.evaluate("document.getElementById('name').focus()")
    for key in "x n":
        browser.key(key, "Space" if key == " " else f"Key{key.upper()}")
    assert not told and browser.evaluate("document.getElementById('name').value") == "x n"
    tap("Enter", "Enter", [("name", "x n")])
    assert browser.evaluate("document.activeElement.id") == "hold"
    told.clear()
    # A button that is held is held by its keys as well; one that is clicked is clicked.
    for key, code in ((" ", "Space"), ("Enter", "Enter")):
        tap(key, code, [("begin",)], "down")
        tap(key, code, [("begin",), ("end",)], "up")
        told.clear()
    browser.evaluate("document.getElementById('forget').focus()")
    tap(" ", "Space", [("forget",)])


def test_the_keyboard_reaches_all_there_is_to_click_in_the_order_of_the_page(server, browser):
    browser.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(6):
        browser.key("Tab", "Tab")
        reached.append(browser.evaluate("document.activeElement.id || document.activeElement.innerText"))
    assert reached == ["microphone", "known", "hold", "name", "Name it", "forget"]
    seen = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.evaluate(seen) == "solid"
    names = browser.evaluate("[...document.querySelectorAll('canvas, [role=meter], input')].map(x => x.ariaLabel)")
    assert len(names) > 7 and all(names)


def test_the_hint_is_for_the_first_visit(server, browser):
    browser.evaluate("document.getElementById('known').click()")
    assert not browser.evaluate("document.getElementById('hint').checkVisibility()")
    browser.open(server.address)
    browser.wait("document.getElementById('model')?.textContent === 'pocket int8'")
    assert not browser.evaluate("document.getElementById('hint').checkVisibility()")
    browser.evaluate("localStorage.clear()")


def test_nothing_is_loaded_from_elsewhere(server, browser):
    talk(server, browser, 1.0)
    loaded = browser.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert {name.split("?")[0].removeprefix(server.address.split("/?")[0]) for name in loaded} == {
        *("/style.css", "/demo.css", "/demo.js", "/lanes.js")
    }


def test_the_end_of_the_demo_is_said(browser):
    for server in opened(demo(), browser):
        server.stop()
        browser.wait("document.getElementById('state').textContent.startsWith('the demo has ended')")
        assert "The demo has ended" in browser.evaluate("document.body.innerText")
