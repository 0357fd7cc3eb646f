"""`compress demo --web`: opens the page and feeds it until the user leaves."""

from typing import TYPE_CHECKING

from rich.text import Text

from speechpress.runtime.demo.keyboard import ending_signals
from speechpress.runtime.demo.summary import summary
from speechpress.runtime.demo.web import Server, WebSource
from speechpress.runtime.demo.worker import Stats, listen
from speechpress.runtime.errors import SpeechpressError

from .demo_open import Asked, Opened, Taught, latency_of

if TYPE_CHECKING:
    from speechpress.runtime.demo.sources import Source

    from ..views.screen import Screen


def show_page(opened: Opened, asked: Asked, taught: Taught | None, port: int, screen: "Screen") -> None:
    """Serve the page; without a microphone here it waits for the browser's. Raises what the source raises."""
    source = WebSource(_other(asked, screen))
    spec = opened.engine.spec
    spotter, teaching = (taught.spotter, taught.teaching) if taught else (None, None)
    facts = {
        "model": opened.name,
        "chunk_ms": spec.chunk_ms,
        "frame_s": spec.hop_samples / spec.sample_rate,
        "latency_ms": latency_of(opened.engine, source.sample_rate),
        "teaching": taught is not None,
    }
    server, stats = Server(facts, source, teaching, port, opened.engine.heads), Stats(spec.chunk_ms)
    try:
        # The finally below has to run on a hang-up as well: it frees the port and the microphone.
        with ending_signals():
            # Before the first chunk, and before the address is told: then it can be opened.
            server.start()
            screen.say(f"open {server.address}   (Ctrl-C ends it)")
            for chunk in listen(source, opened.engine, spotter, teaching):
                stats.add(chunk)
                server.show(chunk, stats, [word.name for word in spotter.words] if spotter else [])
    except KeyboardInterrupt:  # the usual way to leave
        for line in summary(stats, opened.engine.heads):
            screen.say(Text(line))
    finally:
        server.stop()
        source.close()


def _other(asked: Asked, screen: "Screen") -> "Source | None":
    """What is heard until the browser's microphone is; a missing microphone is only an error when it was asked for."""
    try:
        return asked.open(paced=True)
    except SpeechpressError as error:
        if asked.mic is not None or asked.wav is not None or asked.stdin:
            raise
        screen.say(f"{error}")
        screen.say("the page can use the browser's microphone")
        return None
