"""One sound out of a Parquet file: a cell of a row group, which has to be unpacked as a whole.

A place is "path:leaf:group:row:bytes", the leaf being the number of the column of bytes.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.regular import check_regular
from speechpress.runtime.sound.sound_file import UnreadableAudio, readable_name

CELL = "parquet"
GROUP_BYTES = 2 << 30
_KEPT_GROUPS = 2
# One at a time: two threads that miss the same group would both unpack it.
_LOCK = threading.Lock()


def pyarrow(path: Path) -> Any:
    """The library. Raises SpeechpressError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise SpeechpressError(
            f"{readable_name(path)}: needs pyarrow, which is not installed: pip install 'speechpress[parquet]'"
        ) from error
    return pyarrow


def cell_place(path: Path, leaf: int, group: int, row: int, size_bytes: int) -> str:
    return f"{path}:{leaf}:{group}:{row}:{size_bytes}"


def read_cell(place: str, said: str) -> bytes:
    """The bytes at a place. Raises UnreadableAudio when they are not there any more."""
    path, leaf, group, row, size_bytes = place.rsplit(":", 4)
    arrow = pyarrow(Path(path))
    try:
        check_regular(path)
        facts = Path(path).stat()
        with _LOCK:
            content = _group(path, int(leaf), int(group), facts.st_mtime_ns, facts.st_size)[int(row)]
    except (SpeechpressError, OSError, IndexError, arrow.ArrowException) as error:
        raise UnreadableAudio(said, f"not readable: {error}") from error
    if not content.is_valid or len(content.as_buffer()) != int(size_bytes):
        raise UnreadableAudio(said, "is not what it was: its Parquet file changed")
    return bytes(content.as_buffer())


def check_group(metadata: Any, group: int, said: str) -> None:
    """Raises SpeechpressError for a row group that is larger than what is ever unpacked."""
    size_bytes = metadata.row_group(group).total_byte_size
    if not 0 <= size_bytes <= GROUP_BYTES:
        raise SpeechpressError(
            f"{said}: its row group {group} has {size_bytes} bytes; at most {GROUP_BYTES >> 30} GiB are unpacked at "
            "once, so write it again with smaller row groups"
        )


# By time and size as well: a file that is written anew is another one.
@lru_cache(maxsize=_KEPT_GROUPS)
def _group(path: str, leaf: int, group: int, *_identity: int) -> Any:
    arrow = pyarrow(Path(path))
    with arrow.parquet.ParquetFile(path) as file:
        check_group(file.metadata, group, path)
        column = file.schema.column(leaf).path
        table = file.read_row_group(group, columns=[column])
    table.validate(full=True)
    chunks = [chunk.field(chunk.type.names[0]) for chunk in table.column(0).chunks]
    return arrow.chunked_array(chunks)
