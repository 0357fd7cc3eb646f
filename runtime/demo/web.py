"""The live view in a browser: a page and a WebSocket on this machine's own address, and the browser's microphone.

Nobody else can listen in: the server is bound to loopback; page and stream need a token that only the printed address
holds; the stream is refused to pages of another origin, and every request to another host name than this machine's own
(a foreign name may be made to point here).

Shapes: n frames of a chunk, S samples.
"""

import asyncio
import queue
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from ..answers.head_spec import HeadSpec
from ..errors import SpeechpressError
from ..json_file import json_text
from .lanes import Lanes, page_event
from .microphone import Microphone
from .sources import Block, Source
from .teaching import EXAMPLES, Teaching
from .web_orders import RATES, read_order
from .worker import Chunk, Stats

HOST = "127.0.0.1"
PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/demo.js": ("demo.js", "text/javascript; charset=utf-8"),
    "/lanes.js": ("lanes.js", "text/javascript; charset=utf-8"),
    "/worklet.js": ("worklet.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/demo.css": ("demo.css", "text/css; charset=utf-8"),
}
# More than a second of float32 at 48 kHz; orders are far smaller.
MAX_MESSAGE_BYTES = 1 << 18
# Bounded, so that a page that sends faster than the model runs cannot fill the memory.
BROWSER_BLOCKS = 200


class WebSource:
    """The browser's microphone while it is on, else another source; never ends by itself.

    Args:
        other: what is heard else; None when there is nothing yet.
    """

    def __init__(self, other: Source | None, sample_rate: int = 16_000) -> None:
        self._other = other
        self.sample_rate = other.sample_rate if other is not None else sample_rate
        self._blocks: queue.Queue[Block] = queue.Queue(maxsize=BROWSER_BLOCKS)
        self._dropped = 0
        self.browser_rate: int | None = None

    @property
    def name(self) -> str:
        if self.browser_rate is not None:
            return "the browser's microphone"
        return self._other.name if self._other is not None else "no sound yet"

    @property
    def dropped(self) -> int:
        return self._dropped + (self._other.dropped if self._other is not None else 0)

    def browser(self, rate: int | None) -> None:
        """The browser's microphone is on at this rate in Hz, or off."""
        self.browser_rate = rate if rate is None or RATES[0] <= rate <= RATES[1] else None

    def put(self, samples: np.ndarray) -> None:
        """A block (S,) float32 from the browser; dropped and counted when the worker is too far behind."""
        if self.browser_rate is None:
            return
        try:
            self._blocks.put_nowait(Block(samples, self.browser_rate, time.perf_counter()))
        except queue.Full:
            self._dropped += 1

    def read(self, timeout_s: float) -> Block | None:
        if self.browser_rate is not None or self._other is None:
            # It goes on recording; without this its queue would be full of the past when it is heard again.
            if isinstance(self._other, Microphone):
                self._other.discard()
            try:
                return self._blocks.get(timeout=timeout_s)
            except queue.Empty:
                return None
        try:
            return self._other.read(timeout_s)
        except EOFError:
            self._other.close()
            self._other = None
            return None

    def close(self) -> None:
        if self._other is not None:
            self._other.close()


