"""Headless Chromium by its own protocol; no driver is needed. Its microphone plays a recording."""

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--window-size=1280,720",
]


class Browser:
    """One page. Args: folder: for the profile. clip: a wav file that its microphone plays, over and over."""

    def __init__(self, folder: Path, clip: Path | None = None) -> None:
        from websockets.sync.client import connect

        flags = [*FLAGS, f"--user-data-dir={folder}"] + ([f"--use-file-for-fake-audio-capture={clip}"] if clip else [])
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen([str(CHROMIUM), *flags, "about:blank"], stdout=quiet, stderr=quiet)
        port = wait_for(lambda: _first_line(folder / "DevToolsActivePort"), "Chromium to start")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self._page = connect(page["webSocketDebuggerUrl"], max_size=None, origin=None)
        self._number = 0
        self.console: list[dict] = []  # what the page wrote there, and its errors
        for domain in ("Page", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params):
        self._number += 1
        self._page.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._page.recv(timeout=30))
            if answer.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                self.console.append(answer["params"])
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def evaluate(self, code: str):
        """The value of an expression; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, code: str, what: str = ""):
        """The first true value of an expression."""
        return wait_for(lambda: self.evaluate(code), what or code)

    def resize(self, width: int, height: int) -> None:
        """The window, in pixels of CSS."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, **features: str) -> None:
        """What the user prefers, such as color_scheme="light"."""
        wanted = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=wanted)

    def key(self, key: str, code: str, kind: str = "tap") -> None:
        """A key of the keyboard: "down", "up", or both."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        if kind != "up":
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=code, **text)
        if kind != "down":
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=code)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        self._page.close()
        self._process.terminate()
        self._process.wait(10)


def wait_for(found, what: str, limit_s: float = 40):
    """The first true value that `found` returns; fails loudly after so long."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        value = found()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {limit_s:g} s in vain for {what}")


def _first_line(path: Path) -> str:
    with contextlib.suppress(OSError, IndexError):
        return path.read_text().splitlines()[0]
    return ""
