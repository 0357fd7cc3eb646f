"""Servers on loopback that hold a corpus: S3 as moto plays it, and plain HTTP; both can be made to fail on the way."""

import hashlib
import logging
import threading
import time
from contextlib import contextmanager

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

KEY, SECRET = "AKIATESTTESTTEST", "very-secret-word-of-the-tests"


class Quiet(WSGIRequestHandler):
    def log(self, *args):
        pass


class Faults:
    """Stands before a server: each GET takes the next fault of `plan`, while there are any ("" is none).

    503: busy. cut: half of the body. slow: the first byte comes late. trickle: the body comes in small pieces.
    """

    def __init__(self, app, late_s=1.0):
        self.app, self.plan, self.late_s, self.asked = app, [], late_s, []
        self.lock = threading.Lock()

    def __call__(self, environ, start):
        with self.lock:
            self.asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_RANGE", "")))
            fault = self.plan.pop(0) if self.plan and environ["REQUEST_METHOD"] == "GET" else ""
        if fault == "503":
            start("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        if fault == "slow":
            time.sleep(self.late_s)
        kept = {}
        body = b"".join(
            self.app(environ, lambda status, headers, info=None: kept.update(status=status, headers=headers))
        )
        headers = [(name, value) for name, value in kept["headers"] if name.lower() != "content-length"]
        size = {name.lower(): value for name, value in kept["headers"]}.get("content-length", str(len(body)))
        start(kept["status"], [*headers, ("Content-Length", size)])
        if fault == "cut":
            return [body[: len(body) // 2]]
        return pieces(body) if fault == "trickle" else [body]

    def count(self, method="GET", ending=""):
        return sum(asked == method and path.endswith(ending) for asked, path, _ in self.asked)


def pieces(body):
    for begin in range(0, len(body), max(1, len(body) // 5)):
        time.sleep(0.02)
        yield body[begin : begin + max(1, len(body) // 5)]


class Files:
    """A plain web server over {path: bytes}; `pages` lists folders, `ranges` gives parts, `tags` sends ETags."""

    def __init__(self, files, pages=True, ranges=True, tags=True):
        self.files, self.pages, self.ranges, self.tags = files, pages, ranges, tags

    def __call__(self, environ, start):
        path = environ["PATH_INFO"]
        if self.pages and path.endswith("/"):
            names = sorted({name.removeprefix(path).split("/")[0] for name in self.files if name.startswith(path)})
            page = "".join(f'<a href="{name}">{name}</a>\n' for name in names).encode()
            start("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(page)))])
            return [page]
        if path not in self.files:
            start("404 Not Found", [])
            return [b"nothing"]
        return self.part(self.files[path], environ, start)

    def part(self, body, environ, start):
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        headers = [("ETag", tag)] if self.tags else []
        if environ.get("HTTP_IF_MATCH", tag) != tag:
            start("412 Precondition Failed", [])
            return [b""]
        status, asked = "200 OK", environ.get("HTTP_RANGE", "")
        if self.ranges and asked:
            first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
            headers.append(("Content-Range", f"bytes {first}-{min(last, len(body) - 1)}/{len(body)}"))
            status, body = "206 Partial Content", body[first : last + 1]
        start(status, [*headers, ("Content-Length", str(len(body)))])
        return [b""] if environ["REQUEST_METHOD"] == "HEAD" else [body]


@contextmanager
def serving(app):
    """The app behind `Faults` on a port of loopback: (faults, its address)."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    faults = Faults(app)
    server = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield faults, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def s3_app():
    return DomainDispatcherApplication(create_backend_app)


def upload(folder, bucket, prefix):
    """Put a folder into a bucket, as a user would; needs the environment of the server."""
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket=bucket)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes())
    return f"s3://{bucket}/{prefix}"


def as_files(folder, prefix="/"):
    return {
        f"{prefix}{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
