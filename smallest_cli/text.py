"""Text made ready to be spoken: normalised once, and cut where a reader would breathe.

It drops nothing but in `normalise`, whole or arriving: joined, the pieces are always the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from smallest_cli.graphemes import joined, whole_characters
from smallest_cli.stops import CLAUSE_END, SPOKEN, sentence_ends

LIMIT = 250

# Normalising

_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff"
)
"""Scripts that set no blanks between words: where their line was wrapped, nothing was."""
_UNSPACED_WRAP = re.compile(f"(?<=[{_UNSPACED}])\\s*\n\\s*(?=[{_UNSPACED}])")
_BLANKS = re.compile(r"\s+")
_BLANKS_NOT_ONE_SPACE = re.compile(r"\s{2,}|[^\S ]")


@dataclass(frozen=True, slots=True)
class Normalised:
    """Paragraphs without wrapped lines or control characters, and how many of the latter were `removed`."""

    paragraphs: tuple[str, ...]
    removed: int


def normalise(text: str) -> Normalised:
    """Unwrap lines, make every run of blanks one, drop control characters. Doing it again changes nothing."""
    text, removed = _clean(text)
    paragraphs = (
        _BLANKS_NOT_ONE_SPACE.sub(" ", _UNSPACED_WRAP.sub("", part)).strip()
        for part in _PARAGRAPH_END.split(text)
    )
    return Normalised(tuple(part for part in paragraphs if part), removed)


def _clean(text: str) -> tuple[str, int]:
    """One kind of line end and no control characters, and how many of these there were.

    A form feed stays, as a blank: a sentence may run on to the next page.
    """
    text = re.sub("\r\n?|[\x0b\x85\u2028]", "\n", text)
    return _CONTROL.subn("", text.replace("\u2029", "\n\n").replace("\u00ad", ""))


class Unwrapping:
    """`normalise` for text that is still arriving: what comes out does not depend on where it was cut.

    A line end in what comes out ends a paragraph: a mark of no width, to be left out of what is sent.
    Without these marks it is the paragraphs of `normalise`, joined by blanks. `removed` counts as it does.
    """

    def __init__(self) -> None:
        self.removed = 0
        self._last = ""
        self._after_return = False
        self._blanks = self._line_ends = 0
        self._spaced = False

    def feed(self, fragment: str) -> str:
        """Take in more text; what is settled of it now."""
        if self._after_return:
            fragment = fragment.removeprefix("\n")
        self._after_return = fragment.endswith("\r") or (self._after_return and not fragment)
        fragment, removed = _clean(fragment)
        self.removed += removed
        runs = re.findall(r"\s+|\S+", fragment)
        return "".join(self._space(run) if run.isspace() else self._word(run) for run in runs)

    def _space(self, run: str) -> str:
        if not self._last:
            return ""
        self._blanks += len(run)
        before = self._line_ends
        self._line_ends += run.count("\n")
        if before < 2 <= self._line_ends:
            return self._blank() + "\n"
        # Behind such a script it is not known yet whether a blank is meant or only a line was wrapped.
        return "" if re.match(f"[{_UNSPACED}]", self._last) else self._blank()

    def _blank(self) -> str:
        self._spaced, spaced = True, self._spaced
        return "" if spaced else " "

    def _word(self, run: str) -> str:
        wrapped = self._line_ends == 1 and re.match(f"[{_UNSPACED}]", run)
        blank = self._blank() if self._blanks and not wrapped else ""
        self._last, self._blanks, self._line_ends, self._spaced = run[-1], 0, 0, False
        return blank + run


# Cutting


def segments(paragraph: str, limit: int = LIMIT) -> list[str]:
    """Pieces of at most `limit` characters, as few as sentence ends allow; 0 cuts nothing.

    Blanks stay with the piece before. A sentence that is too long is cut at a clause, else at a blank, else
    between two characters as a person sees them. A piece without letter or digit is left only where there
    is no room for it beside one. Raises ValueError for a negative limit.
    """
    if limit < 0:
        raise ValueError("a limit is not negative")
    if not limit:
        return [paragraph] if paragraph else []
    pieces: list[str] = []
    began = held = 0
    for end in _ends_of_sentences(paragraph):
        if end - began > limit and held > began:
            pieces.append(paragraph[began:held])
            began = held
        last = _last_spoken(paragraph, began, end) if end - began > limit else began
        while end - began > limit:
            # What is left must hold a letter, if what follows the last one leaves room for it.
            most = last - began if began < last < began + limit and end - last <= limit else limit
            cut = began + _cut(paragraph[began : began + most + 1], most)
            pieces.append(paragraph[began:cut])
            began = cut
        held = end
    if held > began:
        pieces.append(paragraph[began:held])
    return pieces


def sentences(paragraph: str, limit: int = LIMIT) -> list[str]:
    """As `segments`, but that no piece holds more than one sentence."""
    pieces: list[str] = []
    began = 0
    for end in _ends_of_sentences(paragraph):
        pieces += segments(paragraph[began:end], limit)
        began = end
    return pieces


def _ends_of_sentences(text: str) -> Iterator[int]:
    """Every sentence's end; what follows the last one without a letter or digit belongs to it."""
    ends = sentence_ends(text)
    end = next(ends, len(text))
    for later in ends:
        yield end
        end = later
    if SPOKEN.search(text, end):
        yield end
    yield len(text)


