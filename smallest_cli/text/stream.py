"""Arriving text: bytes from a descriptor to segments, each as soon as it can be spoken."""

from __future__ import annotations

import codecs
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from smallest_cli.errors import UsageError
from smallest_cli.files import read_some
from smallest_cli.models import SEGMENT_CHARS, Silence, SpeechRequest
from smallest_cli.text.breaks import Item
from smallest_cli.text.clean import Cleaner
from smallest_cli.text.input import FIRST_BLOCK, describe_binary, may_be_subtitles, not_text_error
from smallest_cli.text.layout import MAX_NAME, PARTIAL_PAUSE, PAUSE, Layout
from smallest_cli.text.markdown import MarkdownStripper
from smallest_cli.text.segments import SegmentWriter, Speakers, is_speakable
from smallest_cli.text.sentences import SentenceSplitter

READ_SIZE = 64 * 1024
QUEUE_LENGTH = 8
"""Maximum texts read ahead; a writer that is faster than speech then blocks."""
LAGGING_QUEUE_LENGTH = 10_000
"""The same where old text is dropped: it must be read to know its age."""


class TextReader:
    """Text from a descriptor, read on a thread as bytes become available.

    `fileno` is readable while a text can be taken. `broken` is set once bytes came that are not UTF-8,
    `ended` once all text was taken; `characters` counts what was taken, `read_at` is when the last was read.
    """

    def __init__(self, pieces: Iterable[str] | int, queue_length: int = QUEUE_LENGTH) -> None:
        """`pieces`: a descriptor to read, or the text itself."""
        self.ended = False
        self.read_at = 0.0
        self.broken = False
        self.error: OSError | None = None
        """The read error that ended the text early."""
        self.characters = 0
        self.has_subtitles = False
        """The text is a subtitle file: only what is spoken of it is returned."""
        self.refused: UsageError | None = None
        """The text began with bytes that are not UTF-8 text."""
        self._queue: queue.Queue[tuple[str | None, float]] = queue.Queue(queue_length)
        self._readable, self._wake = os.pipe()
        texts = self._spoken(self._read(pieces)) if isinstance(pieces, int) else iter(pieces)
        threading.Thread(target=self._fill, args=(texts,), daemon=True).start()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._readable

    def next(self, timeout_s: float | None = 0.0) -> str | None:
        """Return the next text, waiting at most `timeout_s` (None: indefinitely); None for no text."""
        if self.ended:
            return None
        if timeout_s is not None:
            timeout_s = min(timeout_s, threading.TIMEOUT_MAX)
        try:
            taken = self._queue.get(timeout=timeout_s) if timeout_s != 0 else self._queue.get_nowait()
        except queue.Empty:
            return None
        os.read(self._readable, 1)
        text, self.read_at = taken
        self.ended = text is None
        self.characters += len(text or "")
        return text

    def _fill(self, texts: Iterator[str]) -> None:
        for text in chain(texts, [None]):
            self._queue.put((text, time.monotonic()))
            os.write(self._wake, b"\0")

    def _spoken(self, texts: Iterator[str]) -> Iterator[str]:
        for text in texts:
            text = text.removeprefix("\ufeff")
            if may_be_subtitles(text):
                from smallest_cli.text.cues import begins_subtitles, subtitle_text

                if begins_subtitles(text):
                    self.has_subtitles = True
                    text += "".join(texts)
                    text = subtitle_text(text) or text
            yield text
            yield from texts

    def _read(self, descriptor: int) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        first, data = b"", b" "
        while data:
            try:
                data = read_some(descriptor, READ_SIZE)
            except OSError as error:
                self.error = error
                data = b""
            if len(first) < FIRST_BLOCK:
                first = (first + data)[:FIRST_BLOCK]
                if describe_binary(first):
                    self.refused = not_text_error("stdin", first)
                    return
            if text := decoder.decode(data, final=not data):
                self.broken = self.broken or "\ufffd" in text
                yield text


