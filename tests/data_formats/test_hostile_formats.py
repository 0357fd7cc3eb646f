"""Corpora of strangers, in every format: nothing runs, connects, waits or leads out; damage is told, never a trace."""

import io
import json
import os
import random
import tarfile
from pathlib import Path

import pytest
from hostile import WRONG, listening
from lhotse.kaldi import load_kaldi_data_dir
from written import FORMATS, add, common_voice, fairseq, hostile_name, kaldi, nemo, save, wav_bytes, waves, webdataset

from speechpress.compressor.data.audio import read_cut
from speechpress.compressor.data.corpus import open_corpus
from speechpress.runtime.errors import SpeechpressError

MARK = "owned"
# What a table might name instead of a file of its corpus; {owned} is made by whoever runs it.
PLACES = {
    "a command": "touch {owned} |",
    "a command in front": "| touch {owned}",
    "a command with spaces behind": "cat a.wav; touch {owned} |  ",
    "a shell in a name": "x'; touch {owned}; '.wav",
    "a pipe as a file": "pipe:touch {owned}",
    "an address": "http://127.0.0.1:9/a.wav",
    "a bucket": "s3://bucket/a.wav",
    "standard input": "-",
    "a device": "/dev/zero",
    "a fifo": "{fifo}",
    "a secret": "/etc/passwd",
    "the way up": "../../outside.wav",
    "a folder": "/",
    "an archive": "/x/feats.ark:1234",
}
# In these, files lie below one folder; the others may name any file of the machine, as Lhotse's manifests may.
INSIDE = ("fairseq", "common_voice")


def with_place(name, root, place):
    """A corpus whose first recording is named by `place`."""
    made = FORMATS[name](root)
    if name == "fairseq":
        edit(made.source, lambda lines: [lines[0], f"{place}\t12800", *lines[2:]])
    elif name == "kaldi":
        edit(made.source / "wav.scp", lambda lines: [f"u1 {place}", *lines[1:]])
    elif name == "nemo":
        edit(made.source, lambda lines: [json.dumps({**json.loads(lines[0]), "audio_filepath": place}), *lines[1:]])
    else:
        edit(root / "train.tsv", lambda lines: [lines[0], lines[1].replace("a.wav", place), *lines[2:]])
    return made.source


def edit(path, change):
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", ["fairseq", "kaldi", "nemo", "common_voice"])
def test_no_place_runs_connects_waits_or_leads_out(name, tmp_path):
    owned, fifo = tmp_path / MARK, tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "outside.wav").write_bytes(wav_bytes(waves()[0], 16_000))
    for index, (kind, place) in enumerate(PLACES.items()):
        if kind == "the way up" and name not in INSIDE:
            continue
        root = tmp_path / "x" / str(index) / "y"
        root.mkdir(parents=True)
        (root.parent.parent / "outside.wav").write_bytes(wav_bytes(waves()[0], 16_000))
        with listening() as heard:
            corpus = open_corpus(with_place(name, root, place.format(owned=owned, fifo=fifo)), check=True)
        assert heard == [] and not owned.exists(), kind
        assert len(corpus.cuts) == 2 and len(corpus.skipped) == 1, kind
        reason = corpus.skipped[0].reason
        if kind.startswith("a command"):
            assert "shell command" in reason
        if kind in ("an address", "a bucket"):
            assert "address" in reason
        if kind == "the way up":
            assert "leads out of the corpus" in reason


def test_lhotse_itself_would_run_it(tmp_path):
    """The danger is real: Lhotse takes over the same line, and runs it to get the audio."""
    source = with_place("kaldi", tmp_path, f"touch {tmp_path / MARK} |")
    (source / "reco2dur").write_text("u1 0.8\nu2 1.1\nu3 1.4\n")
    recordings, _, _ = load_kaldi_data_dir(source, 16_000)
    with listening() as heard, pytest.raises(Exception, match=r"."):
        recordings["u1"].load_audio()
    assert "subprocess.Popen" in heard and (tmp_path / MARK).exists()


def test_a_command_is_refused_by_name_and_line(tmp_path):
    corpus = open_corpus(with_place("kaldi", tmp_path, "sox a.wav -t wav - |"))
    skipped = corpus.skipped[0]
    assert skipped.path.endswith("wav.scp:1") and "recording 'u1' would run a shell command" in skipped.reason


