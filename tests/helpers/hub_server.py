"""A hub of our own: what huggingface_hub asks for, answered from folders and from what was pushed.

Models lie in a folder as OWNER/NAME, and are one commit each; a push makes a repository with a history. The answers are
those of the real hub as huggingface_hub 1 and 2 read them, with files above `LARGE` going the way of git LFS; not Xet.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "1" * 40
LARGE = 4096  # bytes
TOKENS = {"hf_me": {"name": "me", "orgs": [{"name": "lab"}]}, "hf_reader": {"name": "reader", "orgs": []}}


class Refused(Exception):
    def __init__(self, status, code="", text="", url=""):
        self.status, self.code, self.text, self.url = status, code, text, url


class Hub:
    """Repositories {name: [(commit, {path: bytes}), ...]}, the newest last, and ways to misbehave."""

    def __init__(self, folder=None):
        self.address, self.folder, self.repos, self.tags, self.objects = "", folder, {}, {}, {}
        self.asked, self.bodies, self.gated = [], [], set()
        self.cut_uploads = 0  # so many uploads of large files end with an error
        self.before_commit = None  # called once, when a commit comes in
        self.answers_as = {}  # commit that is asked for -> commit that is served

    def commits(self, name):
        if name in self.repos:
            return self.repos[name]
        place = self.folder / name if self.folder is not None else None
        if place is None or name.count("/") != 1 or not place.is_dir():
            raise Refused(401, "RepoNotFound")
        return [(COMMIT, {p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*") if p.is_file()})]

    def at(self, name, revision):
        """(commit, files)."""
        history = self.commits(name)
        revision = self.tags.get((name, revision), revision)
        for commit, _ in reversed(history):
            if revision in ("main", commit):
                served = self.answers_as.get(commit, commit)
                return next(pair for pair in history if pair[0] == served)
        raise Refused(404, "RevisionNotFound")

    def add(self, name, files):
        """A commit with exactly these files; returns its name."""
        history = self.repos.setdefault(name, [])
        commit = hashlib.sha1(f"{name}{len(history)}".encode()).hexdigest()
        history.append((commit, dict(files)))
        return commit

    def files(self, name):
        return self.repos[name][-1][1]

    def get(self, path, handler):
        parts = path.strip("/").split("/")
        if path == "/api/whoami-v2":
            return as_json(self.owner(handler))
        if parts[:2] == ["api", "models"]:
            return as_json(self.told("/".join(parts[2:4]), parts[4:]))
        if parts[2:3] == ["resolve"]:
            name, wanted = "/".join(parts[:2]), unquote("/".join(parts[4:]))
            if name in self.gated:
                raise Refused(403, "GatedRepo", "Access to this model is restricted")
            commit, files = self.at(name, parts[3])
            if wanted not in files:
                raise Refused(404, "EntryNotFound")
            return files[wanted], commit
        raise Refused(404, "RepoNotFound")

    def told(self, name, rest):
        commit, files = self.at(name, unquote(rest[1]) if len(rest) > 1 else "main")
        if rest[:1] == ["tree"]:
            return [{"type": "file", "path": p, "size": len(x), "oid": git_hash(x)} for p, x in sorted(files.items())]
        siblings = [{"rfilename": path} for path in sorted(files)]
        return {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "private": False, "tags": []}

    def owner(self, handler):
        token = (handler.headers.get("authorization") or "").removeprefix("Bearer ")
        if token not in TOKENS:
            raise Refused(401, "", "Invalid credentials in Authorization header")
        return TOKENS[token]

    def post(self, path, body, handler):
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":
            return as_json({"errors": [], "warnings": []})
        me = self.owner(handler)
        if me["name"] == "reader":
            raise Refused(403, "", "You don't have the rights")
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or me['name']}/{asked['name']}"
            if name in self.repos:
                raise Refused(409, "", "You already created this model repo", f"{self.address}/{name}")
            self.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"})
            return as_json({"url": f"{self.address}/{name}", "name": name})
        if path.endswith(".git/info/lfs/objects/batch"):
            return as_json({"objects": [self.wanted(one) for one in json.loads(body)["objects"]]})
        name = "/".join(parts[2:4])
        return as_json(self.preuploaded(name, json.loads(body)) if parts[4] == "preupload" else self.commit(name, body))

    def wanted(self, one):
        there = {} if one["oid"] not in self.objects else None
        link = {"href": f"{self.address}/objects/{one['oid']}", "header": {}}
        return {"oid": one["oid"], "size": one["size"], **({} if there is None else {"actions": {"upload": link}})}

    def preuploaded(self, name, body):
        present = self.at(name, "main")[1]
        return {
            "files": [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["size"] > LARGE else "regular",
                    "shouldIgnore": False,
                    "oid": _oid(present.get(one["path"])),
                }
                for one in body["files"]
            ]
        }

    def commit(self, name, body):
        lines = [json.loads(line) for line in body.decode().splitlines()]
        if self.before_commit is not None:
            self.before_commit, come = None, self.before_commit
            come()
        newest, files = self.at(name, "main")
        if lines[0]["value"].get("parentCommit", newest) != newest:
            raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
        files = dict(files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        made = self.add(name, files)
        return {"success": True, "commitOid": made, "commitUrl": f"{self.address}/{name}/commit/{made}"}

    def put(self, path, body):
        if self.cut_uploads:
            self.cut_uploads -= 1
            raise Refused(400, "", "cut")
        oid = hashlib.sha256(body).hexdigest()
        assert path == f"/objects/{oid}"
        self.objects[oid] = body


def git_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _oid(content):
    if content is None:
        return None
    return hashlib.sha256(content).hexdigest() if len(content) > LARGE else git_hash(content)


def as_json(value):
    return json.dumps(value).encode(), COMMIT


@contextmanager
def serving_hub(hub):
    """Yields the address at which `hub` answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words):
            pass

        def body(self):
            if "chunked" not in self.headers.get("transfer-encoding", ""):
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def do_HEAD(self):
            self.answer(lambda path: hub.get(path, self), shown=False)

        def do_GET(self):
            self.answer(lambda path: hub.get(path, self))

        def do_POST(self):
            body = self.body()
            hub.bodies.append(body)
            self.answer(lambda path: hub.post(path, body, self))

        def do_PUT(self):
            body = self.body()
            self.answer(lambda path: (hub.put(path, body) or b"", COMMIT))

        def answer(self, made, shown=True):
            path = urlsplit(self.path).path
            hub.asked.append(path)
            try:
                content, commit = made(path)
            except Refused as error:
                self.send_response(error.status)
                self.send_header("X-Error-Code", error.code)
                if error.text:
                    self.send_header("X-Error-Message", error.text)
                body = json.dumps({"error": error.text, "url": error.url}).encode()
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if shown:
                    self.wfile.write(body)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.end_headers()
            if shown:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        yield hub.address
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serving(folder: Path):
    """Yields the address, and the list of the paths that were asked for, which grows."""
    hub = Hub(folder)
    with serving_hub(hub) as address:
        yield address, hub.asked


def turned_to(monkeypatch, address, cache, token=None):
    """Let huggingface_hub in this process talk to `address` only, with an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(cache / "no-tokens"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
