"""Markdown removed from arriving text, so that its marks are not read aloud.

A parser needs complete documents: a line's end to know a list, a document's end to know a link. Speech
cannot wait for them, so this looks at marks alone, and ahead no further than one mark needs. The result
does not depend on where the text was cut. It covers what language models write: emphasis, headings, lists,
quotes, links, code, tables and rules.
"""

from __future__ import annotations

import re

LOOKAHEAD = 1000
"""Characters in which a mark must end, or it is taken for text."""
PARAGRAPH_END = "\n\n"

_PLAIN = re.compile(r"[^\\*_~`\[!<|\n]+")
_LINE_PREFIX = re.compile(
    r"[ \t]*(?:#{1,6}[ \t]+|[-*+•][ \t]+(?:\[[ xX]\][ \t]+)?|\d{1,3}[.)][ \t]+|>[ \t]?)"
)
_PARTIAL_LINE_PREFIX = re.compile(
    r"[ \t]*(?:#{0,6}[ \t]*|[-*+•][ \t]*(?:\[[ xX]?\]?[ \t]*)?|\d{1,3}[.)]?[ \t]*|>[ \t]?|`{1,2}|~{1,2})"
)
_FENCE = re.compile(r"[ \t]*(```|~~~)[^\n]*\n")
_MARKER_LINE = re.compile(r"[ \t]*(?:(?:[-*_=][ \t]*){3,}|\|?[ \t]*:?-[-:| \t]*|\[[^]\n]+\]:[^\n]*)\n")
_PARTIAL_MARKER_LINE = re.compile(
    r"[ \t]*(?:(?:```|~~~)[^\n]*|[-*_=: \t|]*|\[[^]\n]*|\[[^]\n]+\](?::[^\n]*)?)"
)
_LINK = re.compile(r"!?\[([^][\n]*)\](?:\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)|\[[^]\n]*\])")
_PARTIAL_LINK = re.compile(r"!?\[[^][\n]*(?:\](?:\([^()\n]*(?:\([^()\n]*\)?[^()\n]*)*|\[[^]\n]*)?)?")
_TAG = re.compile(r"<(?:/?[a-zA-Z][^<>\n]*|!--[^\n]*?--)>")
_PARTIAL_TAG = re.compile(r"<(?:/?[a-zA-Z][^<>\n]*|/|!-{0,2}|!--[^\n]*)?")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^<>\s]*|[^<>\s@]+@[^<>\s]+)>")


class MarkdownStripper:
    """Plain text of Markdown that is arriving."""

    def __init__(self) -> None:
        self._held = ""
        self._before = "\n"
        self._at_line_start = True
        self._fence: str | None = None
        self._ends_paragraph = False
        self._in_table = False

    def feed(self, fragment: str) -> str:
        """Add text; return the plain text that is certain now."""
        words = []
        while fragment:
            # Never hold more than a mark needs, so that long fragments give the same result as short ones.
            size = LOOKAHEAD + 1 - len(self._held)
            self._held += fragment[:size]
            fragment = fragment[size:]
            words.append(self._take(final=False))
        return "".join(words)

    def release(self) -> str:
        return ""

    def flush(self) -> str:
        """Return what is left; no more text may come."""
        return self._take(final=True)

    def _take(self, *, final: bool) -> str:
        words = []
        while self._held:
            final_here = final or len(self._held) > LOOKAHEAD
            found = self._line_start(final_here) if self._at_line_start else self._inline(final_here)
            if found is None:
                break
            length, spoken = found
            self._before = self._held[length - 1 : length] or self._before
            self._held = self._held[length:]
            words.append(spoken)
        return "".join(words)

    # Each of these returns the length of the mark at the start of the held text and what is spoken for it,
    # or None if more text is needed to know.

    def _line_start(self, final: bool) -> tuple[int, str] | None:
        held = self._held if "\n" in self._held or not final else self._held + "\n"
        if fence := _FENCE.match(held):
            if self._fence in (None, fence[1]):
                self._fence = None if self._fence else fence[1]
            return min(fence.end(), len(self._held)), PARAGRAPH_END
        if self._fence:
            end = self._held.find("\n") + 1
            return (end or len(self._held), "") if end or final else None
        if line := _MARKER_LINE.match(held):
            return min(line.end(), len(self._held)), PARAGRAPH_END
        for partial in (_PARTIAL_MARKER_LINE, _PARTIAL_LINE_PREFIX):
            if not final and partial.fullmatch(self._held):
                return None
        if mark := _LINE_PREFIX.match(self._held):
            self._ends_paragraph = ">" not in mark[0]
            return mark.end(), PARAGRAPH_END if self._ends_paragraph else ""
        self._at_line_start = False
        self._in_table = self._held.lstrip(" \t").startswith("|")
        return 0, ""

    def _inline(self, final: bool) -> tuple[int, str] | None:
        first = self._held[0]
        if plain := _PLAIN.match(self._held):
            return plain.end(), plain[0]
        if first == "\n":
            ends, self._ends_paragraph, self._at_line_start = self._ends_paragraph, False, True
            return 1, PARAGRAPH_END if ends else "\n"
        if first in "*_~`":
            return self._run(first, final)
        if first == "|":
            return 1, " " if self._in_table else "|"
        if len(self._held) == 1 and not final:
            return None
        if first == "\\":
            escaped = self._held[1:2]
            mark = bool(escaped) and escaped in "\\`*_{}[]()#+-.!|<>~"
            return (2, escaped) if mark else (1, first)
        if first == "<":
            return self._angle(final)
        return self._link(final)

    def _run(self, mark: str, final: bool) -> tuple[int, str] | None:
        length = len(self._held) - len(self._held.lstrip(mark))
        if length == len(self._held) and not final:
            return None
        run, after = mark * length, self._held[length : length + 1]
        if mark == "`" or (mark == "~" and length > 1):
            return length, ""
        alone = self._before.isspace() and (not after or after.isspace())
        in_word = self._before.isalnum() and after.isalnum()
        in_number = self._before.isdecimal() and after.isdecimal()
        kept = mark == "~" or alone or (in_word if mark == "_" else in_number)
        return length, run if kept else ""

    def _link(self, final: bool) -> tuple[int, str] | None:
        if link := _LINK.match(self._held):
            self._held = link[1] + self._held[link.end() :]  # the link text may contain marks
            return 0, ""
        if not final and _PARTIAL_LINK.fullmatch(self._held):
            return None
        return 1, self._held[0]

    def _angle(self, final: bool) -> tuple[int, str] | None:
        if address := _AUTOLINK.match(self._held):
            return address.end(), address[1]
        if tag := _TAG.match(self._held):
            return tag.end(), ""
        if not final and _PARTIAL_TAG.fullmatch(self._held):
            return None
        return 1, self._held[0]