@pytest.mark.parametrize("key", ["audio_filepath", "duration", "offset", "text", "speaker"])
def test_every_field_of_nemo_with_every_wrong_value(key, tmp_path):
    made = nemo(tmp_path)
    first, *rest = made.source.read_text().splitlines()
    for value in WRONG:
        made.source.write_text("\n".join([json.dumps({**json.loads(first), key: value}), *rest]) + "\n")
        with listening() as heard:
            try:
                cuts = open_corpus(made.source).cuts
            except SpeechpressError as error:
                assert "train.jsonl:1" in str(error)
                continue
        assert heard == []
        for cut in cuts:
            assert 0 < cut.duration <= 1.5 and len(read_cut(cut)) > 1000


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("segments", "s u1 nan 1", "is not a part"),
        ("segments", "s u1 0 inf", "is not a part"),
        ("segments", "s u1 -1 1", "is not a part"),
        ("segments", "s u1 0.5 0.5", "is not a part"),
        ("segments", "s u1 1e300 1e301", "is not a part"),
        ("segments", "s u1", "must be an utterance"),
        ("segments", "s u1 zero one", "must be an utterance"),
        ("wav.scp", "u9", "says nothing of"),
        ("wav.scp", "u1 a.wav\nu1 b.wav", "occurs twice"),
    ],
)
def test_lines_of_kaldi_that_are_none(file, line, words, tmp_path):
    made = kaldi(tmp_path)
    (made.source / file).write_text(line + "\n")
    with pytest.raises(SpeechpressError, match=rf"{file}:\d: .*{words}"):
        open_corpus(made.source)


@pytest.mark.parametrize("frames", ["-1", "1e3", "nan", "9" * 30, "", "0x10", "١٢", "²"])
def test_frames_of_fairseq_that_are_none(frames, tmp_path):
    made = fairseq(tmp_path)
    edit(made.source, lambda lines: [*lines[:2], f"deep/b.wav\t{frames}"])
    with pytest.raises(SpeechpressError, match=r"train\.tsv:3: not a line of a fairseq manifest"):
        open_corpus(f"fairseq:{made.source}")


