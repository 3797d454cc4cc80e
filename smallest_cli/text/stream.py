"""Arriving text: bytes from a descriptor to segments, each as soon as it can be spoken."""

from __future__ import annotations

import codecs
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

from smallest_cli.files import read_some
from smallest_cli.models import SpeechRequest
from smallest_cli.text.markdown import MarkdownStripper
from smallest_cli.text.normalize import StreamNormalizer
from smallest_cli.text.sentences import SentenceSplitter

READ_SIZE = 64 * 1024
QUEUE_LENGTH = 8
"""Maximum texts read ahead; a writer that is faster than speech then blocks."""


class TextReader:
    """Text from a descriptor, read on a thread as bytes become available.

    `fileno` is readable while a text can be taken. `broken` is set once bytes came that are not UTF-8,
    `ended` once all text was taken; `characters` counts what was taken.
    """

    def __init__(self, pieces: Iterable[str] | int) -> None:
        """`pieces`: a descriptor to read, or the text itself."""
        self.ended = False
        self.broken = False
        self.error: OSError | None = None
        """The read error that ended the text early."""
        self.characters = 0
        self._queue: queue.Queue[str | None] = queue.Queue(QUEUE_LENGTH)
        self._readable, self._wake = os.pipe()
        texts = self._read(pieces) if isinstance(pieces, int) else iter(pieces)
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
            text = self._queue.get(timeout=timeout_s) if timeout_s != 0 else self._queue.get_nowait()
        except queue.Empty:
            return None
        os.read(self._readable, 1)
        self.ended = text is None
        self.characters += len(text or "")
        return text

    def _fill(self, texts: Iterator[str]) -> None:
        for text in chain(texts, [None]):
            self._queue.put(text)
            os.write(self._wake, b"\0")

    def _read(self, descriptor: int) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        data = b" "
        while data:
            try:
                data = read_some(descriptor, READ_SIZE)
            except OSError as error:
                self.error = error
                data = b""
            if text := decoder.decode(data, final=not data):
                self.broken = self.broken or "\ufffd" in text
                yield text


class SegmentStream:
    """Arriving text to segments.

    `full` is set once the next segment would exceed `max_chars` characters in all.
    """

    def __init__(
        self,
        *,
        limit: int,
        first_limit: int | None,
        strip_markdown: bool,
        by_line: bool,
        by_sentence: bool = False,
        max_chars: int = 0,
    ) -> None:
        """`limit` and `first_limit` as in `SentenceSplitter`; `max_chars` 0 is no limit.

        `by_line`: a fragment that ends with a line end is complete, as typed input is. `by_sentence`: a
        segment has only one sentence.
        """
        self._markdown = MarkdownStripper() if strip_markdown else None
        self._normalizer = StreamNormalizer()
        self._splitter = SentenceSplitter(limit, first_limit, max_chars)
        self._by_line = by_line
        self._limit = limit
        self._joined_limit = 0 if by_sentence else limit
        self._max_chars = max_chars
        self._taken = 0
        self._ready: deque[str] = deque()
        self.full = False

    @property
    def removed(self) -> int:
        """Number of control characters removed."""
        return self._normalizer.removed

    def feed(self, text: str) -> None:
        """Add text."""
        self._add(self._markdown.feed(text) if self._markdown else text)
        if self._by_line and text.endswith("\n"):
            self.flush()

    def flush(self) -> None:
        """Make what is pending ready: no more text may come, or not soon."""
        if self._markdown:
            self._add(self._markdown.flush())
        if self.pending:
            self._ready += self._splitter.flush()

    def _add(self, text: str) -> None:
        self._ready += self._splitter.feed(self._normalizer.feed(text))

    @property
    def pending(self) -> bool:
        """Whether text is held whose sentence has not ended."""
        return bool(self._splitter.pending.strip())

    @property
    def has_enough(self) -> bool:
        """Whether a segment of the full length is ready."""
        return sum(map(len, self._ready)) >= self._limit

    def take(self) -> str:
        """Return the ready sentences that fit into one segment, without paragraph marks; "" for none."""
        segment = ""
        while self._ready and (
            not segment.strip() or len(segment) + len(self._ready[0]) <= self._joined_limit
        ):
            piece = self._ready[0].replace("\n", "")
            left = self._max_chars - self._taken - len(segment) if self._max_chars else len(piece)
            if len(piece.rstrip()) > left:
                self.full = True
                break
            segment += piece[:left]
            self._ready.popleft()
        if segment.strip():
            self._taken += len(segment)
            return segment
        if segment:
            self._ready.appendleft(segment)  # a blank goes with what follows
        return ""


class ArrivingSegments:
    """Requests made of arriving text; each is put together when it is taken, from all that is ready by then.

    They end with the text, or when the stream is full.
    """

    def __init__(
        self, reader: TextReader, stream: SegmentStream, template: SpeechRequest, flush_s: float
    ) -> None:
        """Unfinished text is spoken after `flush_s` seconds without more."""
        self._reader = reader
        self._stream = stream
        self._template = template
        self._flush_s = flush_s
        self._fed_at = time.monotonic()
        self.fileno = reader.fileno
        self.ended = False

    def next(self) -> SpeechRequest | None:
        """Return the next request, None if none is ready."""
        while not self._stream.has_enough and (text := self._reader.next()) is not None:
            self._feed(text)
        if self._reader.ended or (self.due_s() or math.inf) <= 0:
            self._stream.flush()
        if segment := self._stream.take():
            return self._template._replace(text=segment)
        self.ended = self._reader.ended or self._stream.full
        return None

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
        self._stream.feed(text)
        self._fed_at = time.monotonic()
