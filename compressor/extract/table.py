"""One table for a corpus: Parquet files that any reader takes as one, a row for each recording.

Rows are written in groups while they come, and a file is closed when it is large enough; so memory holds one group, and
a run that is killed loses one file at most.

Shapes: T frames, D width, N units.
"""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from speechpress.runtime.atomic import cannot_write
from speechpress.runtime.errors import SpeechpressError

from ..models.config import SAMPLE_RATE
from .index import Index, file_facts
from .plan import Item
from .writers import FEATURES, Result, made_folder, row_of

GROUP_BYTES = 16 * 2**20
FILE_BYTES = 128 * 2**20


def import_pyarrow() -> Any:
    """Raises SpeechpressError when it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet  # a part that must be imported by itself
    except ImportError as error:
        raise SpeechpressError(
            f"--format parquet: needs pyarrow ({error}); install it with: pip install 'speechpress[parquet]'"
        ) from error
    return pyarrow


class TableWriter:
    """Rows of a table of several files, FEATURES/part-00000.parquet and on.

    Args:
        out: the folder of the run; `part`: one in it for what is not whole yet.
        index: of the shard; a file of the table that stands in no line of it is removed.
        ending: of the shard, so that no two shards write the same file.
        metadata: for the schema.
    """

    def __init__(
        self,
        out: Path,
        part: Path,
        index: Index,
        ending: str,
        metadata: dict[str, str],
        file_bytes: int = FILE_BYTES,
        group_bytes: int = GROUP_BYTES,
    ) -> None:
        self.out, self.part, self.index, self.metadata = out.resolve(), part, index, metadata
        self.file_bytes, self.group_bytes = file_bytes, group_bytes
        self._pyarrow = import_pyarrow()
        self._stem = f"part{ending}-"
        self._lock = threading.Lock()
        self._rows: list[tuple[Item, Result]] = []  # of the group that is being filled
        self._in_file: list[tuple[Item, Result]] = []  # already written, without their arrays
        self._bytes = self._file_bytes = 0
        self._writer: Any = None
        made_folder(self.out, self.out / FEATURES)
        self._next = self._clean()

    def _clean(self) -> int:
        """Remove what an earlier run wrote and did not note, whose rows come again; the number of the next file."""
        noted = {row.path for row in self.index.rows.values()}
        numbers = [-1]
        for path in sorted((self.out / FEATURES).glob(f"{self._stem}*.parquet")):
            number = path.stem.removeprefix(self._stem)
            # "part-2-of-3-00000" begins like the only shard's files too.
            if not number.isdecimal():
                continue
            if f"{FEATURES}/{path.name}" in noted:
                numbers.append(int(number))
            else:
                path.unlink()
        return max(numbers) + 1

    def put(self, item: Item, result: Result) -> None:
        with self._lock:
            self._rows.append((item, result))
            self._bytes += sum(array.nbytes for array in result.arrays.values())
            if self._bytes >= self.group_bytes:
                self._write_group()
            if self._file_bytes >= self.file_bytes:
                self._end_file()

    def close(self) -> None:
        with self._lock:
            if self._rows:
                self._write_group()
            if self._writer is not None:
                self._end_file()

    def _write_group(self) -> None:
        batch = self._batch()
        try:
            if self._writer is None:
                self._writer = self._pyarrow.parquet.ParquetWriter(str(self._temporary), batch.schema)
            self._writer.write_batch(batch)
        except OSError as error:
            raise cannot_write(self.out / FEATURES, error) from error
        self._in_file += [(item, Result({}, result.frames)) for item, result in self._rows]
        self._file_bytes += self._bytes
        self._rows, self._bytes = [], 0

    @property
    def _temporary(self) -> Path:
        return self.part / f"{self._stem}{self._next:05d}.parquet"

    def _end_file(self) -> None:
        place = self.out / FEATURES / self._temporary.name
        try:
            self._writer.close()
            self._temporary.replace(place)
            facts = file_facts(place)
        except OSError as error:
            raise cannot_write(place, error) from error
        path = f"{FEATURES}/{place.name}"
        self.index.add([row_of(item, result, path, *facts) for item, result in self._in_file])
        self._in_file, self._file_bytes, self._writer = [], 0, None
        self._next += 1

    def _batch(self) -> Any:
        """The rows at hand: id, duration, frames, and a column for each array."""
        pa = self._pyarrow
        items, results = zip(*self._rows, strict=True)
        columns = {
            "id": pa.array([item.name for item in items], pa.string()),
            "duration_s": pa.array([item.samples / SAMPLE_RATE for item in items], pa.float64()),
            "frames": pa.array([result.frames for result in results], pa.int32()),
        }
        for name in results[0].arrays:
            columns[name] = self._column([result.arrays[name] for result in results])
        return pa.record_batch(columns, metadata={b"speechpress": str(self.metadata["speechpress"]).encode()})

    def _column(self, arrays: list[np.ndarray]) -> Any:
        """(T, D) each -> lists of T vectors of D numbers; (N,) each -> lists of N numbers."""
        pa = self._pyarrow
        offsets = pa.array(np.cumsum([0, *map(len, arrays)]), pa.int32())
        flat = pa.array(np.concatenate(arrays).reshape(-1))
        inner = pa.FixedSizeListArray.from_arrays(flat, arrays[0].shape[1]) if arrays[0].ndim > 1 else flat
        return pa.ListArray.from_arrays(offsets, inner)
