"""Markdown syntax is removed and its text kept, however the text is chunked."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from smallest_cli.text.markdown import MarkdownStripper


def words(*fragments: str) -> str:
    plain = MarkdownStripper()
    return "".join(map(plain.feed, fragments)) + plain.flush()


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("**Bold**, *slanted* and ***both***.", "Bold, slanted and both."),
        ("__Bold__, _slanted_ and snake_case_name.", "Bold, slanted and snake_case_name."),
        ("2 * 3 = 6 and 2*3", "2 * 3 = 6 and 2*3"),
        ("# A heading\nText", "A heading Text"),
        ("Things:\n- one\n- [x] two\n* three\n1. four\n2) five", "Things: one two three four five"),
        ("> quoted\n> more", "quoted more"),
        ('See [the *docs*](https://a.b/c_(d) "t") now', "See the docs now"),
        ("![a cat](cat.png) sat", "a cat sat"),
        ("[one][ref] two\n\n[ref]: https://a.b\n", "one two"),
        ("<https://a.b> and <b>tags</b>", "https://a.b and tags"),
        ("Run `make demo` now", "Run make demo now"),
        ("Before\n```python\nprint(1)\n```\nAfter", "Before After"),
        ("Never closed\n```\nprint(1)", "Never closed"),
        ("A\n\n---\n\nB", "A B"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", "a b 1 2"),
        (r"not \*marked\* and \# neither", "not *marked* and # neither"),
        ("~~gone~~ and ~5 minutes", "gone and ~5 minutes"),
        ("[1] is a note, a[0] too", "[1] is a note, a[0] too"),
        ("It was 1999. Then: 3 < 4, a < b", "It was 1999. Then: 3 < 4, a < b"),
        ("Well! Good [", "Well! Good ["),
        ("", ""),
    ],
)
def test_markdown_syntax_is_removed_and_text_is_kept(text: str, spoken: str) -> None:
    assert " ".join(words(text).split()) == spoken
    assert words(*text) == words(text)


@given(st.text(alphabet="ab1 \n*_`#->[]()!\\<|~.:", max_size=120), st.lists(st.integers(1, 9), max_size=20))
@settings(max_examples=500)
def test_output_does_not_depend_on_chunking(text: str, cuts: list[int]) -> None:
    expected, fragments = words(text), []
    for size in cuts:
        fragments.append(text[:size])
        text = text[size:]
    assert words(*fragments, text) == expected


@given(st.text(alphabet=st.characters(exclude_characters="\\*_~`[!<|\n#-+•>=:0123456789"), max_size=200))
def test_text_without_syntax_is_unchanged(text: str) -> None:
    assert words(text) == text


def test_headings_and_list_items_end_with_a_paragraph_break() -> None:
    assert words("# Title\n- one\n- two\nthree").count("\n\n") >= 3


def test_unclosed_syntax_is_buffered_only_up_to_a_limit() -> None:
    plain = MarkdownStripper()
    length = sum(len(plain.feed("[" + "word " * 100)) for _ in range(100))
    assert length > 45_000


DOCUMENT = """\
# How to boil an egg

First, **fill** a pot with *cold* water. Then:

1. Put in the egg.
2. Heat it, see [the guide](https://example.com/eggs "Eggs").
3. Wait `six` minutes.

> Salt helps, they say.

* It is *done* when it is done.
* Enjoy __at once__.
"""


def test_words_match_those_of_markdown_it() -> None:
    parsed = " ".join(
        child.content
        for token in MarkdownIt().parse(DOCUMENT)
        for child in token.children or []
        if child.type in ("text", "code_inline")
    )
    assert re.findall(r"\w+", words(DOCUMENT)) == re.findall(r"\w+", parsed)
