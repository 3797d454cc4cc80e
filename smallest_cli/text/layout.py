"""Lines of text to sentences that can be joined: which line ends are wraps, where speakers and pauses are.

A wrapped line ends because the next word did not fit. Every other line end separates: a heading, list item,
table row or line of verse. The result does not depend on where the text was cut.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from smallest_cli.errors import UsageError
from smallest_cli.security import printable
from smallest_cli.text.breaks import LINE_BREAK, PARAGRAPH_BREAK, Break, Item, Pause, Speaker

MAX_PAUSE_S = 10.0
MIN_COLUMNS = 60
"""Prose is not wrapped at less: lines that end earlier, though the next word has room, are separate."""
SLACK = 8
"""Columns that a manually wrapped line may leave unused."""
MAX_TAG = 100
MAX_NAME = 64
"""Maximum characters of a speaker's name, and of the first word of a line that is waited for."""

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]"
)
"""Scripts without blanks between words: a wrapped line is joined to the next without one."""
_TIME = r"(\d{1,6}(?:\.\d{1,6})?)(ms|s)"
PAUSE = re.compile(rf"\[pause[ \t]+{_TIME}\]|<break\s+time\s*=\s*[\"']{_TIME}[\"']\s*/?>(?:</break>)?")
PARTIAL_PAUSE = re.compile(
    r"(?:\[(?:p(?:a(?:u(?:s(?:e(?:[ \t][^]\n]{0,20})?)?)?)?)?)?"
    r"|<(?:b(?:r(?:e(?:a(?:k(?:\s[^>]{0,40}(?:>(?:<[/break]{0,6})?)?)?)?)?)?)?)?)\Z"
)
_SSML = re.compile(r"</?(?:speak|prosody|emphasis|say-as|phoneme|voice|break|sub alias)\b[^<>]{0,80}>")
_RUNS = re.compile(r"\s+|\S+")
_BLOCK = re.compile(r"#{1,6}|([-=_*~#+])\1{2,}|\|.*", re.DOTALL)
"""The first word of a heading, rule or table row."""
_ITEM = re.compile(r"[-*+•‣◦▪·–—]|\(?(\d{1,9})[.)]|\(?[a-z]\)")
"""The first word of a list item."""
_NAME = re.compile(r"([^\W\d_][\w'.-]*)[:：]")
_OPENING = "\"'“‘«„(["
_STOPS = ".!?:;…。！？：；"
_BLANK, _WRAP, _LINE, _PARAGRAPH = range(1, 5)
"""What is between two words, in rising order: a blank, a line end that may be a wrap, breaks."""


class _Line(NamedTuple):
    """What is known of a line: it decides whether its end is a wrap."""

    is_block: bool = False
    is_item: bool = False
    columns: int = 0
    last: str = ""


