"""`compress demo` as a person calls it; the pieces have tests of their own."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from bundled import CHUNK_MS, copied
from carried import save_heads
from sounds import voice
from terminal import Terminal

from speechpress.compressor.cli.demo_open import open_model
from speechpress.compressor.export.export import export, plan
from speechpress.compressor.export.source import open_source
from speechpress.compressor.starter import SPEECH
from speechpress.compressor.targets import target_of
from speechpress.compressor.views.screen import Screen
from speechpress.runtime.bundle import DOCUMENT, digest
from speechpress.runtime.engine import PteEngine
from speechpress.runtime.stream import StreamingExtractor

DEMO = [sys.executable, "-m", "speechpress.compressor.cli.main", "demo"]
QUIET = 1e-4 * np.random.default_rng(0).standard_normal(16_000)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three recordings of a word, and talk.wav with the word in it, stereo, 44.1 kHz, 24 bit."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(3):
        word = np.concatenate([QUIET[:5000], voice(0.5, seed=8) * (0.8 + 0.1 * number), QUIET[:5000]])
        soundfile.write(folder / f"{number}.wav", word, 16_000)
    parts = [voice(1.5, 44_100, seed=1), np.zeros(22_050), voice(0.5, 44_100, seed=8), np.zeros(44_100)]
    talk = np.concatenate(parts)
    soundfile.write(folder / "talk.wav", np.stack([talk, 0.9 * talk], 1), 44_100, subtype="PCM_24")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the background is kept, so that it is heard once."""
    return {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def answering(tmp_path_factory, small_checkpoint):
    """A bundle with heads of random weights; without whole recordings, for which each would be lowered again."""
    folder = save_heads(copied(small_checkpoint, tmp_path_factory.mktemp("heads")), ("phones", "vad", "command"))
    order = plan(open_source(folder), target_of("host"), "none", (CHUNK_MS,), offline_s=0, heads="all")
    export(order, folder.parent / "answering", allow_fallback=True)
    return folder.parent / "answering"


def objects(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def message(tmp_path_factory):
    """A recorded prompt that begins with the word "message", as stereo at 44.1 kHz with 24 bits."""
    samples, rate = soundfile.read(SPEECH / "audio" / "en" / "vm-msgsaved.opus")
    samples = soxr.resample(samples, rate, 44_100)
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, np.stack([samples, 0.9 * samples], 1), 44_100, subtype="PCM_24")
    return path, len(samples) / 44_100


def test_a_word_is_taught_by_a_recording_found_and_kept(cli, tmp_path, message, cache):
    """With the bundle that ships, real speech, and a word that was recorded apart."""
    path, duration_s = message
    words = tmp_path / "words.safetensors"
    call = ("demo", "--wav", path, "--words", words)
    first = cli(*call, "--teach", f"message={SPEECH / 'audio' / 'en' / 'vm-message.opus'}", "--json", env=cache)
    lines = objects(first)
    assert "taught “message” by 1 recording" in first.stderr
    assert sum(line["frames"] for line in lines) == pytest.approx(50 * duration_s, abs=3)
    assert all(line["infer_ms"] > 0 and line["dropped"] == 0 for line in lines if line["frames"])
    hits = [hit for line in lines for hit in line["words"]]
    assert [hit["word"] for hit in hits] == ["message"] and hits[0]["end_s"] < 1.3
    again = cli(*call, env=cache)
    assert again.returncode == 0 and "heard “message”" in again.stdout and "processing once" not in again.stderr
    assert again.stdout.splitlines()[-1].split() == ["words", "found", "1:", "message", "1"]


def test_a_pipe(small_bundle):
    samples = (3000 * voice(1.0)).astype("<i2").tobytes()
    done = subprocess.run(
        [*DEMO, str(small_bundle), "--stdin", "--json"], input=samples, capture_output=True, check=False
    )
    assert done.returncode == 0 and len(done.stdout.splitlines()) > 10, done.stderr


def test_the_newest_bundle_else_the_one_that_ships(cli, tmp_path, small_bundle, clips):
    """Said aloud which one."""
    done = cli("demo", "--wav", clips / "0.wav", "--json")
    assert objects(done) and "using the built-in one" in done.stderr
    copied(small_bundle, tmp_path / "bundles")
    done = cli("demo", "--wav", clips / "0.wav", "--json")
    assert objects(done) and "using the newest that runs here: bundles/small-host" in done.stderr


def test_a_bundle_runs_its_shortest_chunks_where_none_are_asked_for():
    opened = [open_model(Path("pocket-s"), chunk_ms, Screen(True)) for chunk_ms in (None, 320)]
    assert [one.engine.spec.chunk_ms for one in opened] == [80, 320]


def test_a_counter_example_needs_its_word(cli, small_bundle, clips, cache):
    not_hello = ("--teach-not", f"hello={clips / '0.wav'}")
    done = cli("demo", small_bundle, "--wav", clips / "0.wav", *not_hello, "--json", env={**cache, "COLUMNS": "300"})
    assert done.returncode == 1 and "there is no such word; taught words: none" in done.stderr, done.stderr
    assert "matched in the features: this bundle has no words head" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--wav", "missing.wav"], "missing.wav: there is no such file"),
        (["--wav", "a.wav", "--stdin"], "use one of them"),
        (["--stdin"], "without a single sample"),
        (["--wav", "a.wav", "--teach", "hello"], "WORD=A.wav"),
        (["--wav", "a.wav", "--teach", "hello=missing.wav"], "there is no file missing.wav"),
        (["--wav", "a.wav", "--teach-not", "hello"], "--teach-not hello: must have the form"),
        (["--wav", "a.wav", "--chunk-ms", "90"], "runs chunks of 80 ms"),
        (["--stdin", "--format", "mp3"], "s16le, f32le"),
    ],
)
def test_bad_input_is_one_clear_line(cli, tmp_path, small_bundle, words, said):
    done = cli("demo", small_bundle, *words, env={"COLUMNS": "300"})
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("error:") == 1 and not done.stdout


