"""Corpora that the libraries of other toolkits wrote themselves."""

import numpy as np
import pytest
from lhotse import CutSet, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.kaldi import export_to_kaldi
from written import RATES, TEXTS, save, wav_bytes, waves

from speechpress.compressor.data.audio import read_cut
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.labels import label, speakers
from speechpress.runtime.errors import SpeechpressError

NAMES, SPEAKERS = ("a.wav", "b.wav", "c.wav"), ("ann", "bob", "ann")


def check(corpus, texts=TEXTS, people=SPEAKERS):
    """All three recordings as they were made: samples, rates, texts, speakers."""
    assert not corpus.skipped and not corpus.notes
    cuts = sorted(corpus.cuts, key=lambda cut: cut.duration)
    assert [cut.sampling_rate for cut in cuts] == list(RATES)
    for cut, wave, rate in zip(cuts, waves(), RATES, strict=True):
        if rate == 16_000:
            np.testing.assert_allclose(read_cut(cut), wave, atol=1 / 32_000)
        assert abs(cut.duration - len(wave) / rate) < 1e-3
    if texts:
        assert [label(cut, "text") for cut in cuts] == list(texts)
    if people:
        assert [next(iter(speakers(cut))) for cut in cuts] == list(people)


def recordings(root):
    paths, _ = save(root / "audio", NAMES)
    found = RecordingSet.from_dir(root / "audio", "*.wav")
    said = [
        SupervisionSegment(f"u-{path.stem}", path.stem, 0.0, found[path.stem].duration, text=text, speaker=speaker)
        for path, text, speaker in zip(paths, TEXTS, SPEAKERS, strict=True)
    ]
    return found, SupervisionSet.from_segments(said)


@pytest.fixture(scope="module")
def hf():
    """The library `datasets`."""
    return pytest.importorskip("datasets")


def table(hf, folder):
    """A Dataset with the sounds inside."""
    paths, _ = save(folder, NAMES)
    rows = {
        "audio": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
        "text": list(TEXTS),
        "speaker_id": list(SPEAKERS),
        "kind": [0, 1, 0],
    }
    features = {
        "text": hf.Value("string"),
        "speaker_id": hf.Value("string"),
        "kind": hf.ClassLabel(names=["read", "free"]),
    }
    sound = {"bytes": hf.Value("binary"), "path": hf.Value("string")}
    made = hf.Dataset.from_dict(rows, hf.Features({"audio": sound, **features}))
    # By its storage: to encode a sound, datasets 5 wants torchcodec.
    return made.cast_column("audio", hf.Audio(decode=False))


def test_datasets_save_to_disk(hf, tmp_path):
    made = table(hf, tmp_path / "audio")
    made.save_to_disk(tmp_path / "plain", num_shards=2)
    corpus = open_corpus(tmp_path / "plain")
    check(corpus)
    assert sorted(label(cut, "kind") for cut in corpus.cuts) == ["free", "read", "read"]
    hf.DatasetDict({"train": made, "test": made.select([0])}).save_to_disk(tmp_path / "parts")
    check(open_corpus(f"datasets:{tmp_path / 'parts'}#train"))
    (tmp_path / "plain" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(SpeechpressError, match=r"data-00001-of-00002\.arrow"):
        open_corpus(tmp_path / "plain")


def test_datasets_to_parquet(hf, tmp_path):
    (tmp_path / "data").mkdir()
    table(hf, tmp_path / "audio").to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    check(open_corpus(f"datasets:{tmp_path}"))
    table(hf, tmp_path / "audio").remove_columns("audio").to_parquet(tmp_path / "silent.parquet")
    with pytest.raises(SpeechpressError, match="has no column of audio"):
        open_corpus(tmp_path / "silent.parquet")


def test_webdataset_writes(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    with webdataset.ShardWriter(str(tmp_path / "train-%06d.tar"), maxcount=2, verbose=0) as sink:
        for index, (wave, rate) in enumerate(zip(waves(), RATES, strict=True)):
            said = {"speaker_id": SPEAKERS[index]}
            sink.write({"__key__": f"{index:04d}", "wav": wav_bytes(wave, rate), "txt": TEXTS[index], "json": said})
    check(open_corpus(f"webdataset:{tmp_path}#train"))
    tars = sorted(tmp_path.glob("*.tar"))
    tars[0].write_bytes(tars[0].read_bytes()[: tars[0].stat().st_size // 2])
    corpus = open_corpus(f"webdataset:{tmp_path}#train")
    assert len(corpus.cuts) < 3 and "lost" in corpus.skipped[0].reason


def test_lhotse_exports_to_kaldi(tmp_path):
    export_to_kaldi(*recordings(tmp_path), tmp_path / "kaldi")
    check(open_corpus(tmp_path / "kaldi"))
    (tmp_path / "kaldi" / "wav.scp").unlink()
    with pytest.raises(SpeechpressError, match=r"has no wav\.scp"):
        open_corpus(f"kaldi:{tmp_path / 'kaldi'}")


def test_lhotse_writes_cuts_recordings_and_shar(tmp_path):
    found, said = recordings(tmp_path)
    cuts = CutSet.from_manifests(found, said)
    cuts.to_file(tmp_path / "cuts.jsonl.gz")
    check(open_corpus(tmp_path / "cuts.jsonl.gz"))
    found.to_file(tmp_path / "recordings.jsonl")
    check(open_corpus(tmp_path / "recordings.jsonl"), texts=(), people=())
    (tmp_path / "shar").mkdir()
    cuts.to_shar(tmp_path / "shar", fields={"recording": "wav"}, shard_size=2)
    check(open_corpus(tmp_path / "shar"))
