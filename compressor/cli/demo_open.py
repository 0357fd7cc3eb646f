"""What `compress demo` opens before it listens: the bundle, what the command line asked for, and taught words."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechpress.runtime.demo.names import word_name
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.escape import counted

if TYPE_CHECKING:
    from speechpress.runtime.bundle import Bundle
    from speechpress.runtime.demo.sources import Source
    from speechpress.runtime.demo.spotting import Background, Spotter, Word
    from speechpress.runtime.demo.teaching import Teaching
    from speechpress.runtime.engine import PteEngine
    from speechpress.runtime.stream import Engine

    from ..views.screen import Screen
from .options import BUNDLES


@dataclass(frozen=True)
class Opened:
    """A bundle and its engine, for one chunk size."""

    bundle: "Bundle"
    engine: "PteEngine"

    def compared(self, screen: "Screen") -> "Engine":
        """What makes the frames that taught words are looked for in; it is said."""
        from speechpress.runtime.demo.head_engine import HeadEngine, words_head

        head = words_head(self.engine)
        if head is None:
            screen.say("taught words are matched in the features: this bundle has no words head")
            return self.engine
        screen.say(f"taught words are matched by the bundle's head “{head.name}”")
        return HeadEngine(self.engine, head)

    @property
    def name(self) -> str:
        document = self.bundle.document
        scheme = "" if document["quantize"] == "none" else f" {document['quantize']}"
        return f"{self.bundle.name}{scheme}"


def open_model(folder: Path | None, chunk_ms: float | None, screen: "Screen") -> Opened:
    """The bundle that was named, else the newest under ./bundles that runs here, else the built-in one; it is said.

    In its shortest chunks where none are asked for: what is said should be seen at once.
    """
    from speechpress.runtime.bundle import read_bundle
    from speechpress.runtime.choice import choose_bundle
    from speechpress.runtime.engine import PteEngine
    from speechpress.runtime.hub.fetch import local_folder
    from speechpress.runtime.hub.manifest import BUNDLE

    if folder is None:
        folder = choose_bundle(BUNDLES, screen.say, live=True)
    opened = read_bundle(local_folder(folder, BUNDLE))
    if chunk_ms is None and opened.document["streams"]:
        chunk_ms = min(stream["chunk_ms"] for stream in opened.document["streams"])
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
        # Not by truth: an empty name was given as well.
        if sum([self.mic is not None, self.wav is not None, self.stdin]) > 1:
            raise SpeechpressError("--mic, --wav and --stdin are alternative sources; use one of them")
        if self.rate is not None and self.wav is not None:
            raise SpeechpressError("--rate is for --mic and --stdin; an audio file states its own rate")

    def open(self, paced: bool) -> "Source":
        """The source; a file is given at the speed of speech when `paced`."""
        from speechpress.runtime.demo.sources import PcmSource, WavSource

        if self.wav is not None:
            return WavSource(self.wav, paced)
        if self.stdin:
            return PcmSource(sys.stdin.buffer, self.rate or 16_000, self.encoding)
        # Only here: a file or a pipe needs no PortAudio.
        from speechpress.runtime.demo.microphone import Microphone, choose

        return Microphone(choose(self.mic), self.rate)


@dataclass(frozen=True)
class Taught:
    """The words of a run, and how more are taught."""

    background: "Background"
    spotter: "Spotter"
    teaching: "Teaching"

    @classmethod
    def of(
        cls, opened: Opened, file: Path | None, teach: Sequence[str], screen: "Screen", teach_not: Sequence[str] = ()
    ) -> "Taught":
        """Words of the file and of the recordings; the file, where there is one, gets them all."""
        from speechpress.runtime.demo.spotting import Spotter
        from speechpress.runtime.demo.teaching import Teaching
        from speechpress.runtime.demo.words import load_words, save_words

        from ..data.background import background_of

        # Before the background, so that a mistyped --teach is told at once.
        asked = [read_lesson(lesson) for lesson in teach]
        refused = [read_lesson(lesson, "--teach-not") for lesson in teach_not]
        engine = opened.compared(screen)
        background = background_of(opened.bundle, engine, screen.say)
        chunk_ms = opened.engine.spec.chunk_ms
        words = load_words(file, opened.bundle, chunk_ms, background) if file is not None and file.exists() else []
        for name, paths in asked:
            # A word of the same name is replaced, as when it is taught by voice.
            words = [word for word in words if word.name != name] + [
                teach_word(engine, background, name, paths, screen)
            ]
        for name, paths in refused:
            words = [*refuse(words, engine, background, name, paths, screen)]

        def save(changed: "Sequence[Word]") -> None:
            if file is not None:
                save_words(file, changed, opened.bundle, chunk_ms, background.head)

        # Also when nobody teaches by voice afterwards: recordings on the command line are kept at once.
        if asked or refused:
            save(words)
        spotter = Spotter(words, background)
        return cls(background, spotter, Teaching(engine, background, spotter, save))


def read_lesson(lesson: str, option: str = "--teach") -> tuple[str, list[Path]]:
    """An option's text taken apart; raises SpeechpressError when it is none or names a file that is not there."""
    name, _, files = lesson.partition("=")
    paths = [Path(file) for file in files.split(",") if file]
    if not name.strip() or not paths:
        raise SpeechpressError(f"{option} {lesson}: must have the form WORD=A.wav,B.wav,C.wav")
    for path in paths:
        if not path.is_file():
            raise SpeechpressError(f"{option} {lesson}: there is no file {path}")
    return word_name(name), paths


def teach_word(
    engine: "Engine", background: "Background", name: str, paths: Sequence[Path], screen: "Screen"
) -> "Word":
    from speechpress.runtime.demo.enrol import read_example
    from speechpress.runtime.demo.spotting import learn

    word = learn(name, [read_example(engine, path) for path in paths], background)
    doubt = "; the recordings differ much, so it may be missed" if word.doubtful else ""
    screen.say(f"taught “{name}” by {counted(len(paths), 'recording')}, threshold {word.threshold:.1f}{doubt}")
    return word


def refuse(
    words: "Sequence[Word]",
    engine: "Engine",
    background: "Background",
    name: str,
    paths: Sequence[Path],
    screen: "Screen",
) -> "list[Word]":
    """The words, of which the named one has these recordings as counter-examples; SpeechpressError without it."""
    from speechpress.runtime.demo.enrol import read_example
    from speechpress.runtime.demo.spotting import learn

    if name not in [word.name for word in words]:
        known = ", ".join(f"“{word.name}”" for word in words) or "none"
        raise SpeechpressError(f"--teach-not {name}: there is no such word; taught words: {known}")
    found = [read_example(engine, path) for path in paths]
    screen.say(f"{counted(len(paths), 'counter-example')} for “{name}”")
    return [
        learn(name, word.examples, background, against=[*word.against, *found]) if word.name == name else word
        for word in words
    ]


def latency_of(engine: Any, sample_rate: int) -> float:
    from speechpress.runtime.stream import StreamingExtractor

    # Asked of a stream, because the resampler for this rate adds its own delay.
    return StreamingExtractor(engine, sample_rate).latency()["worst_age_ms"]
