"""Sentence boundaries, and text split at them into segments: complete text, and text that is arriving.

The rules do not depend on the language: they use stops, blanks and a list of abbreviations, and do not end
a sentence in doubt. The pieces of a text, joined, are always equal to the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from smallest_cli.models import SEGMENT_CHARS
from smallest_cli.text.graphemes import last_boundary, splits_grapheme

_STOPS = ".!?…؟۔։።፧‼⁇⁈⁉"
_FINAL_STOPS = "!?؟‼⁇⁈⁉"
"""Stops that are never part of a word."""
_SCRIPT_STOPS = "。！？．｡।॥။៕"
"""Stops of scripts in which no blank follows them."""
_CLOSERS = "\"'”’»›)}」』）】*_\\]"
_STOP = re.compile(
    f"(?P<stops>(?<![{_STOPS}])[{_STOPS}]++)(?P<closers>[{_CLOSERS}]*+)(?P<blanks>\\s+|$)"
    f"|(?P<script>[{_SCRIPT_STOPS}][{_SCRIPT_STOPS}{_STOPS}]*)[{_CLOSERS}]*\\s*"
    "|\n\\s*"
)
_CLAUSE_END = re.compile(f"[,;:—–،؛][{_CLOSERS}]*\\s+|[、，；：][{_CLOSERS}]*\\s*")
_BLANKS = re.compile(r"\s+")
_COMPLETE_END = re.compile(
    f"(?:\\s|[^\\W\\d_][{_CLOSERS}]*[{_STOPS}]+|[{_FINAL_STOPS}{_SCRIPT_STOPS}])[{_CLOSERS}]*\\Z"
)
_SPOKEN = re.compile(r"[^\W_]")
"""A letter or digit: text without any cannot be spoken."""
_NEXT_WORD = re.compile(r"[\"'“‘„«(\[¿¡*_]*(.?)", re.DOTALL)
_LAST_WORD = re.compile(r"[^\W_]+(?:\.[^\W_]+)*$")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_]{1,2})*|[^\W\d_]{1,2}(?:\.[^\W\d_]{1,2})+")
_LIST_NUMBER = re.compile(r"(?:^|[:;]\s)\s*[(\[]?(?:\d{1,3}|[^\W\d_]|[ivxIVX]{1,4})$")
_ADDRESS = re.compile(r"[./@=]\w")
_ELLIPSIS = re.compile("[.…]{2,}|…")
_QUOTES = ("“”", "「」", "『』", "（）", "()")
_LOOKBEHIND = 24
"""Characters before a stop in which its word is looked for."""
_ABBREVIATIONS = frozenset(
    re.findall(
        r"\w+",
        """mr mrs ms messrs dr phd prof rev hon st mt ft ave blvd vs etc eg ie cf al inc ltd co corp jr sr
        dept est approx gen col sgt capt lt maj cmdr adm gov sen rep pres ed eds usw bzw ca evtl ggf inkl zzgl
        bspw vgl sog geb hr fr frl mme mlle mgr av sra srta dra ud uds""",
    )
)
_BEFORE_NUMBERS = frozenset(
    re.findall(
        r"\w+",
        """no nos vol vols pp fig figs sec ch eq art nr abs str pág núm tel
        jan feb mar apr jun jul aug sep sept oct nov dec""",
    )
)
"""Abbreviations if a number follows, else words."""


def sentence_ends(text: str, *, arriving: bool = False) -> Iterator[int]:
    """Yield the end of each sentence, after its closing marks and blanks.

    Every sentence has a letter or digit. A line end counts as a paragraph's end. For text that is `arriving`,
    an end at which more text could still continue the sentence is left out.
    """
    start = searched = 0
    spoken = False
    for match in _STOP.finditer(text):
        spoken = spoken or _SPOKEN.search(text, searched, match.end()) is not None
        searched = match.end()
        if not (spoken and _is_end(text, start, match)):
            continue
        if arriving and searched == len(text) and not _is_certain(text[start:], match):
            continue
        start, spoken = searched, False
        yield start


def _is_end(text: str, start: int, match: re.Match[str]) -> bool:
    if splits_grapheme(text, match.end()):
        return False
    if "\n" in match[0]:
        return True
    if match["script"]:
        return not (match[0] == "．" and text[match.end() : match.end() + 1].isdecimal())
    if match["stops"][-1] in _FINAL_STOPS and not match["closers"]:
        return True
    next_word = _NEXT_WORD.match(text, match.end())
    following = next_word[1] if next_word else ""
    if following.islower():
        return False
    return match["stops"] != "." or not _belongs_to_word(text, start, match.start(), following)


def _belongs_to_word(text: str, start: int, stop: int, following: str) -> bool:
    """Whether the full stop at `stop` belongs to an abbreviation, an initial or a list number."""
    before = text[max(start, stop - _LOOKBEHIND) : stop]
    word = _last_word(before)
    if word in _BEFORE_NUMBERS:
        return following.isdecimal()
    if word in _ABBREVIATIONS or _INITIALS.fullmatch(word):
        return True
    return _LIST_NUMBER.search(before) is not None


def _last_word(text: str) -> str:
    word = _LAST_WORD.search(text)
    return word[0].lower() if word else ""


def _is_certain(sentence: str, match: re.Match[str]) -> bool:
    """Whether no continuation of `sentence`, the end of the text so far, could undo its end."""
    if "\n" in match[0]:
        return True
    if match["script"]:
        return match["script"] != "．" and not _has_open_quote(sentence)
    if match["blanks"]:
        before = match.string[max(0, match.start() - _LOOKBEHIND) : match.start()]
        return not _ELLIPSIS.fullmatch(match["stops"]) and _last_word(before) not in _BEFORE_NUMBERS
    word = sentence.rsplit(None, 1)[-1]
    return sentence[-1] in _FINAL_STOPS and not _ADDRESS.search(word) and not _has_open_quote(sentence)


def _has_open_quote(sentence: str) -> bool:
    """Whether a closing mark, which belongs to this sentence, is still missing."""
    unclosed = any(sentence.count(pair[0]) > sentence.count(pair[1]) for pair in _QUOTES)
    return unclosed or sentence.count('"') % 2 == 1


# Complete text


def split_segments(paragraph: str, limit: int = SEGMENT_CHARS) -> list[str]:
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
    for end in _complete_ends(paragraph):
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


def split_sentences(paragraph: str, limit: int = SEGMENT_CHARS) -> list[str]:
    """Split as `split_segments` does, with at most one sentence in a piece."""
    pieces: list[str] = []
    start = 0
    for end in _complete_ends(paragraph):
        pieces += split_segments(paragraph[start:end], limit)
        start = end
    return pieces


def _complete_ends(text: str) -> Iterator[int]:
    """Yield every sentence's end and the text's; unspoken text at the end joins the last sentence."""
    ends = sentence_ends(text)
    end = next(ends, len(text))
    for later in ends:
        yield end
        end = later
    if _SPOKEN.search(text, end):
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
        if cuts and _SPOKEN.search(text, 0, cuts[-1]):
            return cuts[-1]
    return last_boundary(text, limit)


# Arriving text


class SentenceSplitter:
    """Sentences of text that is arriving, each as soon as its end is certain.

    A full stop is certain when a blank follows it: a decimal or an address could go on. An ellipsis, or a
    stop after "No", is certain when the next word has begun. A "!", "?", "。" or danda is certain at once
    outside addresses and open quotes. So pieces may depend on how the text arrives (of "?" and "!" in two
    fragments the second is late), but joined with `pending` they are always the text. At most `limit`
    characters are held between calls. A piece has no letter or digit only if it is the last one, or if
    more than `limit` such characters came in a row.
    """

    def __init__(
        self, limit: int = SEGMENT_CHARS, first_limit: int | None = None, piece_limit: int = 0
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
        self.pending = ""
        """Text that was fed and not yet returned."""

    def feed(self, fragment: str) -> list[str]:
        """Add text; return the pieces that can be spoken now."""
        text = self.pending + fragment
        pieces: list[str] = []
        start = 0
        for end in sentence_ends(text, arriving=True):
            pieces += self._split(text[start:end])
            start = end
        while len(text) - start > self._limit:
            cut = start + _best_cut(text[start : start + self._piece_limit + 1], self._piece_limit)
            pieces.append(text[start:cut])
            start = cut
        self.pending = text[start:]
        if not pieces and self._first_limit and len(text) >= self._first_limit:
            cut = max((match.end() for match in _CLAUSE_END.finditer(self.pending)), default=0)
            if _SPOKEN.search(self.pending, 0, cut):
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
        if not _SPOKEN.search(text):
            return []
        self.pending = self.pending[len(text) :]
        return self._split(text)

    def flush(self) -> list[str]:
        """Return everything that is pending, without waiting for a sentence to end."""
        pieces, self.pending = self._split(self.pending), ""
        return pieces

    def _split(self, text: str) -> list[str]:
        return split_segments(text, self._limit if len(text) <= self._limit else self._piece_limit)