class Layout:
    """Text with single blanks between words, breaks, pauses and speakers.

    `warnings` names what looks like a mistake: tags of SSML, lines of speakers that were not given.
    """

    def __init__(self, speakers: Collection[str] = (), *, by_line: bool = False) -> None:
        """`by_line`: every line end is a break."""
        self.warnings: dict[str, None] = {}
        self._speakers = speakers
        self._by_line = by_line
        self._items: list[Item] = []
        self._held = ""
        """A pause that may be incomplete."""
        self._end = ""
        """The end of the text so far, in which a tag may begin."""
        self._start: str | None = ""
        """The first word of a line, until it is complete; then None."""
        self._line = self._previous = _Line()
        self._widest = 0
        self._item_number = -1
        self._gap = self._line_ends = 0
        self._indent = ""
        self._blank_given = True

    def feed(self, text: str) -> list[Item]:
        """Add text; return what is certain of it now. Raises UsageError for a pause that is too long."""
        text = self._held + text
        partial = PARTIAL_PAUSE.search(text, max(0, len(text) - MAX_NAME))
        at = partial.start() if partial else len(text)
        self._held = text[at:]
        return self._add(text[:at])

    def release(self) -> list[Item]:
        """Return the first word of a line, too: more text may not come soon."""
        if self._start:
            self._start_line(complete=False)
        return self._add("")

    def flush(self) -> list[Item]:
        """Return what is left; the text ends here, and another may begin."""
        text, self._held = self._held, ""
        return [*self._add(text), *self._add("\n\n")]

    def _add(self, text: str) -> list[Item]:
        self._end = self._end[-MAX_TAG:] + text
        if "<" in self._end and (tag := _SSML.search(PAUSE.sub("", self._end))):
            self.warnings[
                f'{printable(tag[0], 40)} is read as text: of SSML only <break time="500ms"/> is known'
            ] = None
        start = 0
        for pause in PAUSE.finditer(text) if "[p" in text or "<b" in text else ():
            self._add_runs(text[start : pause.start()])
            self._add_pause(pause)
            start = pause.end()
        self._add_runs(text[start:])
        items, self._items = self._items, []
        return items

    def _add_runs(self, text: str) -> None:
        for run in _RUNS.findall(text):
            if run.isspace():
                self._add_blanks(run)
            elif self._start is None:
                self._add_word(run)
            else:
                self._start += run
                if self._is_decided(self._start):
                    self._start_line(complete=False)

    def _add_pause(self, match: re.Match[str]) -> None:
        if self._start:
            self._start_line(complete=True)
        number, unit = match[1] or match[3], match[2] or match[4]
        seconds = float(number) / (1000 if unit == "ms" else 1)
        if seconds > MAX_PAUSE_S:
            raise UsageError(f"{match[0]} is longer than {MAX_PAUSE_S:g} s")
        self._items.append(Pause(seconds))
        self._blank_given = True

    def _add_word(self, word: str) -> None:
        if self._gap:
            self._add_blank()
        self._gap = self._line_ends = 0
        columns = len(word) if word.isascii() else len(word) + len(_UNSPACED.findall(word))
        self._line = self._line._replace(columns=self._line.columns + columns, last=word[-1])
        self._items.append(word)
        self._blank_given = False

    def _add_blanks(self, run: str) -> None:
        if self._start:
            start = f"{self._start} ".casefold()
            if "\n" not in run and any(name.casefold().startswith(start) for name in self._speakers):
                self._start += " "
                return
            self._start_line(complete=True)
        self._line_ends += run.count("\n")
        gap = _WRAP if self._line_ends else _BLANK
        if LINE_BREAK in run or (self._by_line and self._line_ends):
            gap = _LINE
        if PARAGRAPH_BREAK in run or (self._line_ends > 1 and not self._by_line):
            gap = _PARAGRAPH
        if gap > _BLANK and self._start is None:
            self._widest = max(self._widest, self._line.columns)
            self._previous, self._line, self._start = self._line, _Line(), ""
        if gap > max(_WRAP, self._gap):
            self._add_break(paragraph=gap == _PARAGRAPH)
        self._indent = run.rpartition("\n")[2] if "\n" in run else self._indent + run
        self._gap = max(gap, self._gap)
        # After an unspaced script, only the next character shows whether this is a blank or a wrapped line.
        if self._gap == _BLANK and not _UNSPACED.match(self._line.last):
            self._add_blank()
        if self._line.last:
            self._line = self._line._replace(columns=self._line.columns + 1)

    def _add_blank(self) -> None:
        if not self._blank_given:
            self._blank_given = True
            self._items.append(" ")

    def _add_break(self, *, paragraph: bool) -> None:
        if paragraph:
            self._widest, self._item_number = 0, -1
        self._items.append(Break(paragraph))
        self._blank_given = True

    # The start of a line

    def _is_decided(self, start: str) -> bool:
        """Whether the beginning of a line's first word is enough to know what the line is."""
        if self._speakers:
            return len(start) > MAX_NAME or any(
                start.startswith((f"{name}:", f"{name}：")) for name in self._speakers
            )
        return (
            (self._gap != _WRAP and len(start) > 2 and start[0].isalpha())
            or len(start) > MAX_NAME
            or _UNSPACED.match(start) is not None
        )

    def _start_line(self, *, complete: bool) -> None:
        word, self._start = self._start or "", None
        name = next((name for name in self._speakers if word.startswith((f"{name}:", f"{name}："))), None)
        if name is not None:
            self._add_break(paragraph=False)
            self._items.append(Speaker(name))
            self._gap = self._line_ends = 0
            word = word[len(name) + 1 :]
        elif self._speakers and complete:
            self._warn_of_name(word)
        self._line = self._kind(word)
        if self._gap == _WRAP:
            if self._separates(word):
                self._add_break(paragraph=False)
            elif _UNSPACED.match(self._previous.last) and _UNSPACED.match(word):
                self._blank_given = True
        if word:
            self._add_word(word)

    def _warn_of_name(self, word: str) -> None:
        """Warn if a line begins with a name that was not given, or with nearly one that was."""
        name, colon, _ = word.replace("：", ":").partition(":")
        if not colon:
            return
        from difflib import get_close_matches  # only for lines with a colon, in a dialogue

        known = {each.casefold(): each for each in self._speakers}
        nearest = get_close_matches(name.casefold(), known, 1, 0.75)
        if nearest or _NAME.fullmatch(word):
            meant = f" (did you mean {printable(known[nearest[0]], 40)}?)" if nearest else ""
            self.warnings[f"{printable(name, 40)}: begins a line, but is not a --speaker{meant}"] = None

    def _kind(self, word: str) -> _Line:
        item = _ITEM.fullmatch(word)
        if item and item[1]:
            number = int(item[1])
            if self._gap == _WRAP and number not in (1, self._item_number + 1):
                return _Line()  # "under section\n7. This requirement" is a wrapped line
            self._item_number = number
        return _Line(is_block=_BLOCK.fullmatch(word) is not None, is_item=item is not None)

    def _separates(self, word: str) -> bool:
        """Whether the line end before `word` is not a wrap."""
        previous = self._previous
        if previous.is_block or self._line.is_block or self._line.is_item or "\u3000" in self._indent:
            return True
        first = word.lstrip(_OPENING)[:1]
        if not first.isalnum() or first.islower() or (previous.is_item and self._indent):
            return False
        if first.isdecimal() and previous.last not in _STOPS:
            return False
        columns = 2 if _UNSPACED.match(word) else len(word)
        return previous.columns + 1 + columns + SLACK <= max(MIN_COLUMNS, self._widest)
