"""Grapheme clusters and display width, by the tables of wcwidth.

wcwidth takes 20 ms to import, so it is loaded by the first text that needs it: plain Latin text does not.
"""

from __future__ import annotations

from collections.abc import Iterator

FIRST_COMBINING = "\u0300"
WINDOW = 32
"""Characters before a place that decide whether it is a boundary."""
_FLAG_FIRST, _FLAG_LAST = "\U0001f1e6", "\U0001f1ff"
_EXTENDING_LETTERS = "\u0e33\u0eb3\uff9e\uff9f"
"""The only letters that belong to the character before: Thai and Lao AM, halfwidth voicing marks."""


def splits_grapheme(text: str, at: int) -> bool:
    """Whether a cut at `at` would split a grapheme cluster (UAX #29)."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if before < FIRST_COMBINING and (
        after < FIRST_COMBINING or (after.isalpha() and after not in _EXTENDING_LETTERS)
    ):
        return before + after == "\r\n"
    if before == "\u200d":
        return True  # a zero-width joiner joins the next character, also in scripts without a rule in UAX #29
    from wcwidth import grapheme_boundary_before

    # A window, since the time of a call grows with the text. It must not start within a run of flags, in
    # which every second boundary is one.
    start = max(0, at - WINDOW)
    while start and _FLAG_FIRST <= text[start] <= _FLAG_LAST:
        start -= 1
    return start + grapheme_boundary_before(text[start : at + 1], at + 1 - start) != at


def last_boundary(text: str, at: int) -> int:
    """Return the last place from 1 to `at` that splits no cluster and is not followed by whitespace.

    Falls back to one that is followed by whitespace, then to `at` (a cluster that is longer than `at`).
    """
    boundaries = [place for place in range(at, 0, -1) if not splits_grapheme(text, place)]
    not_before_blank = (place for place in boundaries if not text[place : place + 1].isspace())
    return next(not_before_blank, boundaries[0] if boundaries else at)


def clusters(text: str) -> Iterator[tuple[str, int]]:
    """Yield the grapheme clusters of a text, each with its width in columns, in linear time.

    `width` of a complete text takes quadratic time for a row of flags. Control characters have no width.
    """
    if text.isascii():
        yield from ((character, int(character.isprintable())) for character in text)
        return
    from wcwidth import iter_graphemes, width

    joined, columns = [""], 0
    for cluster in iter_graphemes(text):
        if joined[-1] and not joined[-1].endswith("\u200d"):  # see splits_grapheme
            yield "".join(joined), columns
            joined, columns = [""], 0
        joined.append(cluster)
        columns += width(cluster, control_codes="ignore")
    yield "".join(joined), columns


def display_width(text: str) -> int:
    """Return the columns that `text` takes in a terminal; control characters count as none."""
    if text.isascii() and text.isprintable():
        return len(text)
    return sum(columns for _, columns in clusters(text))
