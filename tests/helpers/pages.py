"""What a page of ours must be: whole in itself, without a word on the browser's console, without a request; legible."""

import base64
import hashlib
import re
import shutil
import subprocess
from html.parser import HTMLParser

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--log-level=0"]
# [contrast as in WCAG 2, what it is] of every visible text, by its colour and the one behind it: in a drawing, the
# colour of the shape under the middle of the text. The window has to be as high as the page.
CONTRAST = """(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map((x) => x / 255)
    .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const seen = (colour) => colour.startsWith("rgb") && (numbers(colour).length < 4 || numbers(colour)[3] > 0.5);
  const under = (text) => {
    const box = text.getBoundingClientRect();
    const all = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return all.filter((one) => one instanceof SVGGeometryElement).map((one) => getComputedStyle(one))
      .filter((style) => seen(style.fill) && style.opacity * style.fillOpacity > 0.5).map((style) => style.fill)[0];
  };
  const behind = (element) => {
    const shape = element instanceof SVGElement ? under(element) : undefined;
    for (let at = element; at && !shape; at = at.parentElement) {
      const found = getComputedStyle(at).backgroundColor;
      if (seen(found)) return found;
    }
    return shape ?? "rgb(255, 255, 255)";
  };
  const shown = [...document.body.querySelectorAll("*")].filter((element) => element.checkVisibility() &&
    !["SCRIPT", "title"].includes(element.tagName) &&
    ([...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) || element.placeholder));
  return shown.map((element) => {
    const style = getComputedStyle(element, element.placeholder ? "::placeholder" : null);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const [one, other] = [light(colour), light(behind(element))].sort((a, b) => a - b);
    return [(other + 0.05) / (one + 0.05), element.outerHTML.slice(0, 120)];
  });
})()"""
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
    """Nothing is loaded, nothing is run but what sorts tables, and it has its dark, its printed and its narrow form."""
    reader, text = read(path), path.read_text(encoding="utf-8")
    assert not {"iframe", "img", "object", "video", "form"} & set(reader.tags)
    assert not reader.loaded and not re.search(r"url\((?!#)|@import", text)
    assert len(reader.ids) == len(set(reader.ids))
    assert all(words in text for words in ("prefers-color-scheme: dark", "@media print", "max-width: 900px"))
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    # Another script than this one is not run by the browser, whoever put it there.
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{hashed}'\">" in text, f"page_head.html.j2 needs sha256-{hashed}"


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
