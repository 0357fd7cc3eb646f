"""Sound files of every kind, and damaged ones: read right or refused with a reason, fast, in little memory."""

import io
import os
import resource
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hostile import listening
from sounds import voice, write

from speechpress.compressor.data.audio import UnreadableAudio, read_audio, read_cut
from speechpress.compressor.data.corpus import open_corpus
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.sound.sound_file import open_sound, read_mono, readable_name

# every container that libsndfile writes, with a coding of its own where it has one
KINDS = {
    "aiff": ("AIFF", None),
    "aifc": ("AIFF", "ULAW"),
    "au": ("AU", None),
    "adpcm.au": ("AU", "G721_32"),
    "w64": ("W64", None),
    "caf": ("CAF", None),
    "alac.caf": ("CAF", "ALAC_16"),
    "sph": ("NIST", None),
    "oga": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", None),
    "flac": ("FLAC", None),
    "wav": ("WAV", None),
    "gsm.wav": ("WAV", "GSM610"),
    "ms.wav": ("WAV", "MS_ADPCM"),
    "rf64": ("RF64", None),
    "voc": ("VOC", "PCM_16"),
    "sf": ("IRCAM", None),
    "paf": ("PAF", None),
    "pvf": ("PVF", None),
    "avr": ("AVR", "PCM_16"),
}


def encoded(kind="WAV", subtype=None, samples=None, rate=16_000):
    file = io.BytesIO()
    soundfile.write(file, voice(1.0, rate) if samples is None else samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("named", ["by its kind", "without an ending", "by another kind"])
def test_every_kind_is_read_by_its_content(tmp_path, named):
    for number, (name, (kind, subtype)) in enumerate(KINDS.items()):
        ending = {"by its kind": f".{name}", "without an ending": "", "by another kind": ".wav"}[named]
        (tmp_path / f"{number:02d}{ending}").write_bytes(encoded(kind, subtype))
    corpus = open_corpus(tmp_path, check=True)
    assert not corpus.skipped and len(corpus.cuts) == len(KINDS)
    for cut in corpus.cuts:
        heard = read_cut(cut)
        assert abs(len(heard) - 16_000) < 1_500
        shift = np.correlate(heard[2_000:7_000], voice(1.0)[2_000:6_900], "valid").argmax()
        assert np.corrcoef(heard[shift : shift + 8_000], voice(1.0)[:8_000])[0, 1] > 0.9


def test_what_is_not_read_is_counted_and_listed(tmp_path, caplog):
    write(tmp_path / "a.wav")
    foreign = {
        "b.m4a": (b"\0\0\0\x20ftypM4A ", "MPEG-4"),
        "c.webm": (b"\x1a\x45\xdf\xa3", "Matroska"),
        "d.wma": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "Windows Media"),
        "e.amr": (b"#!AMR\n", "AMR"),
        "f": (b"\0\0\0\x18ftypmp42", "MPEG-4"),
        "g.aac": (b"\xff\xf1\x50\x80", "AAC"),
        "h.wav": (b"\x1a\x45\xdf\xa3", "not readable"),
    }
    for name, (head, _) in foreign.items():
        (tmp_path / name).write_bytes(head + bytes(range(256)))
    os.mkfifo(tmp_path / "i.wav")
    (tmp_path / "j.wav").symlink_to("/absent")
    texts = ["README.txt", "a.json", "labels.md", "text-16.txt"]
    for name in texts:
        (tmp_path / name).write_text("some words " * 50, encoding="utf-16" if "16" in name else "utf-8")
    os.mkfifo(tmp_path / "fifo")
    corpus = open_corpus(tmp_path)
    reasons = {item.path.rsplit("/", 1)[1]: item.reason for item in corpus.skipped}
    assert set(reasons) == {*foreign, "i.wav", "j.wav"}
    for name, (_, words) in foreign.items():
        assert words in reasons[name]
    assert "9 recordings skipped" in caplog.text and "1 recording, " in corpus.describe()


