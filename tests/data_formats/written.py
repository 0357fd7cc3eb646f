"""The same few recordings, written as a corpus of every toolkit."""

import io
import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from sounds import voice

RATES = (16_000, 8_000, 44_100)
TEXTS = ("one two", "drei „vier“", "five")


@dataclass
class Made:
    """What was written: what to open, and the sound, text and speaker of each recording."""

    source: Path | str
    waves: list[np.ndarray] = field(default_factory=list)
    rates: tuple[int, ...] = RATES
    texts: tuple[str, ...] = TEXTS
    speakers: tuple[str, ...] = ("ann", "bob", "ann")


def wav_bytes(wave, rate):
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def waves():
    return [voice(0.8 + 0.3 * index, rate, index) for index, rate in enumerate(RATES)]


def save(folder, names=("a.wav", "deep/b.wav", "c.wav")):
    """The recordings as files; (paths, waves)."""
    paths, made = [folder / name for name in names], waves()
    for path, wave, rate in zip(paths, made, RATES, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav_bytes(wave, rate))
    return paths, made


def fairseq(root):
    paths, made = save(root / "audio")
    lines = [str(root / "audio")]
    lines += [f"{path.relative_to(root / 'audio')}\t{len(wave)}" for path, wave in zip(paths, made, strict=True)]
    (root / "train.tsv").write_text("\n".join(lines) + "\n")
    return Made(root / "train.tsv", made, texts=(), speakers=())


def kaldi(root):
    paths, made = save(root / "audio")
    folder = root / "train"
    folder.mkdir()
    names = ("u1", "u2", "u3")
    for name, values in {"wav.scp": paths, "text": TEXTS, "utt2spk": ("ann", "bob", "ann")}.items():
        (folder / name).write_text("".join(f"{key} {value}\n" for key, value in zip(names, values, strict=True)))
    return Made(folder, made)


def nemo(root):
    paths, made = save(root / "audio")
    lines = [
        {"audio_filepath": f"audio/{path.relative_to(root / 'audio')}", "duration": len(wave) / rate, "text": text}
        for path, wave, rate, text in zip(paths, made, RATES, TEXTS, strict=True)
    ]
    for line, speaker in zip(lines, ("ann", "bob", "ann"), strict=True):
        line["speaker"] = speaker
    (root / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Made(root / "train.jsonl", made)


def audio_folder(root, kind="jsonl"):
    paths, made = save(root)
    rows = [
        {"file_name": str(path.relative_to(root)), "text": text, "speaker_id": speaker}
        for path, text, speaker in zip(paths, TEXTS, ("ann", "bob", "ann"), strict=True)
    ]
    if kind == "jsonl":
        (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return Made(root, made)


def audio_folder_csv(root):
    return audio_folder(root, "csv")


def common_voice(root, tables=("train",)):
    paths, made = save(root / "clips", ("a.wav", "b.wav", "c.wav"))
    header = "client_id\tpath\tsentence\tup_votes\tage\tgender\taccents\tlocale"
    rows = [
        f"{speaker}\t{path.name}\t{text}\t2\ttwenties\t\t\tde"
        for path, text, speaker in zip(paths, TEXTS, ("ann", "bob", "ann"), strict=True)
    ]
    for name in tables:
        (root / f"{name}.tsv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return Made(root, made)


def sound_table(repeat=1):
    """(table, waves): audio as `datasets` keeps it, with text and the number of a class."""
    import pyarrow as pa

    made = waves()
    rows = [{"bytes": wav_bytes(wave, rate), "path": f"{rate}.wav"} for wave, rate in zip(made, RATES, strict=True)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"speaker_id": {"_type": "ClassLabel", "names": ["ann", "bob"]}}
    columns = [
        pa.array(rows * repeat, kind),
        pa.array(list(TEXTS) * repeat),
        pa.array([0, 1, 0] * repeat, pa.int64()),
    ]
    table = pa.table(columns, ["audio", "sentence", "speaker_id"])
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), made


def datasets_arrow(root):
    """As `save_to_disk` writes a Dataset."""
    import pyarrow as pa

    table, made = sound_table()
    with pa.ipc.new_stream(root / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (root / "dataset_info.json").write_text("{}")
    return Made(root, made)


def datasets_dict(root):
    """As `save_to_disk` writes a DatasetDict."""
    for split in ("test", "train"):
        (root / split).mkdir()
        made = datasets_arrow(root / split).waves
    (root / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return Made(f"datasets:{root}#train", made)


def datasets_parquet(root):
    """As on the Hub."""
    import pyarrow.parquet as pq

    table, made = sound_table()
    (root / "data").mkdir()
    pq.write_table(table, root / "data" / "train-00000-of-00001.parquet", row_group_size=2)
    return Made(root, made)


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def webdataset(root):
    made = waves()
    with tarfile.open(root / "train-000000.tar", "w") as archive:
        for index, (wave, rate) in enumerate(zip(made, RATES, strict=True)):
            # No ending that tells sound: its content does.
            add(archive, f"d/{index:04d}.audio", wav_bytes(wave, rate))
            add(archive, f"d/{index:04d}.txt", TEXTS[index].encode())
            add(archive, f"d/{index:04d}.json", json.dumps({"speaker": ("ann", "bob", "ann")[index]}).encode())
    return Made(root, made)


FORMATS = {
    make.__name__: make
    for make in (
        *(fairseq, kaldi, nemo, audio_folder, audio_folder_csv, common_voice),
        *(datasets_arrow, datasets_dict, datasets_parquet, webdataset),
    )
}


def hostile_name(folder):
    """A file whose name is no UTF-8."""
    path = os.fsencode(folder) + b"/\xff\xfe.wav"
    Path(os.fsdecode(path)).write_bytes(wav_bytes(voice(1.0), 16_000))
    return path
