"""One request to a place that is not here, through fsspec, repeated with growing pauses where that can help.

fsspec, and not smart_open, which Lhotse uses: it is installed already (torch and huggingface_hub need it), reads a part
of a file in one request, asks S3 for the very object that was listed (If-Match), and is the same for S3, Google and
HTTP. Credentials are found by the libraries in their usual places (environment, ~/.aws, ~/.netrc, the machine's role).
Nothing that may hold one is ever shown.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from .errors import RemoteError, explained, reason, transient

logger = logging.getLogger(__name__)

TRIES = 6
FIRST_PAUSE_S = 0.5  # doubled at each try: 15 s in all, and the time that the requests take
CONNECT_S, READ_S, WHOLE_S = 10.0, 30.0, 300.0  # without an answer, without a byte, for a request
_CONNECTIONS = 32
_FILES = 4096
_LOCK = threading.Lock()

T = TypeVar("T")


@dataclass(frozen=True)
class Remote:
    """A file elsewhere: its size in bytes, and a tag that changes with its content ("" where the server has none)."""

    url: str
    size: int
    tag: str


def info(url: str) -> Remote:
    """Ask what lies at an address. Raises RemoteError."""
    return _remote(url, patiently(url, lambda: _filesystem(url).info(url)))


def listed(folder: str) -> dict[str, Remote]:
    """The files of a folder by their names: of S3 and Google all of them, of a web server what its page links to.

    Sizes and tags come with the list from the former only; those of the latter are -1 and "". Raises RemoteError.
    """
    files = _filesystem(folder)
    if folder.startswith("http"):
        links = patiently(folder, lambda: files.ls(f"{folder}/", detail=False))
        names = [link.removeprefix(f"{folder}/") for link in links if link.startswith(f"{folder}/")]
        return {name: Remote(f"{folder}/{name}", -1, "") for name in names if name and not set("/?#") & set(name)}
    rows = patiently(folder, lambda: files.ls(folder, detail=True, refresh=True))
    found = {}
    for row in rows:
        name = row["name"].rpartition("/")[2]
        if row["type"] == "file" and name:
            found[name] = _remote(f"{folder}/{name}", row)
    return found


def read(remote: Remote, start: int, end: int) -> bytes:
    """The bytes from `start` up to `end` of a file; exactly so many.

    Raises:
        RemoteError: they cannot be had, or the file is another one by now.
    """
    if start == end:
        return b""

    def once() -> bytes:
        content = bytes(_file(remote, os.getpid())._fetch_range(start, end))
        if len(content) != end - start:
            raise EOFError(f"{len(content)} of {end - start} bytes came")
        return content

    return patiently(remote.url, once)


def patiently(url: str, ask: Callable[[], T]) -> T:
    """Ask again after what may pass: no connection, a server that is busy, half an answer. Raises RemoteError."""
    began = time.monotonic()
    for turn in range(1, TRIES + 1):
        try:
            return ask()
        except RemoteError:
            raise
        # Each library has its own kinds of errors, and fsspec lets them through.
        except Exception as error:
            if not transient(error):
                raise explained(url, error) from error
            if turn == TRIES:
                raise RemoteError(
                    f"{url}: cannot be read: {reason(error)}; tried {TRIES} times in {time.monotonic() - began:.0f} s. "
                    "What was done is kept; go on with the same call and --resume when it can be reached again",
                    "busy",
                ) from error
            # Not all threads again at the same moment, which would keep a busy server busy.
            pause_s = FIRST_PAUSE_S * 2 ** (turn - 1) * random.uniform(0.75, 1.25)
            logger.warning("%s: %s; try %d of %d in %.1f s", url, reason(error), turn + 1, TRIES, pause_s)
            time.sleep(pause_s)
    raise AssertionError("the last try returns or raises")


def forget() -> None:
    """Let go of all connections, and of what was found out about files."""
    with _LOCK:
        _connected.cache_clear()
        _file.cache_clear()


def _remote(url: str, row: dict[str, Any]) -> Remote:
    size = row.get("size")
    if row.get("type") == "directory" or not isinstance(size, int):
        kind = "is a folder" if row.get("type") == "directory" else "has no known size"
        raise RemoteError(f"{url}: {kind}, but must be a file that can be read in parts")
    tag = next((str(row[key]) for key in ("ETag", "etag", "generation", "Last-Modified", "mtime") if row.get(key)), "")
    return Remote(url, size, tag)


@lru_cache(maxsize=_FILES)
def _file(remote: Remote, _pid: int) -> Any:
    """A file of fsspec, of which only the request for a part is used, which many threads may make at once."""
    files = _filesystem(remote.url)
    more: dict[str, Any] = {}
    if remote.url.startswith("http"):
        strong = remote.tag.startswith('"')
        headers = {"Accept-Encoding": "identity", **({"If-Match": remote.tag} if strong else {})}
        more = {"size": remote.size, "headers": headers}
    opened = files.open(remote.url, "rb", cache_type="none", **more)
    if not remote.url.startswith("http") and _remote(remote.url, opened.details).tag != remote.tag:
        raise RemoteError(f"{remote.url}: was changed since the corpus was opened; start the command again")
    return opened


def _filesystem(url: str) -> Any:
    # Threads of fsspec do not live on in a forked process.
    with _LOCK:
        return _connected(url.partition("://")[0], os.getpid())


@lru_cache
def _connected(scheme: str, _pid: int) -> Any:
    import fsspec

    try:
        return _opened(fsspec, scheme)
    except ImportError as error:
        extra = {"s3": "s3", "gs": "gcs"}.get(scheme, "s3")
        raise RemoteError(
            f"{scheme}:// needs a package that is not installed ({error.name or error}): pip install "
            f"'speechpress[{extra}]'"
        ) from error


def _opened(fsspec: Any, scheme: str) -> Any:
    if scheme == "s3":
        # `patiently` is the one that repeats; three times three tries would be nine.
        settings = {
            "connect_timeout": CONNECT_S,
            "read_timeout": READ_S,
            "max_pool_connections": _CONNECTIONS,
            "retries": {"total_max_attempts": 1},
        }
        files = fsspec.filesystem("s3", config_kwargs=settings, skip_instance_cache=True)
        files.retries = 1
        return files
    if scheme == "gs":
        return fsspec.filesystem("gs", skip_instance_cache=True)
    import aiohttp

    limits = aiohttp.ClientTimeout(total=WHOLE_S, sock_connect=CONNECT_S, sock_read=READ_S)
    # trust_env: ~/.netrc and proxies.
    return fsspec.filesystem(scheme, client_kwargs={"timeout": limits, "trust_env": True}, skip_instance_cache=True)
