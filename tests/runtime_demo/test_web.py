import json
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser import CHROMIUM, Browser, wait_for
from sounds import voice
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from speechpress.runtime.demo.names import word_name
from speechpress.runtime.demo.spotting import Hit
from speechpress.runtime.demo.teaching import Lesson
from speechpress.runtime.demo.web import HOST, Server, WebSource
from speechpress.runtime.demo.worker import Chunk, Stats
from speechpress.runtime.errors import SpeechpressError

FACTS = {"model": "pocket int8", "chunk_ms": 80, "frame_s": 0.02, "latency_ms": 85, "teaching": True}


class Teaching:
    """Remembers what it was told."""

    def __init__(self):
        self.told, self.lesson = [], Lesson("word 1", said=2)

    def __getattr__(self, name):
        return lambda *given: self.told.append((name, *given))


def chunk(number, words=()):
    levels, colours = np.full(4, -20.0, np.float32), np.full((4, 3), 200, np.uint8)
    return Chunk(0.08 * (number + 1), np.zeros((4, 8)), levels, colours, 3.0, 0, words, 0.0)


@pytest.fixture
def server():
    server = Server(FACTS, WebSource(None), Teaching())
    server.start()
    yield server
    server.stop()


def fetch(server, path, host=None):
    """Status and body over plain HTTP."""
    import http.client

    connection = http.client.HTTPConnection(HOST, server.port, timeout=10)
    connection.request("GET", path, headers={"Host": host or f"{HOST}:{server.port}"})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), answer.headers
    connection.close()
    return found


def stream(server, token=None, origin="own", host=HOST):
    origin = f"http://{host}:{server.port}" if origin == "own" else origin
    address = f"ws://{host}:{server.port}/stream?token={server.token if token is None else token}"
    return connect(address, origin=origin, open_timeout=10)


def test_the_page_is_for_who_holds_the_token(server):
    status, page, headers = fetch(server, f"/?token={server.token}")
    assert status == 200 and "demo.js" in page and headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    for path in ("/", "/?token=", "/?token=guess", "/stream"):
        assert fetch(server, path)[0] == 403, path
    assert fetch(server, "/../web.py")[0] == 404 and fetch(server, "/demo.js")[0] == 200
    assert server.address == f"http://127.0.0.1:{server.port}/?token={server.token}" and len(server.token) >= 20


