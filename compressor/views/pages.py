"""Pages that load nothing from anywhere, in the style of the devices' report."""

from datetime import UTC, datetime
from typing import Any

from speechpress.runtime.escape import markdown_text


def render(template: str, **values: Any) -> str:
    """A page from a template of this package; it also gets `made`, the time in UTC."""
    # Only commands that write a page need it.
    import jinja2

    places = ("compressor.views", "."), ("devices", "."), ("runtime.demo", "page")
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(f"speechpress.{name}", folder) for name, folder in places])
    # Names and labels come from other people's files and must not become markup.
    pages = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made = datetime.now(UTC).isoformat(sep=" ", timespec="minutes")[:16]
    return pages.get_template(template).render(made=made, **values)


def markdown_table(heads: list[str], rows: list[list[str]], *, left: int = 1) -> str:
    """A table in Markdown; its first `left` columns are words, the others numbers. Cells are text, not markup."""
    marks = ["---"] * left + ["--:"] * (len(heads) - left)
    lines = [[markdown_text(cell) for cell in heads], marks, *([markdown_text(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
