"""The text on the terminal as it is heard: the line that is being spoken, what is still to come of it dim.

It goes by the loudspeaker, which knows what has been played, and not by what has been sent to it, nor by
what a file beside it has got.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from smallest_cli.audio.sink import Sink
from smallest_cli.errors import SmallestError
from smallest_cli.security import escape
from smallest_cli.synthesis.subtitles import SpokenSegment, is_timed, lines, spaced, width

LOOK_EVERY_S = 0.05
USUAL_COLUMNS = 80
ANEW, DIM, PLAIN = "\r\x1b[K", "\x1b[2m", "\x1b[0m"


class Page:
    """A text in lines. One that is begun stays as it is; those behind it have the terminal's width."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        """Where the first line begins that is not yet spoken."""
        self.begun = False
        self._lines: list[str] = []
        self._columns = 0

    def lay_out(self, columns: int) -> list[str]:
        """The lines that are not yet spoken, each with the blank behind it."""
        if columns != self._columns:
            self._columns = columns
            kept = self._lines[:1] if self.begun else []
            rest = self.text[self.at + len("".join(kept)) :]
            self._lines = kept + (list(spaced(rest, lines(rest, columns))) if rest else [])
        return self._lines

    def turn(self) -> None:
        """The first line is spoken."""
        self.at += len(self._lines.pop(0))
        self.begun = False


class Follower:
    """A context around the sink, since it is heard until it is closed. Does nothing unless `wanted`."""

    def __init__(self, passages: Sequence[SpokenSegment], rate: int, *, wanted: bool) -> None:
        self._passages = passages
        self._rate = rate
        self._wanted = wanted
        self._sink: Sink | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._number = 0
        self._page: Page | None = None
        self._drawn = ""

    def __enter__(self) -> Follower:
        return self

    def start(self, sink: Sink) -> None:
        """Follow what a loudspeaker plays."""
        self._sink = sink
        if self._wanted:
            self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if not self._thread.ident:
            return
        self._thread.join()
        if error is None and self._passages:
            self._show(self._passages[-1].end)
        if self._drawn:
            _draw(f"{PLAIN}\n")

    def _run(self) -> None:
        while self._sink and not self._ended.wait(LOOK_EVERY_S):
            with suppress(SmallestError):  # whoever writes to the sink hears of it
                self._show(self._sink.frames_played())

    def _show(self, heard: int) -> None:
        """Finish the passages that have been heard, and draw the one that is."""
        begun = sum(each.start <= heard and each.frames > 0 for each in self._passages)
        while self._number < begun - 1:
            self._print(self._passages[self._number], None)
            self._number, self._page = self._number + 1, None
        if self._number < begun:
            self._print(self._passages[self._number], heard)

    def _print(self, passage: SpokenSegment, heard: int | None) -> None:
        """Lines that were spoken stay; the one that is being spoken is drawn anew. None for all of it."""
        if self._page is None:
            self._page = Page(" ".join(escape(passage.text).split()))
        page, columns = self._page, _columns()
        spoken = len(page.text) if heard is None else _spoken(passage, page.text, heard, self._rate)
        while rows := page.lay_out(columns):
            row = rows[0].rstrip()
            # One that the terminal has wrapped, since it was made narrower, cannot be drawn over.
            if not page.begun or width(row) <= columns:
                here = max(0, min(len(row), spoken - page.at))
                rest = f"{DIM}{row[here:]}{PLAIN}" if row[here:] else ""
                self._draw(f"{ANEW}{row[:here]}{rest}")
            page.begun = True
            if heard is not None and (len(rows) == 1 or spoken <= page.at + len(row)):
                return
            _draw("\n")
            page.turn()
            self._drawn = ""

    def _draw(self, line: str) -> None:
        if line != self._drawn:
            _draw(line)
            self._drawn = line


def _spoken(passage: SpokenSegment, text: str, heard: int, rate: int) -> int:
    """Characters of a text whose words have begun; all of them where nobody timed the words."""
    words = list(passage.words)
    if not is_timed(passage):
        return len(text)
    seconds, at = (heard - passage.start) / rate, 0
    for word in words:
        if word.start > seconds:
            return at
        found = text.find(word.word, at)
        at = found + len(word.word) if found >= 0 else at
    return len(text) if passage.whole else at


def _columns() -> int:
    """What a line may take: one less than there are, since some terminals wrap in the last one."""
    columns = 0
    with suppress(OSError):
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    return max(1, (columns or USUAL_COLUMNS) - 1)


def _draw(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()
