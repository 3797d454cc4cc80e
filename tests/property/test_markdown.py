"""Markdown of real documents and generated ones, against a complete parse by plain markdown-it."""

from __future__ import annotations

import random
import sysconfig
from importlib.metadata import distributions
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallest_cli.text.markdown import MarkdownStripper
from tests.support.cuts import cut
from tests.support.spoken_markdown import compare, link_targets, reference, shown, words

MAX_DOCUMENT = 60_000
SHORT = 4_000
"""Characters of a document that is cut at every token, not only at some places."""


def spoken(*fragments: str) -> str:
    plain = MarkdownStripper()
    return "".join(map(plain.feed, fragments)) + plain.flush()


# Generated documents

INLINE = st.sampled_from(
    [
        *("word", "two words", "**bold**", "*it*", "_under_", "`code <b>`", "[link](http://a.b)", "[x][y]"),
        *("![alt](i.png)", "<b>tag</b>", "<year>", "a*b", "&amp;", "~~gone~~", "[1]", "5 * 3", "a|b", "end."),
        *("**open", "[open", "`open", "<open", ":rocket:", "https://a.b/c", "\\*", "snake_case", "दो_शब्द"),
    ]
)
LINE = st.lists(INLINE, min_size=1, max_size=5).map(" ".join)
PREFIX = st.sampled_from(
    ["", "", "- ", "1. ", "7) ", "> ", "# ", "  ", "   - ", "> - ", "- [x] ", "| ", "    ", "[r]: ", "*"]
)
OTHER_LINES = [
    *("", "", "", "```", "~~~ py", "---", "===", "<div>", "</div>", "<!--", "-->", "> [!NOTE]"),
    *("| a | b |\n|---|---|", "\na | *b*\n--|--"),
]
BLOCK_LINE = st.builds("{}{}".format, PREFIX, LINE) | st.sampled_from(OTHER_LINES)
DOCUMENT = st.lists(BLOCK_LINE, max_size=12).map("\n".join)
MARKS = st.text(alphabet="ab1 \n*_`#->[]()!\\<|~.:=&", max_size=80)


@settings(max_examples=400, deadline=None)
@given(DOCUMENT | MARKS, st.lists(st.integers(1, 9), max_size=60))
def test_words_do_not_depend_on_the_cuts(document: str, sizes: list[int]) -> None:
    assert shown(spoken(*cut(document, sizes))) == shown(spoken(document))


@settings(max_examples=300, deadline=None)
@given(DOCUMENT)
def test_generated_documents_have_the_words_of_the_parser(document: str) -> None:
    document = f"# Title\n\n{document}"  # in plain text an indented block may be a paragraph
    assert compare(document, spoken(document)) == ([], [])


@given(st.text(alphabet=st.characters(exclude_characters="\\*_~`[!<|\n\r#-+•>=:&0123456789\t \u2028\u2029")))
def test_a_word_without_marks_is_unchanged(text: str) -> None:
    assert shown(spoken(text)) == shown(text)


# Real documents


def real_documents() -> list[Path]:
    """Markdown files and descriptions of the installed packages."""
    folder = Path(sysconfig.get_path("purelib"))
    found = [path for path in folder.rglob("*.md") if path.stat().st_size < MAX_DOCUMENT]
    for each in distributions():
        path = Path(
            str(each.locate_file("")), f"{each.name.replace('-', '_')}-{each.version}.dist-info", "METADATA"
        )
        if path.is_file() and each.metadata["Description-Content-Type"] in ("text/markdown", None):
            found.append(path)
    return sorted({path for path in found if path.stat().st_size < MAX_DOCUMENT})  # fmt: skip


DOCUMENTS = real_documents()


def check(path: Path) -> None:
    document = path.read_text("utf-8", "replace").replace("\r\n", "\n")
    if path.name == "METADATA":
        document = document.partition("\n\n")[2]
    document = f"# Title\n\n{document}"
    whole = spoken(document)
    assert compare(document, whole) == ([], [])
    known = reference(document)
    assert [
        each for each in link_targets(document) if len(each) > 12 and each in whole and each not in known
    ] == []
    tokens = [3] * len(document) if len(document) < SHORT else random_sizes(len(document))
    assert words(spoken(*cut(document, tokens))) == words(whole)


def random_sizes(length: int) -> list[int]:
    sizes = random.Random(length)
    return [sizes.choice((1, 4, 20, 300)) for _ in range(length // 60)]


@pytest.mark.parametrize(
    "path", list(islice(DOCUMENTS, 0, None, max(1, len(DOCUMENTS) // 25))), ids=lambda p: p.parent.name
)
def test_no_word_of_a_real_document_is_lost_or_added(path: Path) -> None:
    check(path)


@pytest.mark.long
def test_no_word_of_any_installed_document_is_lost_or_added() -> None:
    assert len(DOCUMENTS) > 20
    for path in DOCUMENTS:
        check(path)
