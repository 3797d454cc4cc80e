"""Text cut where a reader would breathe, whole or arriving. Joined, the pieces are always the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from smallest_cli.errors import UsageError
from smallest_cli.models import Silence, SpeechRequest
from smallest_cli.text.normalize import normalize
from smallest_cli.text.sentences import CLAUSE_END, SPOKEN, joined, sentence_ends, whole_characters

LIMIT = 250
_BLANKS = re.compile(r"\s+")


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

    def __init__(self, limit: int = LIMIT, first_limit: int | None = None, most: int = 0) -> None:
        """`first_limit`: when that many characters have come, the first piece may end at a clause.

        `most`: a sentence that is too long is cut into pieces of at most so many; 0 for `limit`.
        Raises ValueError for a limit below 1: text that arrives may have no end.
        """
        if limit < 1:
            raise ValueError("text that arrives needs a limit")
        self._limit = limit
        self._most = min(limit, most or limit)
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
            pieces += self._segments(text[began:end])
            began = end
        while len(text) - began > self._limit:
            cut = began + _cut(text[began : began + self._most + 1], self._most)
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
        pieces, self._pending = self._segments(self._pending), ""
        return pieces

    def _segments(self, text: str) -> list[str]:
        return segments(text, self._limit if len(text) <= self._limit else self._most)


SPLIT = 250


@dataclass(frozen=True, slots=True)
class Script:
    """Segments and silences. `removed` counts the control characters that were left out of the text."""

    items: tuple[SpeechRequest | Silence, ...]
    removed: int

    @property
    def segments(self) -> int:
        """How many requests it takes."""
        return sum(isinstance(item, SpeechRequest) for item in self.items)

    @property
    def characters(self) -> int:
        """What is paid for."""
        return sum(len(item.text) for item in self.items if isinstance(item, SpeechRequest))


def write_script(
    texts: Sequence[str], template: SpeechRequest, *, split: int, pause_s: float, by_sentence: bool = False
) -> Script:
    """Cut texts into segments of at most `split` characters (0 for no cut), spoken as `template` says.

    `by_sentence` keeps sentences apart that would share a segment.
    Between paragraphs, and each text begins one, are `pause_s` seconds of silence. Raises UsageError
    where there is nothing to say.
    """
    text = normalize("\n\n".join(texts))
    items = tuple(_items(text.paragraphs, template, split, pause_s, by_sentence))
    if not items:
        raise UsageError("nothing to speak: the text is empty")
    return Script(items, text.removed)


def _items(
    paragraphs: Sequence[str], template: SpeechRequest, split: int, pause_s: float, by_sentence: bool
) -> Iterator[SpeechRequest | Silence]:
    for number, paragraph in enumerate(paragraphs):
        if number and pause_s:
            yield Silence(pause_s)
        for piece in _sentences(paragraph, split) if by_sentence else _pieces(paragraph, split):
            yield replace(template, text=piece)


def _pieces(paragraph: str, split: int) -> list[str]:
    if not split or len(paragraph) <= split:
        return [paragraph]
    from smallest_cli.text.segments import (
        segments,  # the rules of sentences, which a short text starts without
    )

    return _spoken(segments(paragraph, split))


def _sentences(paragraph: str, split: int) -> list[str]:
    from smallest_cli.text.segments import sentences

    return _spoken(sentences(paragraph, split))


def _spoken(pieces: list[str]) -> list[str]:
    """Without a blank that had room in no piece: a service has nothing to say to it."""
    return [piece for piece in pieces if piece.strip()]