def test_names_that_are_no_utf8(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    path = hostile_name(folder)
    (tmp_path / "train.tsv").write_bytes(os.fsencode(folder) + b"\n" + path.rpartition(b"/")[2] + b"\t16000\n")
    (tmp_path / "kaldi").mkdir()
    (tmp_path / "kaldi" / "wav.scp").write_bytes(b"u\xff1 " + path + b"\n")
    for source in (tmp_path / "train.tsv", tmp_path / "kaldi"):
        corpus = open_corpus(source, check=True)
        assert len(corpus.cuts) == 1 and corpus.describe().encode()
        corpus.cuts[0].id.encode()
    (tmp_path / "kaldi" / "text").write_bytes(b"u\xff1 \xff\xfe\n")
    with pytest.raises(SpeechpressError, match="is not UTF-8"):
        open_corpus(tmp_path / "kaldi")
    voices = common_voice(made_folder(tmp_path / "cv"))
    (tmp_path / "cv" / "train.tsv").write_bytes((tmp_path / "cv" / "train.tsv").read_bytes() + b"x\t\xff\xfe.wav\n")
    with pytest.raises(SpeechpressError, match="not a UTF-8 table"):
        open_corpus(voices.source)


def made_folder(path):
    path.mkdir()
    return path


def files_of(source):
    """The files that a format's reader opens, without the plain audio."""
    path = Path(str(source).partition("datasets:")[2].partition("#")[0] or source)
    files = [path] if path.is_file() else [item for item in sorted(path.rglob("*")) if item.is_file()]
    return [item for item in files if item.suffix not in (".wav", ".opus")]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_cut_and_flipped_files_are_told_or_read(name, tmp_path):
    """Each file of a format cut and changed at drawn places: our error, or recordings that can be read."""
    made = FORMATS[name](tmp_path)
    draw = random.Random(name)
    for file in files_of(made.source):
        whole = file.read_bytes()
        for damage in range(8):
            changed = bytearray(whole)
            if damage % 2:
                changed = changed[: draw.randrange(len(whole))]
            for _ in range(3 if changed else 0):
                # The beginning too, where what a file says of itself stands.
                changed[draw.randrange(min(len(changed), draw.choice((64, 2000, 10**9))))] = draw.randrange(256)
            file.write_bytes(changed)
            with listening() as heard:
                opened_or_told(made.source)
            assert heard == []
        file.write_bytes(whole)
    assert len(open_corpus(made.source).cuts) == 3


def opened_or_told(source):
    try:
        corpus = open_corpus(source, check=True)
    except SpeechpressError as error:
        str(error).encode()
        return
    corpus.describe().encode()
    for cut in corpus.cuts:
        assert cut.duration < 10 and len(read_cut(cut)) > 1000


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_pipe_or_a_device_for_a_file_of_the_format(name, tmp_path):
    made = FORMATS[name](tmp_path)
    for file in files_of(made.source):
        whole = file.read_bytes()
        for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
            file.unlink()
            make(file)
            opened_or_told(made.source)
        file.unlink()
        file.write_bytes(whole)


def test_a_tar_that_ends_in_the_middle_gives_what_is_whole(tmp_path):
    made = webdataset(tmp_path)
    tar = tmp_path / "train-000000.tar"
    with tarfile.open(tar) as archive:
        last = archive.getmembers()[-3]
    tar.write_bytes(tar.read_bytes()[: last.offset_data + 1000])
    corpus = open_corpus(made.source, check=True)
    assert len(corpus.cuts) == 2 and "d/0002.audio is cut off" in corpus.skipped[0].reason
    assert corpus.describe().count("1 skipped") == 1


def test_a_damaged_header_in_the_middle_of_a_tar_is_told(tmp_path):
    webdataset(tmp_path)
    tar = tmp_path / "train-000000.tar"
    with tarfile.open(tar) as archive:
        place = archive.getmembers()[3].offset
    content = bytearray(tar.read_bytes())
    content[place : place + 512] = b"x" * 512
    tar.write_bytes(content)
    corpus = open_corpus(tmp_path, check=True)
    assert len(corpus.cuts) == 1 and "damaged behind its last whole member" in corpus.skipped[0].reason


def test_links_devices_and_names_in_a_tar_lead_nowhere(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "../../evil.wav", wav_bytes(waves()[0], 16_000))
        for name, kind in (("l.wav", tarfile.SYMTYPE), ("h.wav", tarfile.LNKTYPE), ("c.wav", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    corpus = open_corpus(tmp_path, check=True)
    assert len(corpus.cuts) == 1 and len(corpus.skipped) == 3
    assert all("a link or a device" in item.reason for item in corpus.skipped)
    assert sorted(path.name for path in tmp_path.parent.rglob("evil*")) == []


def test_a_negative_size_in_a_tar_does_not_hang(tmp_path):
    """Python's own reader goes in circles there (CVE-2025-8194)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, "a.wav", wav_bytes(waves()[0], 16_000))
        member = tarfile.TarInfo("b.wav")
        member.pax_headers = {"size": "-1024"}
        archive.addfile(member)
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    corpus = open_corpus(tmp_path)
    assert len(corpus.cuts) == 1 and "is not possible" in corpus.skipped[0].reason


@pytest.mark.parametrize("path", ["/etc/passwd", "../outside.wav", "http://x/a.wav", "touch owned |"])
def test_paths_in_a_data_set_stay_inside(path, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = made_folder(tmp_path / "set")
    save(folder, ("here.wav", "b.wav", "c.wav"))
    save(tmp_path, ("outside.wav", "b.wav", "c.wav"))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": None, "path": path}, {"bytes": None, "path": "here.wav"}, {"bytes": None, "path": None}, None]
    pq.write_table(pa.table([pa.array(rows, kind)], ["audio"]), folder / "train.parquet")
    with listening() as heard:
        corpus = open_corpus(f"datasets:{folder}", check=True)
    assert heard == [] and len(corpus.cuts) == 1 and len(corpus.skipped) == 3
    assert "refused" in corpus.skipped[0].reason
