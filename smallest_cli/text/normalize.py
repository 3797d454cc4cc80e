"""Text made ready to be spoken: normalised once, whole or arriving. Nothing else takes anything away."""

from __future__ import annotations

import re
from typing import NamedTuple

# The wide classes are compiled by the first text that needs them: most do not, and start without.
_CONTROL = "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff"
)
"""Scripts that set no blanks between words: where their line was wrapped, nothing was."""
_UNSPACED_WRAP = f"(?<=[{_UNSPACED}])\\s*\n\\s*(?=[{_UNSPACED}])"
_BLANKS_NOT_ONE_SPACE = re.compile(r"\s{2,}|[^\S ]")


class Normalised(NamedTuple):
    """Paragraphs without wrapped lines or control characters, and how many of the latter were `removed`."""

    paragraphs: tuple[str, ...]
    removed: int


def normalize(text: str) -> Normalised:
    """Unwrap lines, make every run of blanks one, drop control characters. Doing it again changes nothing."""
    text, removed = _clean(text)
    paragraphs = (
        _BLANKS_NOT_ONE_SPACE.sub(" ", re.sub(_UNSPACED_WRAP, "", part) if "\n" in part else part).strip()
        for part in _PARAGRAPH_END.split(text)
    )
    return Normalised(tuple(part for part in paragraphs if part), removed)


def _clean(text: str) -> tuple[str, int]:
    """One kind of line end and no control characters, and how many of these there were.

    A form feed stays, as a blank: a sentence may run on to the next page.
    """
    if text.isprintable():
        return text, 0
    text = re.sub("\r\n?|[\x0b\x85\u2028]", "\n", text)
    return re.subn(_CONTROL, "", text.replace("\u2029", "\n\n").replace("\u00ad", ""))


class Unwrapping:
    """`normalize` for text that is still arriving: what comes out does not depend on where it was cut.

    A line end in what comes out ends a paragraph: a mark of no width, to be left out of what is sent.
    Without these marks it is the paragraphs of `normalize`, joined by blanks. `removed` counts as it does.
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
