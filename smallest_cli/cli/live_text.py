"""`--follow`: print the text on stderr as it is played.

On a terminal the current line is drawn with its unplayed part dim; elsewhere each segment is a line, printed
when its audio starts. Progress counts the frames that the output device has played, not those sent to it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from smallest_cli.audio.sink import Sink
from smallest_cli.errors import SmallestError
from smallest_cli.security import escape
from smallest_cli.synthesis.subtitles import SpokenSegment, is_timed, lines, spaced
from smallest_cli.text.graphemes import display_width

POLL_S = 0.05
DEFAULT_COLUMNS = 80
CLEAR_LINE, DIM, RESET = "\r\x1b[K", "\x1b[2m", "\x1b[0m"


class LiveText:
    """Show segments while a sink plays them.

    Call `start` with the sink, inside the context `shown`: audio is played until the sink is closed.
    """

    def __init__(self, segments: Sequence[SpokenSegment], rate: int) -> None:
        """`rate`: frames per second."""
        self._segments = segments
        self._rate = rate
        self._sink: Sink | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._number = 0
        self._page: _Page | None = None
        self._drawn = ""
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def start(self, sink: Sink) -> None:
        """Start showing what a sink plays."""
        self._sink = sink
        self._thread.start()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the remaining text if the block succeeds: then all audio was played."""
        try:
            yield
            self._stop()
            if self._segments:
                self._show(self._segments[-1].end, final=True)
        finally:
            self._stop()
            if self._drawn:
                _print(f"{RESET}\n")

    @contextmanager
    def stopped_on_error(self) -> Iterator[None]:
        """Stop on an error, before the sink is aborted: it may then count dropped frames as played."""
        try:
            yield
        except BaseException:
            self._stop()
            self._update()
            raise

    def _stop(self) -> None:
        self._stopped.set()
        if self._thread.ident:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(POLL_S):
            self._update()

    def _update(self) -> None:
        with suppress(SmallestError):  # the thread that writes to the sink raises it
            if self._sink:
                self._show(self._sink.frames_played())

    def _show(self, played: int, *, final: bool = False) -> None:
        """Show the segments up to the one playing; `played` is in frames."""
        if self._terminal:
            started = sum(each.start <= played and each.frames > 0 for each in self._segments)
            while self._number < started - 1:
                self._draw_segment(self._segments[self._number], None)
                self._number, self._page = self._number + 1, None
            if self._number < started:
                self._draw_segment(self._segments[self._number], played)
            return
        started = sum((each.start < played or final) and each.frames > 0 for each in self._segments)
        for segment in self._segments[self._number : started]:
            _print(f"{' '.join(escape(segment.text).split())}\n")
        self._number = max(self._number, started)

    def _draw_segment(self, segment: SpokenSegment, played: int | None) -> None:
        """Draw the text spoken within the first `played` frames; None for the complete segment.

        Spoken lines stay; the current one is redrawn.
        """
        if self._page is None:
            self._page = _Page(" ".join(escape(segment.text).split()))
        page, columns = self._page, _columns()
        spoken = len(page.text) if played is None else _spoken(segment, page.text, played, self._rate)
        while rows := page.lay_out(columns):
            row = rows[0].rstrip()
            # A row wrapped by a terminal that was made narrower cannot be overwritten.
            if not page.row_drawn or display_width(row) <= columns:
                end = max(0, min(len(row), spoken - page.position))
                rest = f"{DIM}{row[end:]}{RESET}" if row[end:] else ""
                line = f"{CLEAR_LINE}{row[:end]}{rest}"
                if line != self._drawn:
                    _print(line)
                    self._drawn = line
            page.row_drawn = True
            if played is not None and (len(rows) == 1 or spoken <= page.position + len(row)):
                return
            _print("\n")
            page.next_row()
            self._drawn = ""


class _Page:
    """Text wrapped into rows. A drawn row keeps its width; later ones use the terminal's."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        """Offset of the first row not yet spoken, in characters."""
        self.row_drawn = False
        self._rows: list[str] = []
        self._columns = 0

    def lay_out(self, columns: int) -> list[str]:
        """Return the rows not yet spoken, each with its trailing space."""
        if columns != self._columns:
            self._columns = columns
            kept = self._rows[:1] if self.row_drawn else []
            rest = self.text[self.position + len("".join(kept)) :]
            self._rows = kept + (list(spaced(rest, lines(rest, columns))) if rest else [])
        return self._rows

    def next_row(self) -> None:
        """Drop the first row: it is spoken."""
        self.position += len(self._rows.pop(0))
        self.row_drawn = False


def _spoken(segment: SpokenSegment, text: str, played: int, rate: int) -> int:
    """Return the number of characters up to the last started word; all without word timings."""
    if not is_timed(segment):
        return len(text)
    seconds, end = (played - segment.start) / rate, 0
    for word in list(segment.words):
        if word.start > seconds:
            return end
        found = text.find(word.word, end)
        end = found + len(word.word) if found >= 0 else end
    return len(text) if segment.complete else end


def _columns() -> int:
    """Return the width of a row: the terminal's less 1, since some terminals wrap in the last column."""
    columns = 0
    with suppress(OSError):
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    return max(1, (columns or DEFAULT_COLUMNS) - 1)


def _print(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()
