"""The documentation site: its nav, its generated references, and that it loads nothing from elsewhere."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from speechpress.compressor.cli.main import app

ROOT = Path(__file__).parents[2]
NEEDS = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("mkdocs", "material", "mkdocstrings")),
    reason="the site is built by .ci/run, with the extra `docs`",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site; every link and reference in it must be found, here and in .ci/run."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def nav_pages():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    return re.findall(r": ([\w-]+\.md)$", nav, re.M)


def test_every_page_of_the_nav_is_written_or_taken_from_beside_its_subject():
    taken = {"recipes.md", "develop.md", "changes.md", "android.md"}
    assert len(nav_pages()) == len(set(nav_pages()))
    missing = {name for name in nav_pages() if not (ROOT / "docs" / name).is_file()}
    assert missing == taken


@NEEDS
def test_every_page_is_built_and_in_the_nav(site):
    start = (site / "index.html").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        page = "./" if path.stem == "index" else f"{path.stem}.html"
        assert f'href="{page}"' in start or path.stem == "index", path.name
        assert (site / f"{path.stem}.html").is_file()


@NEEDS
def test_the_command_line_s_page_has_every_command_and_option(site):
    page = (site / "cli.html").read_text(encoding="utf-8")
    for name, command in typer.main.get_command(app).commands.items():
        for sub, one in getattr(command, "commands", {"": command}).items():
            title = f"{name} {sub}".strip()
            (part,) = re.findall(rf'<h2 id="{title.replace(" ", "-")}">.*?(?=<h2|</article>)', page, re.S)
            for item in one.params:
                assert all(f"<code>{option}</code>" in part for option in item.opts if option.startswith("--")), item


@NEEDS
def test_the_keys_page_and_the_python_page_have_what_there_is(site):
    import speechpress

    keys = (site / "recipe-keys.html").read_text(encoding="utf-8")
    for key in ("train.lr", "match.clusters.count", "prune.final.steps", "hear.snr_db", "quantize.scheme"):
        assert f"<code>{key}</code>" in keys
    python = (site / "python.html").read_text(encoding="utf-8")
    for name in set(speechpress.__all__) - {"__version__"}:
        assert re.search(rf'<h3 id="speechpress\.[\w.]*\b{name}"', python), name


@NEEDS
def test_no_page_loads_anything_from_elsewhere(site):
    """Links may lead outside; nothing that a browser fetches by itself may."""
    for path in [*site.rglob("*.html"), *site.rglob("*.css"), *site.rglob("*.svg")]:
        text = path.read_text(encoding="utf-8")
        loads = re.findall(r'<(?:script|img|iframe|source|link)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]+)"', text)
        loads += re.findall(r"""(?:url\(|@import\s+)["']?((?:https?:)?//[^"')]+)""", text)
        assert not loads, f"{path.name}: {loads}"


def test_pictures_are_small_and_load_nothing():
    for path in [ROOT / "docs" / "demo.svg", *(ROOT / "docs" / "figures").glob("*.svg")]:
        text = path.read_text(encoding="utf-8")
        assert len(text) < 200_000 and not re.search(r"(?:href|src)=|url\((?!#)|@import", text), path.name
