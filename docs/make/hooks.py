"""Hooks of MkDocs: generated references, pages and files from outside docs/, and figures inside the page.

The command line comes from the Typer app, the recipe keys from the schema. A link that leaves docs/ leads
to a page of the site where there is one (`PAGES`), else to a copy of the file, so the site needs no repository.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import cli_page
import keys_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Texts that live beside what they describe, and their pages.
PAGES = {
    "recipes/README.md": "recipes.md",
    "CONTRIBUTING.md": "develop.md",
    "CHANGELOG.md": "changes.md",
    "runtime/android/README.md": "android.md",
    "README.md": "index.md",
}
# What takes the place of a mark and of all that follows it, which is for readers without the site.
MARKS = {"<!-- commands -->": cli_page.text, "<!-- keys -->": keys_page.text}
LINK = re.compile(r"(\]\()(?!https?://|mailto:|#)([^)#\s]+)((?:#[^)\s]*)?\))")
AS_TEXT = (".py", ".yaml", ".md", ".toml", ".h", ".cpp", ".kt", "")  # what browsers would offer to save


@event_priority(100)  # before mkdocstrings looks for the folder
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Pages that the nav leaves out go to the end of Guides; the package as one tree for mkdocstrings."""
    named = set(re.findall(r"[\w-]+\.md", str(config.nav)))
    (guides,) = [entry["Guides"] for entry in config.nav or () if "Guides" in entry]
    guides += sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in named)
    _make_tree()
    return config


def _make_tree() -> None:
    """build/docs gets the package as it is once installed, for mkdocstrings; its rooms are elsewhere in the repository.

    In an editable install `speechpress` is compressor/api to whoever reads files and imports nothing.
    """
    package = ROOT / "build" / "docs" / "speechpress"
    package.mkdir(parents=True, exist_ok=True)
    rooms = [ROOT / name for name in ("compressor", "runtime", "devices", "recipes")]
    for source in [*rooms, *(ROOT / "compressor" / "api").glob("*.py")]:
        link = package / source.name
        if not link.is_symlink():
            link.symlink_to(source)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, name in PAGES.items():
        if files.get_file_from_path(name) is None:
            files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    copied = {target for file in files.documentation_pages() for target in _left(file)}
    for target in sorted(copied):
        files.append(File.generated(config, _copy_of(target), abs_src_path=str(ROOT / target)))
    return files


def _left(file: File) -> list[str]:
    """The files outside of the site's pages that a page links to, as paths in the repository."""
    targets = [_target(file.src_uri, found[2]) for found in LINK.finditer(file.content_string)]
    return [target for target in targets if (ROOT / target).is_file() and _page_of(target) is None]


def _target(page: str, link: str) -> str:
    """Where in the repository a link of a page leads."""
    home = next((source for source, name in PAGES.items() if name == page and page != "index.md"), f"docs/{page}")
    return os.path.normpath(os.path.join(os.path.dirname(home), link))  # noqa: PTH118, PTH120


def _page_of(target: str) -> str | None:
    if target in PAGES:
        return PAGES[target]
    return target.removeprefix("docs/") if target.startswith("docs/") else None


def _copy_of(target: str) -> str:
    return f"files/{target}" + (".txt" if Path(target).suffix in AS_TEXT else "")


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    def moved(found: re.Match[str]) -> str:
        target = _target(page.file.src_uri, found[2])
        if not (ROOT / target).is_file():
            raise PluginError(f"{page.file.src_uri}: {found[2]} leads to {target}, which is no file")
        return found[1] + (_page_of(target) or _copy_of(target)) + found[3]

    for mark, make in MARKS.items():
        before, found, _ = markdown.partition(mark)
        markdown = before + make() if found else markdown
    # Not in code: there a bracket and a parenthesis are no link.
    parts = re.split(r"(^```.*?^```|`[^`\n]+`)", markdown, flags=re.M | re.S)
    return "".join(part if number % 2 else LINK.sub(moved, part) for number, part in enumerate(parts))


def on_page_content(html: str, **_: Any) -> str:
    """Figures of docs/figures stand in the page itself, so that they follow its colours and not only the system's."""
    return re.sub(r'<img alt="([^"]*)" src="figures/([\w-]+)\.svg" ?/?>', _inline, html)


def _inline(found: re.Match[str]) -> str:
    drawing = (ROOT / "docs" / "figures" / f"{found[2]}.svg").read_text(encoding="utf-8")
    return drawing.replace("<svg ", f'<svg role="img" aria-label="{found[1]}" ', 1)
