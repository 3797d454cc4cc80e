"""Escape sequences, overstrikes, redrawn lines and control characters are removed, and no word with them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallest_cli.text.clean import MAX_REDRAWN, MAX_SEQUENCE, Cleaner, clean
from tests.support.cuts import cut


@pytest.mark.parametrize(
    ("text", "cleaned", "removed"),
    [
        ("plain\ttext\n", "plain\ttext\n", 0),
        ("\x1b[1mBold\x1b[0m and \x1b[38;5;196mred\x1b[m", "Bold and red", 4),
        ("\x9b1mBold\x9b0m", "Bold", 2),
        ("\x1b]8;;https://a.b\x1b\\link\x1b]8;;\x1b\\ end", "link end", 2),
        ("\x1b]0;a title\x07text", "text", 1),
        ("\x1bP1;2|data\x1b\\text", "text", 1),
        ("\x1b(Btext\x1b7\x1b8", "text", 3),
        ("a stray \x1bwhistle", "a stray whistle", 1),
        ("\x1b]0;never ends\nnext line", "]0;never ends\nnext line", 1),
        ("\x1b[01;31m\x1b[Kmatch\x1b[m\x1b[K rest", "match rest", 4),
        ("cut off \x1b[1", "cut off [1", 1),
        ("B\bBo\bol\bld and _\bu_\bn, x\b_y", "Bold and un, xy", 6),
        ("B\bB\bBold", "Bold", 2),
        ("snake_case_ and _", "snake_case_ and _", 0),
        ("⠋ Loading\r⠙ Loading\r⠹ Loading\rDone\n", "⠋ Loading\n⠹ Loading\nDone\n", 2),
        ("10 %\r\x1b[K20 %\r\x1b[K30 %\r\x1b[KDone\n", "10 %\nDone\n", 3),
        ("⠋ A\r\x1b[K⠙ A\r\x1b[2KDone.\n", "⠋ A\nDone.\n", 2),
        ("A\x1b[2K\rB\x1b[2K\rC", "A\nC", 2),
        (
            "one\r\ntwo\rthree\x0bfour\x85five\u2028six\u2029seven",
            "one\ntwo\nthree\nfour\nfive\nsix\n\nseven",
            0,
        ),
        ("\ufeffno mark\ufeff", "no mark", 0),
        ("so\u00adft hy\u00ad\n  phen", "soft hyphen", 0),
        ("ﬁne oﬃce ﬂow", "fine office flow", 0),
        ("A\x00b\u202ed\x7f\ud800", "Abd", 4),
        ("family 👨\u200d👩\u200d👧, क्\u200dष, e\u0301", "family 👨\u200d👩\u200d👧, क्\u200dष, e\u0301", 0),
        ("a form\ffeed", "a form\ffeed", 0),
        ("", "", 0),
    ],
)
def test_what_is_not_text_is_removed_and_counted(text: str, cleaned: str, removed: int) -> None:
    assert clean(text) == (cleaned, removed)
    cleaner = Cleaner()
    assert "".join(map(cleaner.feed, text)) + cleaner.flush() == cleaned
    assert cleaner.removed == removed


@settings(max_examples=400)
@given(
    st.text(alphabet="ab _\n\r\t\x1b[]K0m2;\\\x07\x08\u00ad⠋\x9b\u2028\x0c", max_size=40) | st.text(),
    st.lists(st.integers(1, 9)),
)
def test_result_does_not_depend_on_the_cuts(text: str, sizes: list[int]) -> None:
    cleaner = Cleaner()
    joined = "".join(map(cleaner.feed, cut(text, sizes))) + cleaner.flush()
    assert (joined, cleaner.removed) == clean(text)


@given(st.text())
def test_cleaning_is_idempotent(text: str) -> None:
    once, _ = clean(text)
    assert clean(once) == (once, 0)


@pytest.mark.parametrize(
    "text", ["\x1b]", "\x1b[1;", "\r", "\x1b[2K", "_\x08", "\u00ad", "\r\u280b", "\x1bP"]
)
def test_held_text_is_bounded_and_time_is_linear(text: str) -> None:
    cleaner = Cleaner()
    for _ in range(300):
        cleaner.feed(text * (1000 // len(text)))
        assert len(cleaner._held) <= 2 * (MAX_SEQUENCE + MAX_REDRAWN)
