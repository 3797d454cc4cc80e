"""Text split at sentence ends into segments: complete text, and text that is arriving.

The pieces of a text, joined, are always equal to the text. A `language` is an ISO code, e.g. "hi";
with None or "auto" the rules that fit all languages are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from smallest_cli.models import SEGMENT_CHARS
from smallest_cli.text.boundaries import CLOSERS, SPOKEN, sentence_ends
from smallest_cli.text.graphemes import last_boundary, splits_grapheme

_CLAUSE_END = re.compile(f"[,;:—–،؛][{CLOSERS}]*\\s+|[、，；：][{CLOSERS}]*\\s*")
_BLANKS = re.compile(r"\s+")
_COMPLETE_END = re.compile(f"(?:\\s|[^\\W\\d_][{CLOSERS}]*[.…]+|[!?؟‼⁇⁈⁉。！？।॥។።])[{CLOSERS}]*\\Z")
"""The end of a sentence, or of a word before a blank; a number with a stop may be a decimal."""


# Complete text


def split_segments(paragraph: str, limit: int = SEGMENT_CHARS, *, language: str | None = None) -> list[str]:
    """Split into pieces of at most `limit` characters, as few as the sentence ends allow; 0 splits nothing.

    Blanks stay with the piece before. A sentence longer than `limit` is split after a clause, else after
    blanks, else between grapheme clusters. A piece without any letter or digit is made only where it does
    not fit into the one beside it. Raises ValueError for a negative limit.
    """
    if limit < 0:
        raise ValueError("a limit is not negative")
    if not limit:
        return [paragraph] if paragraph else []
    pieces: list[str] = []
    start = held = 0  # paragraph[start:held] is the sentences that share the next piece
    for end in _complete_ends(paragraph, language):
        if end - start > limit and held > start:
            pieces.append(paragraph[start:held])
            start = held
        last = _last_spoken(paragraph, start, end) if end - start > limit else start
        while end - start > limit:
            # The rest must keep a letter or digit, if it has room for what follows the last one.
            size = last - start if start < last < start + limit and end - last <= limit else limit
            cut = start + _best_cut(paragraph[start : start + size + 1], size)
            pieces.append(paragraph[start:cut])
            start = cut
        held = end
    if held > start:
        pieces.append(paragraph[start:held])
    return pieces


def split_sentences(paragraph: str, limit: int = SEGMENT_CHARS, *, language: str | None = None) -> list[str]:
    """Split as `split_segments` does, with at most one sentence in a piece."""
    pieces: list[str] = []
    start = 0
    for end in _complete_ends(paragraph, language):
        pieces += split_segments(paragraph[start:end], limit, language=language)
        start = end
    return pieces


def _complete_ends(text: str, language: str | None) -> Iterator[int]:
    """Yield every sentence's end and the text's; unspoken text at the end joins the last sentence."""
    ends = sentence_ends(text, language=language)
    end = next(ends, len(text))
    for later in ends:
        yield end
        end = later
    if SPOKEN.search(text, end):
        yield end
    yield len(text)


def _last_spoken(text: str, start: int, end: int) -> int:
    """Return the start of the last cluster with a letter or digit, `start` if none comes later."""
    last = next((at for at in range(end - 1, start, -1) if text[at].isalnum()), start)
    while last > start and splits_grapheme(text, last):
        last -= 1
    return last


def _best_cut(text: str, limit: int) -> int:
    """Return the best place, from 1 to `limit`, to cut a text that is longer than `limit`."""
    # A clause that ends within the first third would make too short a piece.
    for kind, start in ((_CLAUSE_END, limit // 3), (_BLANKS, 0)):
        ends = (match.end() for match in kind.finditer(text, start))
        cuts = [end for end in ends if end <= limit and not splits_grapheme(text, end)]
        if cuts and SPOKEN.search(text, 0, cuts[-1]):
            return cuts[-1]
    return last_boundary(text, limit)


# Arriving text


class SentenceSplitter:
    """Sentences of text that is arriving, each as soon as its end is certain.

    A ".", "!" or "?" is certain when a blank follows it: a decimal, an address or "?!" could go on. It needs
    the next word, or its first letter, after an abbreviation, an initial, a number, an ellipsis, a closing
    quote or a name as "Yahoo!". A "。" or danda is certain at once outside open quotes. So pieces may depend
    on how the text arrives, but joined with `pending` they are always the text. At most `limit`
    characters are held between calls. A piece has no letter or digit only if it is the last one, or if
    more than `limit` such characters came in a row.
    """

    def __init__(
        self,
        limit: int = SEGMENT_CHARS,
        first_limit: int | None = None,
        piece_limit: int = 0,
        *,
        language: str | None = None,
    ) -> None:
        """Raises ValueError for a limit below 1: arriving text may have no end.

        `first_limit`: once that many characters have come, the first piece may end at a clause.
        `piece_limit`: the size of the pieces of a sentence that is longer than `limit`; 0 is `limit`.
        """
        if limit < 1:
            raise ValueError("text that arrives needs a limit")
        self._limit = limit
        self._piece_limit = min(limit, piece_limit or limit)
        self._first_limit = first_limit
        self._language = language
        self.pending = ""
        """Text that was fed and not yet returned."""

    def feed(self, fragment: str) -> list[str]:
        """Add text; return the pieces that can be spoken now."""
        text = self.pending + fragment
        pieces: list[str] = []
        start = 0
        for end in sentence_ends(text, arriving=True, language=self._language):
            pieces += self._split(text[start:end])
            start = end
        while len(text) - start > self._limit:
            cut = start + _best_cut(text[start : start + self._piece_limit + 1], self._piece_limit)
            pieces.append(text[start:cut])
            start = cut
        self.pending = text[start:]
        if not pieces and self._first_limit and len(text) >= self._first_limit:
            cut = max((match.end() for match in _CLAUSE_END.finditer(self.pending)), default=0)
            if SPOKEN.search(self.pending, 0, cut):
                pieces, self.pending = [self.pending[:cut]], self.pending[cut:]
        if pieces:
            self._first_limit = None
        return pieces

    def release(self) -> list[str]:
        """Return what is pending up to the last blank: more text may not come soon, but a word may go on.

        A last word with the stop of a sentence is complete; a number with a stop is not.
        """
        text = self.pending
        if text.strip() and not _COMPLETE_END.search(text):
            text = text.removesuffix(text.split()[-1])
        if not SPOKEN.search(text):
            return []
        self.pending = self.pending[len(text) :]
        return self._split(text)

    def flush(self) -> list[str]:
        """Return everything that is pending, without waiting for a sentence to end."""
        pieces, self.pending = self._split(self.pending), ""
        return pieces

    def _split(self, text: str) -> list[str]:
        limit = self._limit if len(text) <= self._limit else self._piece_limit
        return split_segments(text, limit, language=self._language)