class Server:
    """Serves the page and sends every chunk to it; runs in a thread of its own from `start` to `stop`.

    Args:
        facts: what does not change, shown on the page.
        source: gets the browser's microphone.
        teaching: gets what is clicked; None when nothing can be taught.
        port: 0 takes a free one.
        heads: those whose events chunks hold.
    """

    def __init__(
        self,
        facts: dict[str, Any],
        source: WebSource,
        teaching: Teaching | None = None,
        port: int = 0,
        heads: Sequence[HeadSpec] = (),
    ) -> None:
        self._facts = {**facts, "examples": EXAMPLES, "heads": Lanes(heads).to_list()}
        self._source, self._teaching, self.port = source, teaching, port
        # 128 bits: other users of this machine can reach loopback, and must not guess it.
        self.token = secrets.token_urlsafe(16)
        self._loop = asyncio.new_event_loop()
        self._pages: set[Any] = set()
        self._ready = threading.Event()
        self._error: OSError | None = None
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def address(self) -> str:
        """What to open in the browser; with the token, so it is for its user only."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    @property
    def pages(self) -> int:
        """How many pages look on."""
        return len(self._pages)

    def start(self) -> None:
        """Returns when the page can be opened; raises SpeechpressError when the port is taken."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise SpeechpressError(
                f"port {self.port} of {HOST} cannot be used ({self._error.strerror or self._error}); is another demo "
                "running? Choose another one with --port, or --port 0 for any that is free"
            ) from self._error

    def stop(self) -> None:
        if self._end is not None:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(timeout=5)

    def show(self, chunk: Chunk, stats: Stats, words: list[str]) -> None:
        """Send a chunk to all pages; called by the worker, which does not wait for them."""
        lesson = self._teaching.lesson if self._teaching else None
        message = {
            **chunk.to_dict(),
            "events": [page_event(event) for event in chunk.events],
            "levels_db": np.round(chunk.levels_db, 1).tolist(),
            "colours": chunk.colours.tolist(),
            "stats": stats.to_dict(),
            "taught": words,
            "source": self._source.name,
            "lesson": vars(lesson) if lesson else None,
        }
        # asyncio's objects may only be touched in their own thread.
        self._loop.call_soon_threadsafe(self._send, json_text(message, ascii=True))

    def _send(self, message: str) -> None:
        from websockets.asyncio.server import broadcast

        # Not `send`: a page that does not read would hold up all others.
        broadcast(self._pages, message)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        from websockets.asyncio.server import serve

        self._end = asyncio.Event()
        try:
            server = await serve(
                self._page, HOST, self.port, process_request=self._answer, max_size=MAX_MESSAGE_BYTES, compression=None
            )
        except OSError as error:
            self._error, self._end = error, None
            self._ready.set()
            return
        # Asked for, because port 0 lets the system choose.
        self.port = next(iter(server.sockets)).getsockname()[1]
        self._ready.set()
        async with server:
            await self._end.wait()

    def _answer(self, connection: Any, request: Any) -> Any:
        """A file, a refusal, or None, which lets the WebSocket open."""
        names = {f"{host}:{self.port}" for host in (HOST, "localhost")}
        place = urlsplit(request.path)
        # Against DNS rebinding: a foreign name that resolves to 127.0.0.1 would share our origin.
        if request.headers.get("Host") not in names:
            return _reply(403, b"this page is only for this machine\n")
        if place.path in ("/", "/stream") and not self._knows(place.query):
            return _reply(403, b"the address lacks the token that compress demo printed\n")
        if place.path == "/stream":
            # WebSockets know no same-origin rule: any page may open one here unless it is refused.
            own = request.headers.get("Origin") in {f"http://{name}" for name in names}
            return None if own else _reply(403, b"only the demo's own page may listen\n")
        if place.path not in FILES:
            return _reply(404, b"there is no such page\n")
        name, kind = FILES[place.path]
        return _reply(200, (PAGE / name).read_bytes(), kind)

    def _knows(self, query: str) -> bool:
        # In constant time, and as bytes, because it takes no text beyond ASCII.
        return secrets.compare_digest(parse_qs(query).get("token", [""])[0].encode(), self.token.encode())

    async def _page(self, page: Any) -> None:
        """One page, from opening to closing."""
        from websockets.exceptions import ConnectionClosed

        self._pages.add(page)
        lends_microphone = False
        try:
            await page.send(json_text({"facts": self._facts}, ascii=True))
            async for message in page:
                if isinstance(message, bytes):
                    # Cut to whole floats: frombuffer raises for a rest.
                    self._source.put(np.frombuffer(message[: len(message) // 4 * 4], "<f4"))
                    continue
                try:
                    lends_microphone = self._do(message, lends_microphone)
                except SpeechpressError as error:
                    await page.send(json_text({"refused": str(error)}, ascii=True))
        except ConnectionClosed:
            pass
        finally:
            self._pages.discard(page)
            # A page that is closed sends no "off", and the source would wait for it for ever.
            if lends_microphone:
                self._source.browser(None)

    def _do(self, message: str, lends_microphone: bool) -> bool:
        """What was clicked; whether this page lends its microphone now. Raises SpeechpressError for no good order."""
        order = read_order(message)
        if order.do == "microphone":
            self._source.browser(order.rate)
            return self._source.browser_rate is not None
        teaching = self._teaching
        if teaching is not None:
            deeds: dict[str, Callable[[], None]] = {
                "begin": teaching.begin,
                "begin_not": lambda: teaching.begin(True),
                "end": teaching.end,
                "forget": teaching.forget,
                "name": lambda: teaching.name(order.word),
            }
            deeds[order.do]()
        return lends_microphone


def _reply(status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> Any:
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            # data: is for the empty icon, without which every browser asks for one.
            "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
            "img-src data:",
            # The page's address holds the token.
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cache-Control": "no-store",
        }
    )
    return Response(status, {200: "OK", 403: "Forbidden", 404: "Not Found"}[status], headers, body)
