"""The pages' language: no phrase that was replaced, British spelling, no sentence that nobody finishes.

The words are those of CONTRIBUTING.md; misspelt words are found by codespell in .ci/run.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "recipes/README.md", "runtime/android/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
REPLACED = (
    r"and (?:that|this) is said",
    r"(?:which one|it|they|that) (?:is|are) (?:said|told)\b",
    r"\bunless told\b",
    r"goes in as|out comes",
    r"you can mend|\bmend(?:s|ed|ing)?\b",
    r"the very weights",
    r"cannot be had",
    r"minds (?:it|very|least)",
    r"what there is to know|there is to know of",
    r"\b(?:was|were|is|are) (?:not )?at hand\b",
    r"\bnobody\b|\bwhoever\b",
    r"\bso (?:many|long|late) (?:a|of|the|that)\b",
    r"\blet be\b",
    r"\(es\)|\(s\)",
    r"\b(?:can|could) be told apart\b",
    r"\bsays nothing of\b|\btells? nothing\b",
)
AMERICAN = (
    r"\b(?:normali|quanti|optimi|initiali|standardi|summari|regulari|visuali|minimi|maximi|locali|organi|recogni)z",
    r"\b(?:color|behavior|favor|center|analyz|catalog|gray|labeled|modeled|license[sd]? under)",
)
LONGEST = 60  # words


def prose(path):
    """A page without code, tables, headings, links' targets and pictures."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```|<!--.*?-->", "\n", text, flags=re.M | re.S)
    # Between quotation marks CONTRIBUTING lists what was replaced.
    text = re.sub(r"^    .*$|^\|.*$|^#.*$|^:::.*$|“[^”]*”|\"[^\"]*\"", "", text, flags=re.M)
    text = re.sub(r"`[^`]*`", "CODE", text)
    return re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_phrase_that_was_replaced_comes_back(path):
    text = prose(path)
    assert len(text.split()) > 20
    found = [match[0] for phrase in (*REPLACED, *AMERICAN) for match in re.finditer(phrase, text, re.I)]
    assert not found, f"{path.name}: {found}; see the words in CONTRIBUTING.md"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_sentence_ends_in_time(path):
    paragraphs = re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.) ", prose(path))
    sentences = [one for block in paragraphs for one in re.split(r"(?<=[.!?:;])\s", " ".join(block.split()))]
    longest = max(sentences, key=lambda one: len(one.split()))
    assert len(longest.split()) <= LONGEST, longest


def test_the_rules_find_what_they_are_for(tmp_path):
    page = tmp_path / "page.md"
    page.write_text('It is normalized, and that is said.\n\n`normalize`\n\n| nobody |\n\nAn error "you can mend it".\n')
    text = prose(page)
    assert [bool(re.search(rule, text, re.I)) for rule in (REPLACED[0], AMERICAN[0], r"\bnobody\b", r"mend")] == [
        *(True, True, False, False)
    ]