def test_a_name_that_is_not_utf_8_is_a_recording_like_others(tmp_path):
    write(tmp_path / "a.wav")
    raw = os.fsencode(tmp_path) + b"/caf\xe9"
    Path(os.fsdecode(raw)).mkdir()
    for name in (b"/\xff.wav", b"/b\n\x1b[31m.wav"):
        with open(raw + name, "wb") as file:  # noqa: PTH123 - a path of bytes
            file.write(encoded())
    with open(raw + b"/broken\xff.wav", "wb") as file:  # noqa: PTH123
        file.write(b"RIFF")
    for source in (tmp_path, os.fsdecode(raw)):
        corpus = open_corpus(source, check=True)
        names = [cut.id.rsplit("/", 1)[-1] for cut in corpus.cuts]
        assert {"\\xff.wav", "b\\x0a\\x1b[31m.wav"} <= set(names)
        assert corpus.skipped[0].path.endswith("caf\\xe9/broken\\xff.wav")
        corpus.describe().encode()
        assert len(corpus.fingerprint) == 64
        assert all(len(read_cut(cut)) == 16_000 for cut in corpus.cuts)


@pytest.mark.parametrize("name", ["c.jsonl", "cuts.000000.jsonl", "labels.tsv", "notes.txt"])
def test_errors_about_names_that_are_not_utf_8_can_be_printed(tmp_path, name):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / name).write_text("[not what it should be\n")
    (folder / "recording.000000.tar").write_bytes(b"no tar")
    source = folder / name if name == "c.jsonl" else folder
    with pytest.raises(SpeechpressError, match=r"caf\\xe9") as caught:
        open_corpus(source)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a.wav", "a.wav"), ("é.wav", "é.wav"), ("\udce9.wav", "\\xe9.wav"), ("é\udce9", "é\\xe9"), ("\ud800", "\\ud800")],
)
def test_readable_names(name, shown):
    assert readable_name(name) == shown


def test_two_names_that_read_the_same(tmp_path):
    write(tmp_path / "\\xe9.wav")
    with open(os.fsencode(tmp_path) + b"/\xe9.wav", "wb") as file:  # noqa: PTH123
        file.write(encoded())
    corpus = open_corpus(tmp_path)
    assert len(corpus.cuts) == 1 and "reads the same" in corpus.skipped[0].reason


def test_a_folder_that_cannot_be_opened_is_listed(tmp_path, monkeypatch):
    write(tmp_path / "a.wav")
    closed = tmp_path / "closed"
    closed.mkdir()
    scandir = os.scandir  # root may open every folder, so the system's refusal is made here

    def refusing(path):
        if os.fspath(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(closed))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert "cannot be opened" in open_corpus(tmp_path).skipped[0].reason


def wav_header(rate=16_000, channels=1, bits=16, size=32_000, form=1, total=None):
    body = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, form, channels, rate, rate * channels * bits // 8 & 0xFFFFFFFF, 2, bits
    )
    return (
        struct.pack("<4sI4s", b"RIFF", (total or size + 36) & 0xFFFFFFFF, b"WAVE")
        + body
        + struct.pack("<4sI", b"data", size)
    )


def flac_of(total, rate=16_000, channels=1):
    """A FLAC file whose header promises so many samples."""
    data = bytearray(encoded("FLAC"))
    packed = rate << 44 | (channels - 1) << 41 | 15 << 36 | total
    data[18:26] = packed.to_bytes(8, "big")
    return bytes(data)