def test_a_name_that_was_pointed_here_gets_nothing(server):
    assert fetch(server, f"/?token={server.token}", host=f"evil.example:{server.port}")[0] == 403
    assert fetch(server, f"/?token={server.token}", host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize(
    "more", [{"token": "guess"}, {"origin": "https://evil.example"}, {"origin": None}, {"origin": "null"}]
)
def test_no_other_page_can_listen(server, more):
    with pytest.raises(InvalidStatus, match="403"):
        stream(server, **more)
    assert server.pages == 0


def test_it_is_bound_to_this_machine_only(server):
    listening = Path("/proc/net/tcp").read_text() if Path("/proc/net/tcp").exists() else ""
    assert f"00000000:{server.port:04X}" not in listening


def test_a_chunk_reaches_every_page(server):
    stats = Stats(80)
    with stream(server) as one, stream(server) as other:
        for page in (one, other):
            assert json.loads(page.recv(10))["facts"]["model"] == "pocket int8"
        stats.add(chunk(0))
        server.show(chunk(0, (Hit("hé", 5.0, 0.1, 0.4),)), stats, ["hé"])
        for page in (one, other):
            message = json.loads(page.recv(10))
            assert message["colours"] == [[200, 200, 200]] * 4 and message["words"][0]["word"] == "hé"
            assert message["stats"]["p50_ms"] == 3.0 and message["taught"] == ["hé"] and message["lesson"]["said"] == 2


def test_what_a_page_asks_for(server):
    with stream(server) as page:
        page.recv(10)
        for order in (
            {"do": "begin"},
            {"do": "end"},
            {"do": "begin_not"},
            {"do": "name", "word": "x" * 99},
            {"do": "close_all"},
            [],
            "?",
        ):
            page.send(json.dumps(order))
        page.send("no json")
        page.send(json.dumps({"do": "forget"}))
        wait_for(lambda: len(server._teaching.told) == 5, "what was clicked")
    assert server._teaching.told == [("begin",), ("end",), ("begin", True), ("name", "x" * 40), ("forget",)]


def test_the_browsers_microphone_is_heard_until_it_leaves(server):
    source = server._source
    assert source.read(0.01) is None and source.name == "no sound yet"
    samples = voice(0.02, 48_000).astype("<f4")
    with stream(server) as page:
        page.recv(10)
        page.send(samples.tobytes())  # before it is on: not heard
        page.send(json.dumps({"do": "microphone", "rate": 48_000}))
        page.send(samples.tobytes() + b"\0")  # half a sample is left out
        block = wait_for(lambda: source.read(0.1), "a block")
        assert block.sample_rate == 48_000 and np.array_equal(block.samples, samples)
        assert source.name == "the browser's microphone"
        for _ in range(250):
            source.put(samples)
        assert source.dropped == 50
    wait_for(lambda: source.browser_rate is None, "the page to have left")


HOSTILE = (
    *(
        "",
        " ",
        "no json",
        "[]",
        "{}",
        "null",
        "1",
        '"begin"',
        "NaN",
        "-Infinity",
        "{'do': 'begin'}",
        '{"do"',
        "\ufeff{}",
    ),
    *(
        json.dumps({"do": value})
        for value in ([], {}, None, 1, True, 1.5, "", "close_all", "Begin", "begin ", ["begin"])
    ),
    *(json.dumps({"do": "name", "word": value}) for value in (None, 1, True, [], {}, ["x"], {"x": 1})),
    *(
        json.dumps({"do": "name", "word": f"a{bad}b"})
        for bad in "\ud800\udcff\x00\x07\x1b\x7f\x85\u2028\u2029\u202e\u2066\uffff"
    ),
    *(
        json.dumps({"do": "microphone", "rate": value})
        for value in ("48000", True, 1, -1, 10**9, 48e3, [], {}, [48_000])
    ),
    *(json.dumps({"do": order, "more": 1}) for order in ("begin", "end", "forget", "name", "microphone")),
    '{"do": "microphone", "rate": NaN}',
    '{"do": "microphone", "rate": Infinity}',
    '{"do": "microphone", "rate": 1e999}',
    '{"do": "microphone", "rate": ' + "9" * 5_000 + "}",
    '{"do":' * 20_000 + "1" + "}" * 20_000,
    "[" * 100_000,
    '{"do": ' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"do": "name", "word": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "x" * 200_000,
)


def test_messages_that_are_no_orders_are_refused_and_do_nothing(server, caplog):
    assert len(HOSTILE) >= 50
    with stream(server) as page:
        page.recv(10)
        for message in HOSTILE:
            page.send(message)
            answer = json.loads(page.recv(10))
            assert set(answer) == {"refused"} and answer["refused"].isprintable(), message[:60]
        page.send(json.dumps({"do": "begin"}))
        wait_for(lambda: server._teaching.told, "the only good order")
    assert server._teaching.told == [("begin",)] and server._source.browser_rate is None
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("bad", ["a\ud800", "bell\x07", "two\nlines", "\u202ehidden"])
def test_names_that_cannot_be_shown_are_refused_wherever_they_come_from(bad):
    with pytest.raises(SpeechpressError, match=r"holds U\+[0-9A-F]{4}, which cannot be shown"):
        word_name(bad)


@pytest.mark.parametrize("good", ["hello", "été", "नमस्ते", "你好", "mother-in-law", "👩\u200d🔬", " word 1 ", ""])
def test_names_of_any_language_are_taken(good):
    assert word_name(good) == good.strip()


@pytest.mark.parametrize("rate", [1, 10**9, "48000", None, True])
def test_rates_that_are_none(rate):
    source = WebSource(None)
    source.browser(rate if isinstance(rate, int) else None)
    assert source.browser_rate is None


def test_a_busy_port(server):
    with pytest.raises(SpeechpressError, match=rf"port {server.port} .*--port"):
        Server(FACTS, WebSource(None), port=server.port).start()


def likeness(heard, part):
    """Highest cosine of `part` with any stretch of what was heard."""
    size = len(heard) + len(part)
    products = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(part, size)), size)[: len(heard) - len(part)]
    energy = np.cumsum(np.concatenate([[0.0], heard.astype(np.float64) ** 2]))
    norms = np.sqrt(energy[len(part) :] - energy[: -len(part)])[: len(products)]
    return float((products / (norms + 0.1)).max() / np.linalg.norm(part))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_in_a_browser_with_its_microphone(server, tmp_path):
    """Real Chromium, whose microphone plays a recording: the page draws, and what it hears arrives."""
    wave = voice(3.0, 48_000)
    soundfile.write(tmp_path / "clip.wav", wave, 48_000, subtype="PCM_16")
    browser = Browser(tmp_path / "profile", tmp_path / "clip.wav")
    try:
        browser.open(server.address)
        browser.wait("window.speechpress !== undefined")
        wait_for(lambda: server.pages == 1, "the page")
        stats = Stats(80)
        for number in range(30):
            stats.add(chunk(number))
            server.show(chunk(number, (Hit("hello", 6, 1, 1.4),) if number == 20 else ()), stats, ["hello"])
        browser.wait("speechpress.frames === 120 && speechpress.drawn > 2")
        assert "p50 3.0 ms" in browser.evaluate("document.body.innerText")
        assert browser.evaluate("document.getElementById('taught').textContent") == "hello"
        pixels = "Array.from(document.getElementById('map').getContext('2d').getImageData(0, 0, 1200, 200).data)"
        browser.wait(f"{pixels}.some((value, i) => i % 4 < 3 && value > 150)", "colours on the map")
        browser.evaluate("document.getElementById('hold').dispatchEvent(new PointerEvent('pointerdown'))")
        browser.evaluate("dispatchEvent(new PointerEvent('pointerup'))")
        wait_for(lambda: server._teaching.told == [("begin",), ("end",)], "the click")
        browser.evaluate("document.getElementById('microphone').click()")
        heard, end_s = [], time.monotonic() + 30
        while sum(map(len, heard)) < 4 * 48_000 and time.monotonic() < end_s:
            block = server._source.read(0.5)
            heard += [block.samples] if block else []
        found = np.concatenate(heard)
        assert likeness(found, wave[30_000:34_800]) > 0.9
    finally:
        browser.close()
