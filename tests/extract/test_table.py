"""The table in several files: groups while they come, files when they are full, and none that no index knows."""

import numpy as np
import pyarrow.parquet
import pytest
from extracted import corpus

from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.extract.index import Index
from speechpress.compressor.extract.plan import item_of
from speechpress.compressor.extract.table import TableWriter
from speechpress.compressor.extract.writers import Result


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    speech = corpus(tmp_path_factory.mktemp("speech"), (0.2,) * 7)
    return [item_of(cut, cut.id) for cut in open_corpus(speech).cuts]


def result(number, frames=10):
    """4 layers of bytes that tell who they are of: 10 x 25 float32 are 1000 bytes."""
    return Result({"layer_1": np.full((frames, 25), number, np.float32)}, frames)


def opened(out, group_bytes=2000, file_bytes=4000, ending=""):
    (out / "part").mkdir(parents=True, exist_ok=True)
    index = Index(out / f"index{ending}.jsonl")
    index.open(out)
    told = {"speechpress": "{}"}
    return TableWriter(out, out / "part", index, ending, told, file_bytes, group_bytes), index


def files(out):
    return sorted(path.name for path in (out / "features").iterdir())


def test_groups_and_files_are_closed_when_they_are_full(tmp_path, items):
    writer, index = opened(tmp_path)
    for number, item in enumerate(items):
        writer.put(item, result(number))
        # Nothing is noted before its file stands.
        assert len(index.rows) == (number + 1) // 4 * 4
    assert files(tmp_path) == ["part-00000.parquet"]
    writer.close()
    index.close()
    assert files(tmp_path) == ["part-00000.parquet", "part-00001.parquet"] and len(index.rows) == 7
    first = pyarrow.parquet.ParquetFile(tmp_path / "features/part-00000.parquet")
    assert [first.metadata.row_group(n).num_rows for n in range(first.num_row_groups)] == [2, 2]
    table = pyarrow.parquet.read_table(tmp_path / "features").to_pylist()
    for number, (row, item) in enumerate(zip(table, items, strict=True)):
        assert row["id"] == item.name and row["frames"] == 10 and row["duration_s"] == 0.2
        assert np.array_equal(np.array(row["layer_1"]), np.full((10, 25), number))
    assert list(tmp_path.glob("part/*")) == []


def test_a_file_that_the_index_does_not_know_goes_and_others_stay(tmp_path, items):
    writer, index = opened(tmp_path)
    for number, item in enumerate(items):
        writer.put(item, result(number))
    writer.close()
    index.close()
    other, other_index = opened(tmp_path, ending="-2-of-2")
    other.put(items[0], result(9))
    other.close()
    other_index.close()
    lines = (tmp_path / "index.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "index.jsonl").write_text("".join(line for line in lines if "00001" in line))
    writer, index = opened(tmp_path)
    assert files(tmp_path) == ["part-00001.parquet", "part-2-of-2-00000.parquet"] and len(index.rows) == 3
    writer.put(items[0], result(0))
    writer.close()
    index.close()
    assert files(tmp_path) == ["part-00001.parquet", "part-00002.parquet", "part-2-of-2-00000.parquet"]


def test_half_precision_stays_half(tmp_path, items):
    writer, index = opened(tmp_path)
    writer.put(items[0], Result({"layer_1": np.full((3, 4), 0.1, np.float16)}, 3))
    writer.close()
    index.close()
    table = pyarrow.parquet.read_table(tmp_path / "features")
    assert str(table.schema.field("layer_1").type).count("halffloat") == 1
    assert np.array_equal(np.array(table.to_pylist()[0]["layer_1"]), np.full((3, 4), np.float16(0.1)))
