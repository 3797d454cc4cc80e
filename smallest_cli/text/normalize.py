"""Text normalised for speech: lines unwrapped, blanks collapsed, control characters removed."""

from __future__ import annotations

import re
from typing import NamedTuple

# These patterns are strings: most texts do not need them, and start faster without compiling them.
_CONTROL = "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff"
)
"""Scripts without blanks between words: a wrapped line is joined to the next without one."""
_UNSPACED_WRAP = f"(?<=[{_UNSPACED}])\\s*\n\\s*(?=[{_UNSPACED}])"
_PARAGRAPH_END = re.compile(r"\n\s*\n")
_BLANKS_NOT_ONE_SPACE = re.compile(r"\s{2,}|[^\S ]")


class NormalizedText(NamedTuple):
    """Paragraphs without wrapped lines or control characters; `removed` counts the latter."""

    paragraphs: tuple[str, ...]
    removed: int


def normalize(text: str) -> NormalizedText:
    """Unwrap lines, collapse blanks and remove control characters. Idempotent."""
    text, removed = _clean(text)
    paragraphs = (
        _BLANKS_NOT_ONE_SPACE.sub(" ", re.sub(_UNSPACED_WRAP, "", part) if "\n" in part else part).strip()
        for part in _PARAGRAPH_END.split(text)
    )
    return NormalizedText(tuple(part for part in paragraphs if part), removed)


def _clean(text: str) -> tuple[str, int]:
    """Return the text with "\\n" as its only line end and no control characters, and how many it had.

    A form feed stays, as a blank: a sentence may continue on the next page.
    """
    if text.isprintable():
        return text, 0
    text = re.sub("\r\n?|[\x0b\x85\u2028]", "\n", text)
    return re.subn(_CONTROL, "", text.replace("\u2029", "\n\n").replace("\u00ad", ""))


class StreamNormalizer:
    """`normalize` for text that is arriving; the result does not depend on where the text was cut.

    A line end in the result marks the end of a paragraph and is not to be spoken. Without these marks the
    result is the paragraphs of `normalize`, joined by blanks. `removed` counts control characters.
    """

    def __init__(self) -> None:
        self.removed = 0
        self._last = ""
        self._after_return = False
        self._blanks = self._line_ends = 0
        self._blank_written = False

    def feed(self, fragment: str) -> str:
        """Add text; return what is certain of it now."""
        if self._after_return:
            fragment = fragment.removeprefix("\n")
        self._after_return = fragment.endswith("\r") or (self._after_return and not fragment)
        fragment, removed = _clean(fragment)
        self.removed += removed
        runs = re.findall(r"\s+|\S+", fragment)
        return "".join(self._add_blanks(run) if run.isspace() else self._add_word(run) for run in runs)

    def _add_blanks(self, run: str) -> str:
        if not self._last:
            return ""
        self._blanks += len(run)
        before = self._line_ends
        self._line_ends += run.count("\n")
        if before < 2 <= self._line_ends:
            return self._blank() + "\n"
        # After an unspaced script, only the next character shows whether this is a blank or a wrapped line.
        return "" if re.match(f"[{_UNSPACED}]", self._last) else self._blank()

    def _blank(self) -> str:
        self._blank_written, written = True, self._blank_written
        return "" if written else " "

    def _add_word(self, run: str) -> str:
        wrapped = self._line_ends == 1 and re.match(f"[{_UNSPACED}]", run)
        blank = self._blank() if self._blanks and not wrapped else ""
        self._last, self._blanks, self._line_ends, self._blank_written = run[-1], 0, 0, False
        return blank + run