def test_no_such_microphone(cli, small_bundle):
    """With no microphone at all, as on a server, it says that; without PortAudio, that."""
    done = cli("demo", small_bundle, "--mic", "a microphone of glass", env={"XDG_RUNTIME_DIR": "/nonexistent"})
    said = "error: (there is no microphone|.*there is no such microphone|microphones need PortAudio)"
    assert done.returncode == 1 and re.search(said, done.stderr) and done.stderr.count("\n") == 1, done.stderr


def test_a_bundle_that_is_not_for_this_machine(cli, small_bundle, tmp_path, clips):
    folder = copied(small_bundle, tmp_path)
    document = json.loads((folder / DOCUMENT).read_text())
    document["target"] |= {"name": "ios-coreml", "backend": "coreml"}
    (folder / DOCUMENT).write_text(json.dumps({**document, "digest": digest(document)}))
    done = cli("demo", folder, "--wav", clips / "0.wav")
    assert done.returncode == 1 and "needs the backend coreml" in done.stderr


def test_a_busy_port(cli, small_bundle, clips, cache):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cli("demo", small_bundle, "--wav", clips / "0.wav", "--web", "--port", port, env=cache)
    assert done.returncode == 1 and f"port {port}" in done.stderr and "--port 0" in done.stderr


def test_the_page_is_served_and_ends_with_ctrl_c(small_bundle, clips, cache):
    words = [*DEMO, str(small_bundle), "--wav", str(clips / "talk.wav"), "--web", "--port", "0"]
    process = subprocess.Popen(words, env={**os.environ, **cache}, stderr=subprocess.PIPE, text=True)
    address = None
    while address is None:
        line = process.stderr.readline()
        assert line, "it ended"
        address = re.search(r"http://127\S+", line)
    with urllib.request.urlopen(address.group(), timeout=20) as page:
        assert b"speechpress" in page.read()
    process.send_signal(2)
    rest = process.communicate(timeout=40)[1]
    assert process.returncode == 0 and re.search(r"heard +\d+\.\d\d s in", rest) and "words found" in rest, rest


