"""`compress demo`: a bundle on live audio, in the terminal, in the browser, or as lines for programs."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.names import word_name

if TYPE_CHECKING:
    from speechpress.runtime.bundle import Bundle
    from speechpress.runtime.engine import PteEngine
    from speechpress.runtime.sources import Source
    from speechpress.runtime.spotting import Background, Spotter, Word
    from speechpress.runtime.teaching import Teaching

    from .views.screen import Screen

logger = logging.getLogger(__name__)
BUNDLES = Path("bundles")


def demo(
    bundle: Annotated[
        Path | None,
        typer.Argument(help="Folder of a bundle; the newest under ./bundles that runs here, else the shipped."),
    ] = None,
    mic: Annotated[str | None, typer.Option(help="Number or name of a microphone, see --list-mics.")] = None,
    wav: Annotated[Path | None, typer.Option(help="Hear an audio file instead, of any format.")] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Hear raw samples of one channel from a pipe.")] = False,
    rate: Annotated[
        int | None, typer.Option(min=4000, help="Sample rate of --mic or --stdin (16000 there), in Hz.")
    ] = None,
    encoding: Annotated[str, typer.Option("--format", help="Samples of --stdin: s16le or f32le.")] = "s16le",
    chunk_ms: Annotated[float | None, typer.Option(help="One of the bundle's chunk sizes; else its first.")] = None,
    web: Annotated[bool, typer.Option("--web", help="Show it on a page in the browser, on this machine only.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 8765,
    list_mics: Annotated[bool, typer.Option("--list-mics", help="List the microphones, and leave.")] = False,
    words: Annotated[
        Path | None, typer.Option(help="File of taught words: read if it is there, written when a word is taught.")
    ] = None,
    teach: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD=A.wav,B.wav,C.wav", help="Teach a word by recordings of it; may be repeated."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per chunk on stdout; words for people on stderr.")
    ] = False,
) -> None:
    """Live features of a microphone, a file or a pipe; and words that you teach it by saying them three times."""
    from .views.screen import Screen

    screen = Screen(json or not sys.stdout.isatty())
    if list_mics:
        return show_microphones(Screen(json))
    asked = Asked(mic, wav, stdin, rate, encoding)
    with ExitStack() as stack:
        opened = open_model(bundle, chunk_ms, screen)
        taught = (
            Taught.of(opened, words, teach or [], screen) if words or teach or not (json or piped()) or web else None
        )
        if web:
            from .demo_web import show_page

            return show_page(opened, asked, taught, port, screen)
        source = stack.enter_context(closing(asked.open(paced=not (json or piped()))))
        show(opened, source, taught, json)


def piped() -> bool:
    return not sys.stdout.isatty()


@dataclass(frozen=True)
class Opened:
    """A bundle and its engine, for one chunk size."""

    bundle: "Bundle"
    engine: "PteEngine"

    @property
    def name(self) -> str:
        document = self.bundle.document
        scheme = "" if document["quantize"] == "none" else f" {document['quantize']}"
        return f"{self.bundle.name}{scheme}"


def open_model(folder: Path | None, chunk_ms: float | None, screen: "Screen") -> Opened:
    """The bundle that was named, else the newest under ./bundles that runs here, else the shipped one; it is said."""
    from speechpress.runtime.bundle import read_bundle
    from speechpress.runtime.choice import choose_bundle
    from speechpress.runtime.engine import PteEngine

    if folder is None:
        folder = choose_bundle(BUNDLES, screen.say, live=True)
    opened = read_bundle(folder)
    # One thread: a chunk is so small that more of them only wait for each other, and the machine has other work.
    return Opened(opened, PteEngine(opened, chunk_ms, threads=1))


@dataclass(frozen=True)
class Asked:
    """Where the audio shall come from."""

    mic: str | None
    wav: Path | None
    stdin: bool
    rate: int | None
    encoding: str

    def __post_init__(self) -> None:
        if sum([self.mic is not None, self.wav is not None, self.stdin]) > 1:
            raise SpeechpressError("--mic, --wav and --stdin each name where the audio comes from; give one of them")
        if self.rate is not None and self.wav is not None:
            raise SpeechpressError("--rate is for --mic and --stdin; an audio file says its rate itself")

    def open(self, paced: bool) -> "Source":
        """The source; a file is given at the speed of speech when `paced`."""
        from speechpress.runtime.sources import PcmSource, WavSource

        if self.wav is not None:
            return WavSource(self.wav, paced)
        if self.stdin:
            return PcmSource(sys.stdin.buffer, self.rate or 16_000, self.encoding)
        from speechpress.runtime.microphone import Microphone, choose

        return Microphone(choose(self.mic), self.rate)


@dataclass(frozen=True)
class Taught:
    """The words of a run, and how more are taught."""

    background: "Background"
    spotter: "Spotter"
    teaching: "Teaching"

    @classmethod
    def of(cls, opened: Opened, file: Path | None, teach: Sequence[str], screen: "Screen") -> "Taught":
        """Words of the file and of the recordings; the file, where there is one, gets them all."""
        from speechpress.runtime.spotting import Spotter
        from speechpress.runtime.teaching import Teaching
        from speechpress.runtime.words import load_words, save_words

        from .data.background import background_of

        asked = [read_lesson(lesson) for lesson in teach]
        background = background_of(opened.bundle, opened.engine, screen.say)
        chunk_ms = opened.engine.spec.chunk_ms
        words = load_words(file, opened.bundle, chunk_ms, background) if file is not None and file.exists() else []
        for name, paths in asked:
            words = [word for word in words if word.name != name] + [
                teach_word(opened, background, name, paths, screen)
            ]

        def save(changed: "Sequence[Word]") -> None:
            if file is not None:
                save_words(file, changed, opened.bundle, chunk_ms)

        if asked:
            save(words)
        spotter = Spotter(words, background)
        return cls(background, spotter, Teaching(opened.engine, background, spotter, save))


def read_lesson(lesson: str) -> tuple[str, list[Path]]:
    """A --teach option taken apart; raises SpeechpressError when it is none or names a file that is not there."""
    name, _, files = lesson.partition("=")
    paths = [Path(file) for file in files.split(",") if file]
    if not name.strip() or not paths:
        raise SpeechpressError(f"--teach {lesson}: is not of the form WORD=A.wav,B.wav,C.wav")
    for path in paths:
        if not path.is_file():
            raise SpeechpressError(f"--teach {lesson}: there is no file {path}")
    return word_name(name), paths


def teach_word(opened: Opened, background: "Background", name: str, paths: Sequence[Path], screen: "Screen") -> "Word":
    from speechpress.runtime.enrol import read_example
    from speechpress.runtime.spotting import learn

    word = learn(name, [read_example(opened.engine, path) for path in paths], background)
    doubt = "; the recordings differ much, it may be missed" if word.doubtful else ""
    screen.say(
        f"taught “{name}” by {len(paths)} recording{'s' * (len(paths) > 1)}, threshold {word.threshold:.1f}{doubt}"
    )
    return word


def show(opened: Opened, source: "Source", taught: Taught | None, json: bool) -> None:
    """Run until the source ends or the user leaves."""
    from speechpress.runtime.demo import Stats, listen

    engine, spec = opened.engine, opened.engine.spec
    stats = Stats(spec.chunk_ms)
    spotter, teaching = (taught.spotter, taught.teaching) if taught else (None, None)
    chunks = listen(source, engine, spotter, teaching)
    if json or piped():
        from speechpress.runtime.view_lines import show_json, show_lines

        with native_notes_hidden(source), quiet_end():
            return show_json(chunks, sys.stdout) if json else show_lines(chunks, stats, sys.stdout)
    from rich.console import Console

    from speechpress.runtime.engine import quiet
    from speechpress.runtime.view_terminal import Facts, Screen, watch

    latency_ms = latency_of(engine, source.sample_rate)
    facts = Facts(source.name, opened.name, latency_ms, spec.chunk_ms, spec.hop_samples / spec.sample_rate)
    view = Screen(facts, stats, spotter, teaching)
    with quiet():  # a line on stderr would tear the picture
        watch(chunks, view, Console())


def latency_of(engine: Any, sample_rate: int) -> float:
    from speechpress.runtime.stream import StreamingExtractor

    return StreamingExtractor(engine, sample_rate).latency()["worst_age_ms"]


def native_notes_hidden(source: "Source") -> AbstractContextManager[None]:
    """PortAudio writes its own view of an unplugged microphone to stderr; ours says what to do."""
    from speechpress.runtime.engine import quiet
    from speechpress.runtime.microphone import Microphone

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
    from speechpress.runtime.microphone import microphones

    found = microphones()
    lines = [f"{'*' if device.default else ' '} {device.index:3d}  {device.name}, {device.rate} Hz" for device in found]
    if not found:
        lines = ["there is no microphone on this machine; show a recording with --wav FILE, or --web for the browser's"]
    screen.result({"microphones": [device.to_dict() for device in found]}, *lines[:1], *[f"\n{x}" for x in lines[1:]])
