"""A corpus in S3 or behind a web server gives what it gives on the disk, or one clear error."""

import gzip
import json
import logging
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from served import KEY, SECRET, Files, as_files, s3_app, serving, upload
from sounds import write

from speechpress.compressor.data.batches import Batches
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.formats.choose import parse_source
from speechpress.compressor.data.remote import reader, store
from speechpress.compressor.data.remote.errors import RemoteError
from speechpress.compressor.data.to_shar import SharOptions, write_shar
from speechpress.runtime.errors import SpeechpressError

NAMES = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "FSSPEC_S3_ANON", "AWS_ENDPOINT_URL")


@pytest.fixture(scope="module")
def shar(tmp_path_factory):
    """14 recordings in three shards."""
    root = tmp_path_factory.mktemp("corpus")
    for index in range(14):
        write(root / "audio" / f"{index:02d}.wav", 0.6 + 0.1 * index, seed=index)
    write_shar([root / "audio"], SharOptions(root / "shar", per_shard=5))
    return root / "shar"


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache, no connection from an earlier test, short pauses; returns how to set up another cache."""

    def anew(gigabytes="1", home=tmp_path / "cache"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(home))
        monkeypatch.setenv("SPEECHPRESS_DATA_CACHE_GB", gigabytes)
        store.forget()
        reader._reader.cache_clear()

    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    anew()
    yield anew
    store.forget()
    reader._reader.cache_clear()


@pytest.fixture(scope="module")
def bucket(shar):
    """(faults, address of the corpus) of a server of S3, in whose environment the tests run."""
    with serving(s3_app()) as (faults, address), pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ENDPOINT_URL_S3", address)
        patch.setenv("AWS_ACCESS_KEY_ID", KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/nowhere")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        yield faults, upload(shar, "speech", "a/shar")


@pytest.fixture(autouse=True)
def whole(request):
    if "bucket" in request.fixturenames:
        faults, _ = request.getfixturevalue("bucket")
        faults.plan, faults.asked = [], []


def batches(source, at_batch=0, number=12, batch=3, **more):
    stream = Batches(open_corpus(source).cuts, batch=batch, crop_s=1.0, seed=3, **more).start(at_batch)
    found = list(islice(stream, number))
    stream.close()
    return [(one.index, one.epoch, one.ids, one.waves) for one in found]


def check_same(found, expected):
    assert [one[:3] for one in found] == [one[:3] for one in expected]
    assert all(torch.equal(one[3], other[3]) for one, other in zip(found, expected, strict=True))


@pytest.fixture(scope="module")
def local(shar):
    return batches(shar)


@pytest.mark.parametrize("gigabytes", ["1", "0.0004", "0"])  # blocks; recordings, of which some are kept; nothing kept
def test_the_same_batches_as_from_the_disk_and_from_any_batch_on(shar, bucket, fresh, local, gigabytes):
    fresh(gigabytes)
    there, here = open_corpus(bucket[1]), open_corpus(shar)
    assert there.fingerprint == here.fingerprint and there.source == bucket[1]
    check_same(batches(bucket[1]), local)
    check_same(batches(bucket[1], at_batch=7, number=5, workers=0), local[7:12])


def test_what_was_read_once_is_not_asked_for_again(bucket, fresh, local):
    batches(bucket[1])
    fresh()  # another run, with the same cache
    bucket[0].asked.clear()
    check_same(batches(bucket[1]), local)
    assert bucket[0].count(ending=".tar") == 0 and bucket[0].count(ending=".gz") == 0
    assert bucket[0].count() <= 2  # the list of what is there


@pytest.mark.parametrize("fault", ["503", "cut", "slow", "trickle"])
def test_a_busy_slow_or_broken_server_changes_nothing(bucket, fresh, local, monkeypatch, caplog, fault):
    monkeypatch.setattr(store, "READ_S", 0.5)  # a slow answer takes a second
    store.forget()
    bucket[0].plan = [fault, "", fault, fault, "", "", fault] + ["", fault] * (0 if fault == "slow" else 20)
    with caplog.at_level(logging.WARNING):
        check_same(batches(bucket[1]), local)
    tries = [record.message for record in caplog.records if "try 2 of 6" in record.message]
    assert bool(tries) == (fault != "trickle") and all(text.startswith("s3://speech/a/shar") for text in tries)


def test_a_server_that_stays_away_ends_in_one_error_and_the_run_goes_on_later(bucket, fresh, local, monkeypatch):
    fresh("0")
    monkeypatch.setattr(store, "TRIES", 3)
    stream = Batches(open_corpus(bucket[1]).cuts, batch=3, crop_s=1.0, seed=3, workers=2).start(0)
    monkeypatch.setattr(reader, "AHEAD_JOBS", 2)
    seen = [next(stream)]
    bucket[0].plan = ["503"] * 10_000
    with pytest.raises(RemoteError, match=r"s3://speech/a/shar/recording.*tried 3 times .*--resume") as error:
        seen.extend(stream)
    assert SECRET not in str(error.value)
    bucket[0].plan = []
    check_same(batches(bucket[1], at_batch=len(seen), number=4), local[len(seen) : len(seen) + 4])


def test_a_cache_that_is_bounded_damaged_or_cannot_be_written(bucket, fresh, local, tmp_path, caplog):
    fresh("0.0003")
    batches(bucket[1])
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in kept) <= 300_000 * 33 / 32
    fresh()
    batches(bucket[1])
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    fresh()
    with pytest.raises(SpeechpressError, match="SPEECHPRESS_DATA_CACHE_GB=much: must be a number"):
        fresh("much")
        open_corpus(bucket[1])
    (tmp_path / "file").write_text("in the way")
    fresh("1", tmp_path / "file")
    check_same(batches(bucket[1]), local)
    assert "nothing is kept there any more" in caplog.text


def test_what_changes_while_it_is_read_is_refused(shar, bucket, fresh):
    fresh("0")
    address = upload(shar, "changing", "shar")
    corpus = open_corpus(address)
    tar = (shar / "recording.000000.tar").read_bytes()
    import boto3

    boto3.client("s3").put_object(Bucket="changing", Key="shar/recording.000000.tar", Body=tar + bytes(512))
    with pytest.raises(RemoteError, match=r"recording\.000000\.tar: was changed (since|while)"):
        list(islice(Batches(corpus.cuts, batch=14, crop_s=1.0, workers=0).start(0), 3))


def test_a_tar_that_was_cut_in_the_middle_is_told_before_the_run(shar, bucket, fresh):
    address = upload(shar, "cut", "shar")
    import boto3

    tar = (shar / "recording.000001.tar").read_bytes()
    boto3.client("s3").put_object(Bucket="cut", Key="shar/recording.000001.tar", Body=tar[: len(tar) // 2])
    with pytest.raises(
        SpeechpressError, match=r"s3://cut/shar/recording\.000001\.tar: the tar cannot be read to its end"
    ):
        open_corpus(address)
    boto3.client("s3").delete_object(Bucket="cut", Key="shar/recording.000001.tar")
    with pytest.raises(
        SpeechpressError, match=r"cuts\.000001\.jsonl\.gz: .*recording\.000001\.tar, which is not there"
    ):
        open_corpus(address)


def test_no_bucket_no_folder_no_credentials(bucket, fresh, monkeypatch):
    with pytest.raises(RemoteError, match="there is no bucket nowhere-at-all"):
        open_corpus("s3://nowhere-at-all/shar")
    with pytest.raises(SpeechpressError, match="s3://speech/b: there is no such file or folder"):
        open_corpus("s3://speech/b")
    with pytest.raises(SpeechpressError, match="s3://speech/a: holds no Shar shards"):
        open_corpus("s3://speech/a")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    store.forget()
    with pytest.raises(RemoteError, match="no credentials were found; set AWS_ACCESS_KEY_ID"):
        open_corpus(bucket[1])


class Elsewhere:
    """A server of S3 whose bucket lies in another region; `opens`: and it can be read by who asks there."""

    def __init__(self, opens):
        self.app, self.opens = s3_app(), opens

    def __call__(self, environ, start):
        if self.opens and "/eu-west-1/" in environ.get("HTTP_AUTHORIZATION", ""):
            return self.app(environ, start)
        body = b"<Error><Code>PermanentRedirect</Code><Message>use the specified endpoint</Message></Error>"
        region = ("x-amz-bucket-region", "eu-west-1")
        start("301 Moved Permanently", [("Content-Length", str(len(body))), region])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def test_a_bucket_in_another_region(shar, bucket, fresh, local, monkeypatch):
    upload(shar, "abroad", "shar")  # moto has one memory behind all its servers
    with serving(Elsewhere(opens=True)) as (_, address):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        store.forget()
        check_same(batches("s3://abroad/shar"), local)
    fresh()
    with serving(Elsewhere(opens=False)) as (_, address):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        store.forget()
        with pytest.raises(RemoteError, match=r"the bucket abroad lies in another region .*AWS_DEFAULT_REGION"):
            open_corpus("s3://abroad/shar")


@pytest.mark.parametrize("pages", [True, False])  # a list of links, or what `compress data` wrote down
def test_shar_behind_a_web_server(shar, fresh, local, pages):
    files = as_files(shar, "/deep/shar/")
    if pages:
        files = {name: body for name, body in files.items() if not name.endswith(".json")}
    with serving(Files(files, pages=pages)) as (faults, address):
        faults.plan = ["", "503", "", "", "cut", "", "cut"] if not pages else ["", "503", "", "cut"]
        assert open_corpus(f"{address}/deep/shar/").fingerprint == open_corpus(shar).fingerprint
        check_same(batches(f"shar:{address}/deep/shar"), local)


def test_a_web_server_that_cannot_do_it(shar, fresh):
    files = as_files(shar, "/shar/")
    bare = {name: body for name, body in files.items() if not name.endswith(".json")}
    with (
        serving(Files(bare, pages=False)) as (_, address),
        pytest.raises(SpeechpressError, match=r"neither lists what is there nor has cuts\.summary\.json"),
    ):
        open_corpus(f"{address}/shar")
    fresh("0")  # a small file that is kept is asked for as a whole anyway
    with (
        serving(Files(files, ranges=False)) as (_, address),
        pytest.raises(SpeechpressError, match="sends whole files where a part is asked for"),
    ):
        open_corpus(f"{address}/shar")
    summary = json.loads(files["/shar/cuts.summary.json"]) | {"complete": False}
    with (
        serving(Files({**files, "/shar/cuts.summary.json": json.dumps(summary).encode()})) as (_, address),
        pytest.raises(SpeechpressError, match="not all shards were written"),
    ):
        open_corpus(f"{address}/shar")


def line(name, source, kind="file", samples=16_000):
    recording = {
        "id": name,
        "sources": [{"type": kind, "channels": [0], "source": source}],
        "sampling_rate": 16_000,
        "num_samples": samples,
        "duration": samples / 16_000,
    }
    return json.dumps(recording)


def test_a_manifest_names_files_of_its_own_host_only(tmp_path, fresh):
    for index in range(3):
        write(tmp_path / "audio" / f"{index}.wav", 1.0, seed=index)
    files = as_files(tmp_path, "/c/")
    with serving(Files(files)) as (faults, address), serving(Files(files)) as (other, elsewhere):
        named = [
            line("a", "audio/0.wav"),
            line("b", f"{address}/c/audio/1.wav", "url"),
            line("c", f"{elsewhere}/c/audio/2.wav", "url"),
            line("d", "/etc/passwd"),
            line("e", "../secret.wav"),
            line("f", "audio/missing.wav"),
            line("g", "touch x", "command"),
        ]
        files["/c/cuts.jsonl.gz"] = gzip.compress("\n".join(named).encode())
        corpus = open_corpus(f"{address}/c/cuts.jsonl.gz")
        assert [cut.id for cut in corpus.cuts] == ["a", "b"]
        reasons = [item.reason for item in corpus.skipped]
        assert sum("not in its manifest's own bucket" in reason for reason in reasons) == 3
        assert sum("there is no such file" in reason for reason in reasons) == 1
        assert sum("would run a shell command" in reason for reason in reasons) == 1
        assert not other.asked and not any("passwd" in path for _, path, _ in faults.asked)
        from speechpress.compressor.data.audio import read_audio, read_cut

        for cut, name in zip(corpus.cuts, ("0.wav", "1.wav"), strict=True):
            np.testing.assert_array_equal(read_cut(cut), read_audio(tmp_path / "audio" / name))


def test_shards_of_shards_are_the_same_bytes(shar, bucket, fresh, tmp_path):
    for name, source in (("here", shar), ("there", parse_source(bucket[1]).path)):  # a Path, as options hold it
        write_shar([source], SharOptions(tmp_path / name, per_shard=5))
    for path in shar.glob("*[lr].*"):
        assert (tmp_path / "here" / path.name).read_bytes() == (tmp_path / "there" / path.name).read_bytes()


def test_addresses_as_people_and_paths_write_them():
    for text in ("s3://b/x/", "s3a://b/x", Path("s3://b/x"), "S3://b/x"):
        assert parse_source(text).address == parse_source(text).name == "s3://b/x"
    assert (
        parse_source("shar:gs://b/x") == parse_source("shar:gcs://b/x")
        and parse_source("shar:gs://b/x").reading == "shar"
    )
    assert parse_source("https:/host/x").address == "https://host/x"
    for text in ("https://me:word@host/x", "https://host/x?X-Amz-Signature=word", "s3://b/../x"):
        with pytest.raises(SpeechpressError) as error:
            parse_source(text)
        assert "word" not in str(error.value) or "password" in str(error.value).replace("me:word", "")
    with pytest.raises(SpeechpressError, match="s3://b/x: is read as shar, and cannot be read as kaldi"):
        open_corpus("kaldi:s3://b/x")


def test_google_without_its_package(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(RemoteError, match=r"pip install 'speechpress\[gcs\]'"):
        open_corpus("gs://b/x")