def test_answers_of_a_bundles_own_heads(cli, answering, clips):
    """The events of --json are those of the stream, chunk by chunk, and all that are final come once."""
    lines = objects(cli("demo", answering, "--wav", clips / "talk.wav", "--json"))
    told = [event for line in lines for event in line["events"]]
    samples, rate = soundfile.read(clips / "talk.wav", dtype="float32")
    stream = StreamingExtractor(PteEngine(answering, threads=1), rate)
    wanted = [event.to_dict() for event in (*stream.push(samples).events, *stream.flush().events)]

    def final(events):
        return sorted((event for event in events if event["final"]), key=lambda event: (event["head"], event["number"]))

    for one, other in zip(final(told), final(wanted), strict=True):
        assert {**one, "vector": 0, "score": 0} == {**other, "vector": 0, "score": 0}
    assert {event["head"] for event in told} == {"phones", "vad", "command"}
    # Nothing is told of audio that was not heard.
    assert all(event["end_s"] <= line["heard_s"] + 1e-3 for line in lines for event in line["events"])


def test_answers_in_lines_and_their_sum(cli, answering, clips):
    done = cli("demo", answering, "--wav", clips / "talk.wav")
    assert done.returncode == 0, done.stderr
    assert re.search(r" s  phones: [ptks]+\n", done.stdout) and re.search(r" s  command: [abcd] 0\.\d\d\n", done.stdout)
    assert re.search(r" s  vad: speech \d\.\d\d to \d\.\d\d s\n", done.stdout)
    last = done.stdout[done.stdout.index("\nheard ") :]
    assert re.search(r"^phones +\d+ events?, \d+ ms after their end \(median\)$", last, re.MULTILINE), last
    assert re.search(r"^vad +\d+ events?", last, re.MULTILINE) and last.split()[-3:] == ["words", "found", "0"]


def test_answers_in_the_live_view_and_the_sum_after_q(answering, clips, cache):
    code = "import sys; from speechpress.compressor.cli.main import main; main(sys.argv[1:])"
    words = ("demo", answering, "--wav", clips / "talk.wav")
    terminal = Terminal(code, *words, env={**os.environ, **cache, "TERM": "xterm", "NO_COLOR": "1"})
    first = terminal.until("answers ")
    assert "│ phones" in first and "│ vad" in first and "shade: how it sounds" in first, first
    terminal.write("q")
    code, same, last = terminal.close()
    after = last.split("\x1b[?1049l")[1]
    assert code == 0 and same and re.search(r"phones +\d+ event", after) and re.search(r"heard +\d+\.\d\d s in", after)


@pytest.mark.parametrize("wav", ["talk.wav", "0.wav"])
def test_the_live_view_leaves_the_terminal_as_it_was(small_bundle, clips, cache, wav):
    """Once until `q` is pressed, once until the file ends."""
    code = "import sys; from speechpress.compressor.cli.main import main; main(sys.argv[1:])"
    terminal = Terminal(code, "demo", small_bundle, "--wav", clips / wav, env={**os.environ, **cache, "TERM": "xterm"})
    terminal.until("real-time factor")
    if wav == "talk.wav":
        terminal.write("q")
    code, same, last = terminal.close()
    assert code == 0 and same and "\x1b[?1049l" in last and last.rindex("\x1b[?25h") > last.rfind("\x1b[?25l"), last


def test_microphones_as_a_document(cli):
    done = cli("demo", "--list-mics", "--json")
    if done.returncode == 0:
        assert isinstance(json.loads(done.stdout)["microphones"], list)
    else:
        assert "PortAudio" in json.loads(done.stdout)["error"]
