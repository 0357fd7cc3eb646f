"""What a page of ours must be: whole in itself, without a word on the browser's console, without a request."""

import re
import shutil
import subprocess
from html.parser import HTMLParser

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--log-level=0"]
LOADING = ("src", "href", "data", "srcset", "action", "xlink:href")


class Reader(HTMLParser):
    """Tags, what they load, ids, and the text."""

    def __init__(self):
        super().__init__()
        self.tags, self.loaded, self.ids, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        # `#...` is a place in the page itself, and `data:` is in the page too.
        here = ("#", "data:")
        self.loaded += [value for name, value in attributes if name in LOADING and not value.startswith(here)]
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_data(self, data):
        self.text.append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def words_of(path):
    return " ".join(" ".join(read(path).text).split())


def check_whole(path):
    """Nothing is loaded, nothing is run, and it has its dark, its printed and its narrow form."""
    reader, text = read(path), path.read_text(encoding="utf-8")
    assert not {"script", "iframe", "img", "object", "video", "form"} & set(reader.tags)
    assert not reader.loaded and not re.search(r"url\((?!#)|@import", text)
    assert len(reader.ids) == len(set(reader.ids))
    assert all(words in text for words in ("prefers-color-scheme: dark", "@media print", "max-width: 900px"))


def check_in_browser(path, folder):
    """No error or warning on its console, no request; it is drawn."""
    log, shot = folder / "net.json", folder / "page.png"
    flags = [*FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    flags += ["--net-log-capture-mode=Everything", "--window-size=1200,2400", f"--screenshot={shot}"]
    done = subprocess.run([CHROMIUM, *flags, path.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    assert shot.stat().st_size > 50_000, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
    asked = set(re.findall(r'"url":\s*"((?:https?|wss?|ftp):[^"]*)"', log.read_text(errors="replace")))
    # Chromium itself asks its maker for news, whatever the page is.
    assert not {url for url in asked if not re.search(r"//[\w.-]*(google|gstatic|googleapis|chromium)[\w.-]*/", url)}
