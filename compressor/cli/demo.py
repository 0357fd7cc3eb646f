"""`compress demo`: a bundle on live audio, in the terminal, in the browser, or as lines for programs."""

import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechpress.runtime.errors import SpeechpressError

if TYPE_CHECKING:
    from speechpress.runtime.demo.sources import Source

    from ..views.screen import Screen

from .demo_open import Asked, Opened, Taught, latency_of, open_model
from .help.complete import complete_bundle
from .help.looks import INPUT, OUTPUT, choices

logger = logging.getLogger(__name__)
TEACH = "Taught words"


Bundle = Annotated[
    Path | None,
    typer.Argument(
        help="Folder of a bundle, or USER/NAME on the Hub.",
        show_default="the newest under ./bundles, else the built-in one",
        autocompletion=complete_bundle,
    ),
]
Mic = Annotated[
    str | None,
    typer.Option(
        help="Number or name of a microphone; see --list-mics.",
        show_default="the system's",
        rich_help_panel=INPUT,
    ),
]
Wav = Annotated[Path | None, typer.Option(help="Play an audio file instead, in any format.", rich_help_panel=INPUT)]
Stdin = Annotated[
    bool, typer.Option("--stdin", help="Read raw samples of one channel from a pipe.", rich_help_panel=INPUT)
]
Rate = Annotated[
    int | None,
    typer.Option(
        min=4000,
        help="Sample rate of --mic or --stdin, in Hz.",
        show_default="the microphone's; 16000 for --stdin",
        rich_help_panel=INPUT,
    ),
]
Encoding = Annotated[
    str,
    typer.Option(
        "--format",
        help="Format of the samples of --stdin.",
        metavar=choices("s16le", "f32le"),
        rich_help_panel=INPUT,
    ),
]
ChunkMs = Annotated[
    float | None,
    typer.Option(
        help="One of the bundle's chunk sizes, in ms.", show_default="the bundle's shortest", rich_help_panel=INPUT
    ),
]
ListMics = Annotated[bool, typer.Option("--list-mics", help="List the microphones and exit.", rich_help_panel=INPUT)]
Web = Annotated[
    bool, typer.Option("--web", help="Show a page in the browser, on this machine only.", rich_help_panel=OUTPUT)
]
Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Port of the page; 0 for any free one.", rich_help_panel=OUTPUT)
]
Words = Annotated[
    Path | None,
    typer.Option(help="File of taught words: loaded if it exists, saved after each lesson.", rich_help_panel=TEACH),
]
Teach = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORD=A.wav,B.wav", help="Teach a word with three recordings. Repeatable.", rich_help_panel=TEACH
    ),
]
TeachNot = Annotated[
    list[str] | None,
    typer.Option(
        "--teach-not",
        metavar="WORD=A.wav,B.wav",
        help="Recordings that are mistaken for the word. Repeatable.",
        rich_help_panel=TEACH,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON object per chunk on stdout; messages go to stderr.", rich_help_panel=OUTPUT
    ),
]


def demo(
    bundle: Bundle = None,
    mic: Mic = None,
    wav: Wav = None,
    stdin: Stdin = False,
    rate: Rate = None,
    encoding: Encoding = "s16le",
    chunk_ms: ChunkMs = None,
    list_mics: ListMics = False,
    web: Web = False,
    port: Port = 8765,
    words: Words = None,
    teach: Teach = None,
    teach_not: TeachNot = None,
    json: JsonOption = False,
) -> None:
    """Run a bundle on live audio: show its features and answers, and teach it words by saying them."""
    from ..views.screen import Screen

    # Into a pipe go frames or lines only; what is said to people goes to stderr.
    screen = Screen(json or not sys.stdout.isatty())
    if list_mics:
        return show_microphones(Screen(json))
    asked = Asked(mic, wav, stdin, rate, encoding)
    with ExitStack() as stack:
        # The model before the source: audio that comes while it loads would be dropped.
        opened = open_model(bundle, chunk_ms, screen)
        taught = (
            # Without a terminal nobody can teach; then the background, which takes time, is only made if asked.
            Taught.of(opened, words, teach or [], screen, teach_not or [])
            if words or teach or teach_not or not (json or piped()) or web
            else None
        )
        if web:
            return show_page(opened, asked, taught, port, screen)
        # Programs want a file as fast as it goes; people want to watch it.
        source = stack.enter_context(closing(asked.open(paced=not (json or piped()))))
        show(opened, source, taught, json)


def piped() -> bool:
    return not sys.stdout.isatty()


def show(opened: Opened, source: "Source", taught: Taught | None, json: bool) -> None:
    """Run until the source ends or the user leaves."""
    from speechpress.runtime.demo.worker import Stats, listen

    engine, spec = opened.engine, opened.engine.spec
    stats, heads = Stats(spec.chunk_ms), engine.heads
    spotter, teaching = (taught.spotter, taught.teaching) if taught else (None, None)
    chunks = listen(source, engine, spotter, teaching)
    if json or piped():
        from speechpress.runtime.demo.view_lines import show_json, show_lines

        with native_notes_hidden(source), quiet_end():
            return show_json(chunks, sys.stdout) if json else show_lines(chunks, stats, sys.stdout, heads)
    from rich.console import Console

    from speechpress.runtime.demo.view_terminal import Facts, Screen, watch
    from speechpress.runtime.engine import quiet

    latency_ms = latency_of(engine, source.sample_rate)
    facts = Facts(source.name, opened.name, latency_ms, spec.chunk_ms, spec.hop_samples / spec.sample_rate, heads)
    view = Screen(facts, stats, spotter, teaching)
    with quiet():  # a line on stderr would tear the picture
        watch(chunks, view, Console())


def show_page(opened: Opened, asked: Asked, taught: Taught | None, port: int, screen: "Screen") -> None:
    """Serve the page; without a microphone here it waits for the browser's. Raises what the source raises."""
    from rich.text import Text

    from speechpress.runtime.demo.keyboard import ending_signals
    from speechpress.runtime.demo.summary import summary
    from speechpress.runtime.demo.web import Server, WebSource
    from speechpress.runtime.demo.worker import Stats, listen

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
            screen.say(f"open {server.address} (Ctrl-C to stop)")
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
        screen.say("the page can use the browser's microphone instead")
        return None


def native_notes_hidden(source: "Source") -> AbstractContextManager[None]:
    """PortAudio writes its own view of an unplugged microphone to stderr; ours says what to do."""
    from speechpress.runtime.demo.microphone import Microphone
    from speechpress.runtime.engine import quiet

    return quiet() if isinstance(source, Microphone) else nullcontext()


@contextmanager
def quiet_end() -> Iterator[None]:
    """A reader that had enough, such as `head`, is no error."""
    try:
        yield
    except BrokenPipeError:
        # Python writes what is left when it exits, to a pipe that is gone.
        sys.stdout = open("/dev/null", "w")  # noqa: PTH123, SIM115


def show_microphones(screen: "Screen") -> None:
    from speechpress.runtime.demo.microphone import microphones

    found = microphones()
    lines = [f"{'*' if device.default else ' '} {device.index:3d}  {device.name}, {device.rate} Hz" for device in found]
    if not found:
        lines = ["this machine has no microphone; use --wav FILE, or --web for the browser's microphone"]
    screen.result({"microphones": [device.to_dict() for device in found]}, *lines)
