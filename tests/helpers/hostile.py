"""Manifests that would run or open something, values that no field should hold, an ear on the interpreter's events."""

import json
import resource
import sys
from contextlib import contextmanager

# what a process, a shell or a connection cannot be had without
FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn")
FORBIDDEN += (
    "pty.spawn",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.sendto",
    "urllib.Request",
    "http.client.connect",
)

_heard: list[str] | None = None


def _hook(event, _arguments):
    if _heard is not None and event in FORBIDDEN:
        _heard.append(event)


sys.addaudithook(_hook)  # for the life of the process: a hook cannot be taken away, only told not to listen


@contextmanager
def listening():
    """The list of forbidden events of this block."""
    global _heard
    before, _heard = _heard, []
    try:
        yield _heard
    finally:
        _heard = before


WRONG = [
    None,
    True,
    0,
    -1,
    1,
    2.5,
    -1e308,
    1e308,
    10**30,
    "",
    "x",
    "1",
    "\ud800",
    "\0",
    "x" * 100_000,
    [],
    [0, 0],
    [None],
    ["x"],
    [[]],
    [{}],
    {},
    {"type": "command", "source": "touch owned"},
    float("inf"),
    float("nan"),
]


def command(owned):
    """A source that makes a file."""
    return {"type": "command", "channels": [0], "source": f"touch {owned}"}


def address():
    return {"type": "url", "channels": [0], "source": "http://127.0.0.1:9/a.wav"}


def recording(source, name="evil", **more):
    sources = [source] if isinstance(source, dict) else source
    return {
        "id": name,
        "sources": sources,
        "sampling_rate": 16_000,
        "num_samples": 16_000,
        "duration": 1.0,
        "channel_ids": [0],
        **more,
    }


def cut(recorded, name="evil", **more):
    return {
        "id": name,
        "start": 0,
        "duration": 1.0,
        "channel": 0,
        "supervisions": [],
        "recording": recorded,
        "type": "MonoCut",
        **more,
    }


def reverb(source):
    kwargs = {"rir": recording(source, "rir"), "normalize_output": True, "early_only": False}
    return {"name": "ReverbWithImpulseResponse", "kwargs": kwargs}


def hostile_items(wav, owned):
    """Lines by name; each would run or connect if Lhotse read it, or says something that must not be believed."""
    file = {"type": "file", "channels": [0], "source": str(wav)}
    items = {}
    for name, source in {"command": command(owned), "address": address()}.items():
        bad = recording(source)
        items |= {
            f"{name}: recording": bad,
            f"{name}: cut": cut(bad),
            f"{name}: one of two sources": cut(recording([file, {**source, "channels": [1]}])),
            f"{name}: impulse response of a recording": recording(file, transforms=[reverb(source)]),
            f"{name}: impulse response of a cut": cut(recording(file, transforms=[reverb(source)])),
            f"{name}: impulse response without kwargs": cut(
                recording(file, transforms=[{**reverb(source), "kwargs": 1}])
            ),
            f"{name}: custom recording": cut(recording(file), custom={"target": bad}),
            f"{name}: in a list in a custom field": cut(recording(file), custom={"a": [[{"b": bad}]]}),
            f"{name}: custom of a supervision": cut(
                recording(file),
                supervisions=[
                    {"id": "s", "recording_id": "evil", "start": 0, "duration": 1, "custom": {"noise": bad}},
                ],
            ),
            f"{name}: mixture": {
                "id": "m",
                "type": "MixedCut",
                "tracks": [{"type": "MonoCut", "cut": cut(bad), "offset": 0.0}],
                "transforms": [reverb(source)],
            },
        }
    for kind in ("Narrowband", "DereverbWPE", "Tempo", "os.system", "__class__"):
        items[f"transform {kind}"] = cut(recording(file, transforms=[{"name": kind, "kwargs": {}}]))
    quoted = {"type": "file", "channels": [1], "source": f"{wav.parent}/x'; touch {owned}; '.opus"}
    items["a shell in a file name"] = cut(recording([file, quoted]))
    items["a pipe as a file"] = cut(recording({**file, "source": f"pipe:touch {owned}"}))
    items["an address as a file"] = cut(recording({**file, "source": "https://127.0.0.1:9/a.wav"}))
    items["a tar of its own"] = cut(recording({**file, "type": "shar", "source": "/etc/passwd:0:100"}))
    items["audio in memory"] = cut(recording({**file, "type": "memory", "source": "UklGRg=="}))
    items["an unknown kind"] = cut(recording({**file, "type": "exec"}))
    items["a device"] = cut(recording({**file, "source": "/dev/zero"}))
    return items


def manifest(folder, *items, name="c.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def good(wav, name="good", **more):
    return cut(recording({"type": "file", "channels": [0], "source": str(wav)}, name), name, **more)


def megabytes(before):
    """How much the most memory that this process has held grew, since it was `before` KiB."""
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
