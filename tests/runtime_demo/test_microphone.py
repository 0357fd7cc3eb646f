import os
import queue

import numpy as np
import pytest
import soundfile
from browser import wait_for
from sound_server import SoundServer, missing
from sounds import voice

from speechpress.runtime.demo.microphone import Microphone, choose, microphones
from speechpress.runtime.errors import SpeechpressError

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())
RATE = 16_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A sound server for this process: PortAudio asks for devices when it is initialised, so it is begun anew."""
    import sounddevice

    server = SoundServer(tmp_path_factory.mktemp("sound") / "run")
    before = {name: os.environ.get(name) for name in server.env}
    os.environ.update(server.env)
    sounddevice._terminate()
    sounddevice._initialize()
    yield server
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    server.stop()
    sounddevice._terminate()
    sounddevice._initialize()


@pytest.fixture
def microphone(server):
    opened = Microphone(choose("pulse"))
    yield opened
    opened.close()


def test_microphones_are_listed(server):
    found = {device.name: device for device in microphones()}
    assert found["pulse"].channels > 0 and found["pulse"].rate >= 8000
    assert sum(device.default for device in found.values()) == 1
    assert choose() == next(device for device in found.values() if device.default)
    assert choose(str(found["pulse"].index)) == choose("PULSE") == found["pulse"]


def test_what_is_played_is_heard(microphone, server, tmp_path):
    wave = voice(1.0, RATE, seed=2)
    soundfile.write(tmp_path / "clip.wav", np.concatenate([np.zeros(RATE), wave, np.zeros(RATE // 2)]), RATE)
    player = server.play(tmp_path / "clip.wav")
    heard = []
    while player.poll() is None or len(heard) < 3 * 50:
        block = microphone.read(1.0)
        heard += [block.samples] if block else []
    found = np.concatenate(heard)
    likeness = np.abs(np.correlate(found, wave / np.linalg.norm(wave), "valid"))
    place = int(likeness.argmax())
    assert likeness[place] > 0.98 * np.linalg.norm(found[place : place + len(wave)]) > 0
    assert microphone.sample_rate == RATE and microphone.dropped == 0


def test_a_worker_that_is_too_slow_loses_blocks_and_knows_how_many(microphone):
    wait_for(lambda: microphone.read(1.0), "a block")
    microphone._blocks = queue.Queue(maxsize=2)
    while not microphone.dropped:
        if microphone._stream.active is False:
            raise AssertionError("the stream ended")
    microphone.discard()
    assert wait_for(lambda: microphone.read(1.0), "a block")


def test_a_rate_that_it_refuses(server):
    with pytest.raises(SpeechpressError, match=r"pulse: refuses 5000000 Hz .*--rate"):
        Microphone(choose("pulse"), 5_000_000)


@pytest.mark.parametrize("wanted", ["99", "no such thing"])
def test_a_microphone_that_is_not_there(server, wanted):
    with pytest.raises(SpeechpressError, match=rf"--mic {wanted}: .*pulse"):
        choose(wanted)


def test_unplugged_in_mid_run(server):
    """Last in this file: its microphone's server dies."""
    microphone = Microphone(choose("pulse"))
    assert wait_for(lambda: microphone.read(1.0), "a block")
    server.stop()
    with pytest.raises(SpeechpressError, match="was it unplugged"):
        for _ in range(500):
            microphone.read(0.1)
    microphone.close()
