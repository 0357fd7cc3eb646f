"""A hub of our own: what huggingface_hub asks for, answered from a folder. Models lie in it as OWNER/NAME."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

COMMIT = "1" * 40


@contextmanager
def serving(folder: Path):
    """Yields the address, and the list of the paths that were asked for, which grows."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *words):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, body):
            path = urlsplit(self.path).path
            asked.append(path)
            parts = path.strip("/").split("/")
            if parts[:2] == ["api", "models"] and (folder / parts[2] / parts[3]).is_dir():
                tell = tree if parts[4:5] == ["tree"] else listing
                content = json.dumps(tell("/".join(parts[2:4]), folder / parts[2] / parts[3])).encode()
            elif parts[2:3] == ["resolve"] and (file := folder.joinpath(*parts[:2], *parts[4:])).is_file():
                content = file.read_bytes()
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound" if parts[2:3] == ["resolve"] else "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def listing(name, folder):
    files = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
    return {"id": name, "modelId": name, "sha": COMMIT, "siblings": files, "private": False, "tags": []}


def tree(name, folder):
    sized = [(path, path.read_bytes()) for path in sorted(folder.iterdir())]
    return [
        {"type": "file", "path": path.name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        for path, content in sized
    ]
