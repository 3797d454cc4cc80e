"""Text made ready to be spoken: normalised once, and cut where a reader would breathe.

It reads no language: it goes by stops, blanks and a list of abbreviations, and where it is not sure that
a sentence ends it goes on. Joined, the pieces are always the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

LIMIT = 250
LONGEST_MARK = 24

_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
"""Scripts that set no blanks between words: where their line was wrapped, nothing was."""
_UNSPACED_WRAP = re.compile(f"(?<=[{_UNSPACED}])\\s*\n\\s*(?=[{_UNSPACED}])")


@dataclass(frozen=True, slots=True)
class Normalised:
    """Paragraphs without wrapped lines or control characters, and how many of the latter were `removed`."""

    paragraphs: tuple[str, ...]
    removed: int


def normalise(text: str) -> Normalised:
    """Unwrap lines, make every run of blanks one, drop control characters. Doing it again changes nothing."""
    text, removed = _clean(text)
    paragraphs = (
        re.sub(r"\s+", " ", _UNSPACED_WRAP.sub("", part)).strip() for part in _PARAGRAPH_END.split(text)
    )
    return Normalised(tuple(part for part in paragraphs if part), removed)


def _clean(text: str) -> tuple[str, int]:
    """One kind of line end and no control characters, and how many of these there were."""
    text = re.sub("\r\n?|[\x0b\x85\u2028]", "\n", text)
    text = re.sub("[\x0c\u2029]", "\n\n", text)
    return _CONTROL.subn("", text.replace("\u00ad", ""))


# Where a sentence ends

_CLOSERS = "\"'”’»›)}」』）】"
_STOP = re.compile(
    f"(?:(?<![.!?…؟۔։])[.!?…؟۔։]++[]{_CLOSERS}]*+(\\s+|$))|(?:[。！？．।॥]+[]{_CLOSERS}]*\\s*)|\n\\s*"
)
_CLAUSE_END = re.compile(f"[,;:—–،][]{_CLOSERS}]*\\s+|[、，；：][]{_CLOSERS}]*\\s*")
_BLANKS = re.compile(r"\s+")
_WORD_BEFORE = re.compile(r"[^\W_]+(?:\.[^\W_]+)*$")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_]{1,2})*$")
_LIST_MARK = re.compile(r"\s*[(\[]?(?:\d{1,3}|[^\W\d_]|[ivxIVX]{1,4})$")
_ABBREVIATIONS = frozenset(
    re.findall(
        r"\w+",
        """mr mrs ms dr prof rev hon st mt vs etc eg ie cf al inc ltd co corp jr sr dept est approx gen col
        sgt capt lt maj cmdr gov sen rep pres ed eds usw bzw ca evtl ggf inkl bspw vgl mme mlle av sra ud""",
    )
)
_BEFORE_NUMBERS = frozenset(
    re.findall(
        r"\w+",
        "no nos vol pp fig figs sec ch eq art nr str pág núm jan feb mar apr jun jul aug sep oct nov dec",
    )
)


def _sentence_ends(text: str) -> Iterator[int]:
    """Where sentences end, after their closing marks and the blanks behind them."""
    began = 0
    for match in _STOP.finditer(text):
        if _is_end(text, began, match):
            began = match.end()
            yield began


def _is_end(text: str, began: int, match: re.Match[str]) -> bool:
    if _joined(text, match.end()):
        return False
    if match[1] is None or "\n" in match[1]:  # marks that stand for nothing else, or a paragraph's end
        return True
    behind = text[match.end() : match.end() + 1]
    if behind.islower():
        return False
    if match[0].rstrip() != ".":
        return True
    before = text[max(began, match.start() - LONGEST_MARK) : match.start()]
    word = _WORD_BEFORE.search(before)
    if word is None:
        return True
    if _INITIALS.fullmatch(word[0]) or word[0].lower() in _ABBREVIATIONS:
        return False
    if word[0].lower() in _BEFORE_NUMBERS:
        return not behind.isdecimal()
    return match.start() - began >= LONGEST_MARK or not _LIST_MARK.fullmatch(before)


def segments(paragraph: str, limit: int = LIMIT) -> list[str]:
    """Pieces of at most `limit` characters, as few as sentence ends allow; 0 cuts nothing.

    Blanks stay with the piece before. A sentence that is too long is cut at a clause, else at a blank, else
    between two characters as a person sees them.
    """
    if not limit:
        return [paragraph] if paragraph else []
    pieces: list[str] = []
    began = held = 0
    for end in (*_sentence_ends(paragraph), len(paragraph)):
        if end - began > limit and held > began:
            pieces.append(paragraph[began:held])
            began = held
        while end - began > limit:
            cut = began + _cut(paragraph[began : began + limit + 1], limit)
            pieces.append(paragraph[began:cut])
            began = cut
        held = end
    if held > began:
        pieces.append(paragraph[began:held])
    return pieces


def _cut(text: str, limit: int) -> int:
    """Where `text`, which is longer than `limit`, is best cut: from 1 to `limit`."""
    for kind, start in ((_CLAUSE_END, limit // 3), (_BLANKS, 0)):
        ends = (match.end() for match in kind.finditer(text, start))
        if cuts := [end for end in ends if end <= limit and not _joined(text, end)]:
            return cuts[-1]
    return _whole_characters(text, limit)


def _whole_characters(text: str, at: int) -> int:
    """The last place up to `at` that cuts nothing a person sees as one character; `at` if there is none."""
    for place in range(at, 0, -1):
        if not _joined(text, place):
            return place
    return at


def _joined(text: str, at: int) -> bool:
    """Whether the characters around `at` are drawn as one (the greater part of Unicode's annex 29)."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if after in "\u200c\u200d" or before == "\u200d" or unicodedata.category(after)[0] == "M":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return True
    if unicodedata.combining(before) == 9:  # a virama: the letter behind it is drawn into this one
        return True
    if "\u1160" <= after <= "\u11ff" and "\u1100" <= before <= "\ud7ff":
        return True
    if _is_flag_half(before) and _is_flag_half(after):
        run = len(text[:at]) - len(text[:at].rstrip("".join(map(chr, range(0x1F1E6, 0x1F200)))))
        return run % 2 == 1
    return (before, after) == ("\r", "\n")


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


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


class Sentences:
    """Sentences out of text that is still arriving, each as soon as its end is certain.

    A stop is certain when a blank follows it (a decimal or an address could go on), or at once where it is
    of a script in which it stands for nothing else. So the cuts may depend on how the text arrives; what
    comes out, joined with `pending`, is always what went in. At most `limit` characters are held.
    """

    def __init__(self, limit: int = LIMIT, first_limit: int | None = None) -> None:
        """`first_limit`: when that many characters have come, the first piece may end at a clause."""
        self._limit = limit
        self._first_limit = first_limit
        self.pending = ""

    def feed(self, fragment: str) -> list[str]:
        """Take in more text; what can be spoken now."""
        pieces: list[str] = []
        for at in range(0, len(fragment), self._limit):  # so that no more than twice the limit is looked at
            self.pending += fragment[at : at + self._limit]
            pieces += self._release()
        return pieces

    def _release(self) -> list[str]:
        pieces: list[str] = []
        began = 0
        for end in _sentence_ends(self.pending):
            if end == len(self.pending) and not _certain(self.pending):
                break
            pieces += segments(self.pending[began:end], self._limit)
            began = end
        self.pending = self.pending[began:]
        while len(self.pending) > self._limit:
            pieces.append(self._take(_cut(self.pending, self._limit)))
        if not pieces and self._first_limit and len(self.pending) >= self._first_limit:
            clauses = [match.end() for match in _CLAUSE_END.finditer(self.pending)]
            if clauses:
                pieces.append(self._take(clauses[-1]))
        if pieces:
            self._first_limit = None
        return pieces

    def _take(self, length: int) -> str:
        piece, self.pending = self.pending[:length], self.pending[length:]
        return piece

    def flush(self) -> list[str]:
        """What is left, as it is."""
        return segments(self._take(len(self.pending)), self._limit)


def _certain(text: str) -> bool:
    """Whether nothing that may follow shows the stop at the end of `text` to be none."""
    return text[-1:].isspace() or text.rstrip(_CLOSERS)[-1:] in "。！？．।॥"
