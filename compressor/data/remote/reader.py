"""Parts of remote files: from the cache, or fetched once however many ask, also ahead of who will ask.

Files that all fit into the cache are fetched in blocks, of which neighbouring recordings need not be asked for again;
of a larger corpus only the very bytes of each recording are.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar
from uuid import uuid4

from speechpress.runtime.errors import SpeechpressError

from . import store
from .cache import Cache, bound_bytes, cache_folder
from .store import Remote

BLOCK_BYTES = 1 << 20
WINDOW_BYTES = 1 << 16
SMALL_BYTES = 512 << 20
_FILLED = 0.9  # of the cache; it also holds what other commands fetched
THREADS = 16
AHEAD_BYTES, AHEAD_JOBS = 64 << 20, 64
MAX_BYTES = 2 << 30  # of one recording or manifest, which lies in memory as a whole

_THIS_RUN = uuid4().hex

Span = tuple[str, int, int]  # address, first byte, number of bytes
Job = TypeVar("Job")


class Reader:
    """All that is read from elsewhere in this process."""

    def __init__(self, cache: Cache, threads: int = THREADS) -> None:
        self.cache = cache
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
        self._known: dict[str, Remote] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._coming: dict[str, Future[bytes | None]] = {}

    def know(self, remotes: Iterable[Remote]) -> None:
        """Take note of files as they were when their corpus was opened; another version of them is refused later."""
        with self._lock:
            for remote in remotes:
                old = self._known.get(remote.url)
                self._bytes += remote.size - (old.size if old else 0)
                self._known[remote.url] = remote

    def remote(self, url: str) -> Remote:
        with self._lock:
            found = self._known.get(url)
        if found is None:
            self.know([found := store.info(url)])
        return found

    def look(self, urls: Sequence[str]) -> list[Remote | SpeechpressError]:
        """What lies at addresses, asked for side by side."""

        def ask(url: str) -> Remote | SpeechpressError:
            try:
                return self.remote(url)
            except SpeechpressError as error:
                return error

        return list(self._pool.map(ask, urls))

    def read(self, span: Span) -> bytes:
        """Raises RemoteError when it cannot be had, within the time that `store.patiently` takes."""
        url, offset, size = span
        remote = self.remote(url)
        if size > MAX_BYTES or offset < 0 or offset + size > remote.size:
            raise store.RemoteError(f"{url}: has {remote.size:,} bytes, but {size:,} from {offset:,} on are asked for")
        parts = []
        for begin, end in self._edges(remote, offset, size):
            wanted = slice(max(0, offset - begin), min(end, offset + size) - begin)
            kept = self.cache.get(_key(remote, begin, end), end - begin, wanted)
            parts.append(self._part(remote, begin, end)[wanted] if kept is None else kept)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def want(self, span: Span) -> None:
        """Begin to fetch what will be read soon; whoever reads it waits for it and hears of errors."""
        remote = self.remote(span[0])
        for begin, end in self._edges(remote, span[1], span[2]):
            key = _key(remote, begin, end)
            with self._lock:
                if key not in self._coming and not self.cache.holds(key):
                    self._coming[key] = self._pool.submit(self._fetched, remote, begin, end, key)

    def want_small(self, remotes: Sequence[Remote]) -> bool:
        """Begin to fetch all of some files, if they are small together and can be kept; whether that is so."""
        total = sum(remote.size for remote in remotes)
        if total > SMALL_BYTES or self._bytes > self.cache.bound * _FILLED:
            return False
        for remote in remotes:
            self.want((remote.url, 0, remote.size))
        return True

    def drop(self) -> None:
        """Forget what was wanted and not read."""
        with self._lock:
            coming, self._coming = self._coming, {}
        for future in coming.values():
            future.cancel()

    def _edges(self, remote: Remote, offset: int, size: int) -> Iterator[tuple[int, int]]:
        """The parts that are fetched for a span: whole blocks where all files fit into the cache, else itself."""
        if self._bytes > self.cache.bound * _FILLED:
            yield offset, offset + size
            return
        for begin in range(offset // BLOCK_BYTES * BLOCK_BYTES, offset + size, BLOCK_BYTES):
            yield begin, min(begin + BLOCK_BYTES, remote.size)

    def _part(self, remote: Remote, begin: int, end: int) -> bytes:
        key, mine = _key(remote, begin, end), Future[bytes | None]()
        mine.set_running_or_notify_cancel()
        with self._lock:
            coming = self._coming.setdefault(key, mine)
        try:
            if coming is not mine:
                with contextlib.suppress(CancelledError):
                    if (content := coming.result()) is not None:
                        return content
                return self._kept_or_fetched(remote, begin, end, key)
            content = self._kept_or_fetched(remote, begin, end, key)
            mine.set_result(content)
            return content
        except BaseException as error:
            if coming is mine:
                mine.set_exception(error)
            raise
        finally:
            with self._lock:
                # From now on it lies in the cache, or is fetched again.
                self._coming.pop(key, None)

    def _kept_or_fetched(self, remote: Remote, begin: int, end: int, key: str) -> bytes:
        kept = self.cache.get(key, end - begin)
        if kept is not None:
            return kept
        content = store.read(remote, begin, end)
        self.cache.put(key, content)
        return content

    def _fetched(self, remote: Remote, begin: int, end: int, key: str) -> bytes | None:
        """None for what lies in the cache now: it need not wait in memory."""
        content = store.read(remote, begin, end)
        return None if self.cache.put(key, content) else content


def _key(remote: Remote, begin: int, end: int) -> str:
    # Without a tag nobody can tell in another run whether it is still the same file.
    return f"{remote.url}\n{remote.tag or _THIS_RUN}\n{remote.size}\n{begin}-{end}"


def reader() -> Reader:
    """The one of this process, with the cache that the environment says. Raises SpeechpressError for a bad bound."""
    return _reader(os.getpid())


@lru_cache
def _reader(_pid: int) -> Reader:
    return Reader(Cache(cache_folder() / "data", bound_bytes()))


def place_of(url: str, offset: int, size: int) -> str:
    """A span as the source of a recording, in the form that those inside of local tars have."""
    return f"{url}:{offset}:{size}"


def span_of(place: str) -> Span:
    url, offset, size = place.rsplit(":", 2)
    return url, int(offset), int(size)


def fetched_ahead(jobs: Iterable[Job], spans: Callable[[Job], Sequence[Span]]) -> Generator[Job, None, None]:
    """The jobs in their order, while what the next ones need is on its way; bounded in bytes and number."""
    waiting: deque[tuple[Job, int]] = deque()
    held, source = 0, reader()
    try:
        for job in jobs:
            needed = spans(job)
            for span in needed:
                source.want(span)
            waiting.append((job, sum(size for _, _, size in needed)))
            held += waiting[-1][1]
            while held > AHEAD_BYTES or len(waiting) > AHEAD_JOBS:
                first, size = waiting.popleft()
                held -= size
                yield first
        yield from (job for job, _ in waiting)
    finally:
        source.drop()


class RemoteFile(io.RawIOBase):
    """A remote file for those who read headers here and there, such as `tarfile`.

    `kept`: by way of the cache; else in small windows, of which nothing is kept.
    """

    def __init__(self, remote: Remote, kept: bool) -> None:
        self._remote, self._kept, self._at, self._window, self._begin = remote, kept, 0, b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._remote.size)[whence])
        return self._at

    def readall(self) -> bytes:
        return self.read(max(0, self._remote.size - self._at))

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return self.readall()
        end = min(self._at + size, self._remote.size)
        if self._at >= end:
            return b""
        if end - self._at > MAX_BYTES:
            raise OSError(f"{end - self._at:,} bytes are asked for at once")
        if not self._begin <= self._at <= end <= self._begin + len(self._window):
            self._begin = self._at
            wide = max(end, min(self._at + WINDOW_BYTES, self._remote.size))
            self._window = self._read(self._at, wide)
        content = self._window[self._at - self._begin : end - self._begin]
        self._at = end
        return content

    def _read(self, begin: int, end: int) -> bytes:
        if self._kept:
            return reader().read((self._remote.url, begin, end - begin))
        return store.read(self._remote, begin, end)