class SegmentStream:
    """Arriving text to segments: clean -> markdown -> layout -> sentences -> SegmentWriter.

    `full` is set once the next segment would exceed `max_chars` characters in all.
    """

    def __init__(
        self,
        template: SpeechRequest,
        speakers: Speakers | None = None,
        *,
        limit: int = SEGMENT_CHARS,
        first_limit: int | None = None,
        strip_markdown: bool = False,
        typed: bool = False,
        by_line: bool = False,
        by_sentence: bool = False,
        max_chars: int = 0,
        pause_s: float = 0.0,
    ) -> None:
        """`limit` and `first_limit` as in `SentenceSplitter`; `max_chars` 0 is no limit.

        `typed`: a fragment that ends with a line end is complete. `by_line`: every line is a segment of its
        own. `by_sentence`: a segment has only one sentence. `pause_s`: silence between paragraphs.
        """
        self._cleaner = Cleaner()
        self._markdown = MarkdownStripper() if strip_markdown else None
        self._layout = Layout(speakers or (), by_line=by_line)
        self._splitter = SentenceSplitter(limit, first_limit, max_chars, language=template.language)
        self._writer = SegmentWriter(template, speakers or {}, pause_s)
        self._typed = typed
        self._limit = limit
        self._joined_limit = 0 if by_sentence else limit
        self._max_chars = max_chars
        self._taken = 0
        self._at_line_end = False
        self._fed_at = 0.0
        self._ready: deque[tuple[Item, float]] = deque()
        """Sentences and marks, with the time at which their text was read."""
        self._items: deque[SpeechRequest | Silence] = deque()
        self.full = False
        self.pending = False
        """Whether text is held that `release` may make ready."""

    @property
    def removed(self) -> int:
        """Number of control characters removed."""
        return self._cleaner.removed

    @property
    def dropped(self) -> int:
        """Number of characters that cannot be spoken and had no neighbour to join."""
        return self._writer.dropped

    @property
    def warnings(self) -> Iterable[str]:
        """What looks like a mistake in the text."""
        return self._layout.warnings

    def prepare(self) -> None:
        """Import what takes long: call it while a connection is made."""
        if self._markdown:
            self._markdown.feed("")

    def feed(self, text: str, at: float = 0.0) -> None:
        """Add text that was read at the time `at`. Raises UsageError for a pause that is too long."""
        self._fed_at = at
        self.pending = self.pending or bool(text.strip())
        self._add_clean(self._cleaner.feed(text))
        if self._typed and text.endswith("\n"):
            self.flush()

    def release(self) -> None:
        """Make ready what no more text can change, up to the last blank: no more may come soon."""
        if self._markdown:
            # What comes out of it ends with a word.
            self._add(self._layout.feed(f"{self._markdown.release()} "))
        self._add(self._layout.release())
        self._add_pieces(self._splitter.flush() if self._at_line_end else self._splitter.release())
        self.pending = False

    def flush(self) -> None:
        """Make everything ready: no more text comes, or another text."""
        self._add_clean(self._cleaner.flush())
        if self._markdown:
            self._add(self._layout.feed(self._markdown.flush()))
        self._add(self._layout.flush())
        self.pending = False

    def _add_clean(self, text: str) -> None:
        self._at_line_end = text.endswith("\n") if text else self._at_line_end
        self._add(self._layout.feed(self._markdown.feed(text) if self._markdown else text))

    def _add(self, items: Iterable[Item]) -> None:
        text: list[str] = []
        for item in (*items, None):
            if isinstance(item, str):
                text.append(item)
                continue
            if text:
                self._add_pieces(self._splitter.feed("".join(text)))
                text.clear()
            if item is not None:
                self._add_pieces(self._splitter.flush())
                self._ready.append((item, self._fed_at))

    def _add_pieces(self, pieces: Iterable[str]) -> None:
        self._ready.extend((piece, self._fed_at) for piece in pieces)

    @property
    def is_ready(self) -> bool:
        """Whether there is something to take."""
        return bool(self._ready)

    @property
    def has_enough(self) -> bool:
        """Whether a segment of the full length is ready."""
        return sum(len(item) for item, _ in self._ready if isinstance(item, str)) >= self._limit

    def drop_older(self, than: float) -> int:
        """Drop the ready lines that were read before the time `than`; return their number."""
        dropped, in_line = 0, False
        while self._ready and self._ready[0][1] < than:
            was_in_line, in_line = in_line, isinstance(self._ready.popleft()[0], str)
            dropped += in_line and not was_in_line
        return dropped

    def take(self) -> SpeechRequest | Silence | None:
        """Return the next item: a silence, or the ready sentences that fit into a segment; None for none."""
        while not self._items and self._ready and not self.full:
            item = self._ready[0][0]
            if isinstance(item, str):
                self._items.extend(self._writer.segment(self._take_sentences()))
            else:
                self._ready.popleft()
                self._items.extend(self._writer.mark(item))
        if not self._items:
            return None
        taken = self._items.popleft()
        if isinstance(taken, SpeechRequest):
            self._taken += len(taken.text)
        return taken

    def _take_sentences(self) -> str:
        segment = ""
        while self._ready and isinstance(piece := self._ready[0][0], str):
            if segment.strip() and len(segment) + len(piece) > self._joined_limit:
                break
            left = self._max_chars - self._taken - len(segment) if self._max_chars else len(piece)
            if len(piece.rstrip()) > left:
                self.full = True
                break
            segment += piece[:left]
            self._ready.popleft()
        return segment