def _last_spoken(text: str, began: int, end: int) -> int:
    """Where the last character with a letter or digit begins; `began` if there is none behind it."""
    last = next((at for at in range(end - 1, began, -1) if text[at].isalnum()), began)
    while last > began and joined(text, last):
        last -= 1
    return last


def _cut(text: str, limit: int) -> int:
    """Where `text`, which is longer than `limit`, is best cut: from 1 to `limit`."""
    for kind, start in ((CLAUSE_END, limit // 3), (_BLANKS, 0)):
        ends = (match.end() for match in kind.finditer(text, start))
        cuts = [end for end in ends if end <= limit and not joined(text, end)]
        if cuts and SPOKEN.search(text, 0, cuts[-1]):
            return cuts[-1]
    return whole_characters(text, limit)


class Sentences:
    """Sentences out of text that is still arriving, each as soon as its end is certain.

    A full stop is certain when a blank follows it: a decimal or an address could go on. So is an ellipsis,
    or a stop after "No", when the next word has begun. A "!", "?", "。" or danda is certain at once, outside
    addresses and open quotations. So cuts may depend on how the text arrives (of "?" and "!" in two
    fragments the second comes too late), for to wait would cost the time that this is for; but what comes
    out, joined with `pending`, is always what went in. At most `limit` characters are held between calls.
    A piece may be of blanks or marks alone only where more of them came in a row than the limit, or last.
    """

    def __init__(self, limit: int = LIMIT, first_limit: int | None = None) -> None:
        """`first_limit`: when that many characters have come, the first piece may end at a clause.

        Raises ValueError for a limit below 1: text that arrives may have no end.
        """
        if limit < 1:
            raise ValueError("text that arrives needs a limit")
        self._limit = limit
        self._first_limit = first_limit
        self._pending = ""

    @property
    def pending(self) -> str:
        """What came and was not given out."""
        return self._pending

    def feed(self, fragment: str) -> list[str]:
        """Take in more text; what can be spoken now."""
        text = self._pending + fragment
        pieces: list[str] = []
        began = 0
        for end in sentence_ends(text, arriving=True):
            pieces += segments(text[began:end], self._limit)
            began = end
        while len(text) - began > self._limit:
            cut = began + _cut(text[began : began + self._limit + 1], self._limit)
            pieces.append(text[began:cut])
            began = cut
        self._pending = text[began:]
        if not pieces and self._first_limit and len(text) >= self._first_limit:
            pieces = self._first_clauses()
        if pieces:
            self._first_limit = None
        return pieces

    def _first_clauses(self) -> list[str]:
        """All clauses that are complete, as one piece, if there are any."""
        cut = max((match.end() for match in CLAUSE_END.finditer(self._pending)), default=0)
        if not SPOKEN.search(self._pending, 0, cut):
            return []
        piece, self._pending = self._pending[:cut], self._pending[cut:]
        return [piece]

    def flush(self) -> list[str]:
        """What is left, the last sentence without waiting for its end."""
        pieces, self._pending = segments(self._pending, self._limit), ""
        return pieces