def damaged():
    """60 files by name: (bytes, whether they may be read)."""
    files = {}
    draw = np.random.default_rng(0)
    for name in ("wav", "flac", "opus", "mp3", "caf", "sph"):
        whole = encoded(*KINDS[name])
        for share in (0.01, 0.1, 0.5, 0.99):
            files[f"cut-{share}.{name}"] = whole[: int(len(whole) * share)]
        for kind in range(3):
            flipped = bytearray(whole)
            for place in draw.integers(0, len(whole) if kind else 60, 40):
                flipped[place] ^= 1 << int(draw.integers(8))
            files[f"flip-{kind}.{name}"] = bytes(flipped)
    pcm = voice(1.0).astype("<f4").tobytes()
    files |= {
        "empty.wav": b"",
        "noise.wav": draw.bytes(10_000),
        "noise.mp3": b"\xff\xfb\x90\x64" + draw.bytes(10_000),
        "zeros.flac": bytes(10_000),
        "rate-0.wav": wav_header(rate=0) + bytes(32_000),
        "rate-1.wav": wav_header(rate=1) + bytes(32_000),
        "rate-2e31.wav": wav_header(rate=2**31 - 1) + bytes(32_000),
        "channels-0.wav": wav_header(channels=0) + bytes(32_000),
        "channels-1000.wav": wav_header(channels=1000) + bytes(320_000),
        "channels-65535.wav": wav_header(channels=65_535) + bytes(320_000),
        "bits-0.wav": wav_header(bits=0) + bytes(32_000),
        "size-4g.wav": wav_header(size=2**32 - 1) + bytes(32_000),
        "form-99.wav": wav_header(form=99) + bytes(32_000),
        "nan.wav": wav_header(bits=32, size=len(pcm), form=3) + np.full(16_000, np.nan, "<f4").tobytes(),
        "inf.wav": wav_header(bits=32, size=len(pcm), form=3) + np.full(16_000, np.inf, "<f4").tobytes(),
        "promise.flac": flac_of(2**36 - 1),
        "promise-8.flac": flac_of(2**36 - 1, channels=8),
        "rate-655350.flac": flac_of(16_000, rate=655_350),
        "id3.mp3": b"ID3\x03\0\0\x7f\x7f\x7f\x7f" + bytes(1_000),
        "two-in-one.mp3": encoded("MP3") + encoded("MP3", None, voice(1.0, 44_100), 44_100),
        "xing.mp3": encoded("MP3").replace(b"Info", b"Xing").replace(b"Xing", b"Xing\0\0\0\x01\x7f\xff\xff\xff"),
    }
    return files


def test_damaged_and_odd_files(tmp_path):
    """Executed 0, traces 0, hangs 0, over 1 GB 0; what is accepted is finite and as long as it says."""
    files = damaged()
    assert len(files) >= 60
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with listening() as heard:
        for name, data in files.items():
            folder = tmp_path / name
            folder.mkdir()
            (folder / name).write_bytes(data)
            begun = time.perf_counter()
            try:
                corpus = open_corpus(folder, check=True)
            except SpeechpressError as error:
                assert name in str(error)
            else:
                for cut in corpus.cuts:
                    samples = read_cut(cut)
                    assert np.isfinite(samples).all() and len(samples) == round(cut.duration * 16_000), name
                    assert 0.1 <= cut.duration < 4, name
            assert time.perf_counter() - begun < 5, name
    assert heard == []
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 500


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rate-1.wav", "is 1 Hz; from 1000 to 1000000 Hz"),
        ("rate-2e31.wav", "is 2147483647 Hz"),
        ("channels-1000.wav", "has 1000 channels; at most 256"),
        ("promise.flac", "promises samples that are not there"),
        ("nan.wav", "NaN"),
        ("noise.mp3", "no frames follow"),
        ("two-in-one.mp3", "another rate"),
    ],
)
def test_the_reason_is_the_right_one(tmp_path, name, words):
    (tmp_path / name).write_bytes(damaged()[name])
    with pytest.raises(SpeechpressError, match=words):
        open_corpus(tmp_path, check=True)


def test_a_file_that_is_too_long_for_memory_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", 2.0)
    monkeypatch.setattr("speechpress.runtime.sound.sound_file.MAX_WHOLE_SAMPLES", 20_000)
    with pytest.raises(UnreadableAudio, match="cut it into pieces"):
        read_audio(path)
    with open_sound(str(path), "a") as file:
        assert len(read_mono(file, "a", 20_000)) == 20_000