class ArrivingSegments:
    """Requests made of arriving text; each is put together when it is taken, from all that is ready by then.

    They end with the text, or when the stream is full. `dropped_lines` counts lines that became too old.
    """

    def __init__(
        self, reader: TextReader, stream: SegmentStream, flush_s: float, max_lag_s: float = math.inf
    ) -> None:
        """Unfinished text is spoken after `flush_s` seconds without more.

        What was read more than `max_lag_s` seconds ago and is not requested is dropped.
        """
        self.dropped_lines = 0
        self.before_line: Callable[[], None] = lambda: None
        """Called before the age of ready lines is checked, if there is a limit: it may wait."""
        self._reader = reader
        self._stream = stream
        self._flush_s = flush_s
        self._max_lag_s = max_lag_s
        self._fed_at = time.monotonic()
        self.fileno = reader.fileno
        self.ended = False

    def next(self) -> SpeechRequest | Silence | None:
        """Return the next item, None if none is ready."""
        drops = self._max_lag_s < math.inf
        self._collect(everything=drops)
        if drops and self._stream.is_ready:
            self.before_line()
            self._collect(everything=True)
            self.dropped_lines += self._stream.drop_older(time.monotonic() - self._max_lag_s)
        if item := self._stream.take():
            return item
        self.ended = self._reader.ended or self._stream.full
        return None

    def _collect(self, *, everything: bool) -> None:
        """Take the text that has arrived; unless `everything`, no more than a segment needs."""
        while (everything or not self._stream.has_enough) and (text := self._reader.next()) is not None:
            self._feed(text)
        if self._reader.ended:
            self._stream.flush()
        elif (self.due_s() or math.inf) <= 0:
            self._stream.release()

    def due_s(self) -> float | None:
        """Return the seconds until unfinished text is spoken as it is; None if there is none."""
        if not self._stream.pending:
            return None
        return self._fed_at + self._flush_s - time.monotonic()

    def wait(self, timeout_s: float) -> bool:
        """Wait for more text, or until unfinished text is due; False after `timeout_s` seconds of neither."""
        due_s = self.due_s()
        text = self._reader.next(timeout_s if due_s is None else max(0.001, due_s))
        if text is not None:
            self._feed(text)
        return due_s is not None or text is not None or self._reader.ended

    def _feed(self, text: str) -> None:
        self._stream.feed(text, self._reader.read_at)
        self._fed_at = time.monotonic()


class CleanFragments:
    """Arriving text for a service that splits it: cleaned, and never a fragment that cannot be spoken alone.

    Such a fragment goes with the next one; the last is dropped, and its characters counted in `dropped`.
    """

    def __init__(self, reader: TextReader) -> None:
        self.ended = False
        self.dropped = self.characters = 0
        self.fileno = reader.fileno
        self.before_text: Callable[[], None] = lambda: None
        """Called before a text is returned."""
        self.pauses = 0
        """Pauses that were removed: silence can only be inserted between requests."""
        self._reader = reader
        self._cleaner = Cleaner()
        self._held = ""

    @property
    def removed(self) -> int:
        """Number of control characters removed."""
        return self._cleaner.removed

    def next(self, timeout_s: float | None = 0.0) -> str | None:
        """Return the next text; None after `timeout_s` (None: no timeout) or at the end."""
        while not self.ended:
            text = self._reader.next(timeout_s)
            if text is None and not self._reader.ended:
                return None
            self._held += self._cleaner.flush() if text is None else self._cleaner.feed(text)
            self.ended = text is None
            text, pauses = PAUSE.subn(" ", self._held)
            self.pauses += pauses
            partial = None if self.ended else PARTIAL_PAUSE.search(text, max(0, len(text) - MAX_NAME))
            text, self._held = (text[: partial.start()], partial[0]) if partial else (text, "")
            if not is_speakable(text):
                self._held = text + self._held
            else:
                self.before_text()
                self.characters += len(text)
                return text
        self.dropped, self._held = self.dropped + len(self._held.strip()), ""
        return None
