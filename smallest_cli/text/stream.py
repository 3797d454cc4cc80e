"""Text that is still being written: bytes as they come, segments as soon as they can be spoken."""

from __future__ import annotations

import codecs
import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from smallest_cli.models import SpeechRequest
from smallest_cli.text.markdown import PlainText
from smallest_cli.text.normalize import Unwrapping
from smallest_cli.text.segments import Sentences

READ_SIZE = 64 * 1024
MOST_WAITING = 8


class TextReader:
    """What is written to a descriptor, read by a thread of its own as bytes become available.

    The queue is short: a writer that is faster than speech is made to wait. `fileno` becomes readable
    when something can be taken. `broken` says whether bytes came that are not UTF-8, `characters` how many
    were taken.
    """

    def __init__(self, pieces: Iterable[str] | int) -> None:
        """`pieces`: a descriptor to read, or the text itself."""
        self.ended = False
        self.broken = False
        self.characters = 0
        self._queue: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._woken, self._wake = os.pipe()
        texts = self._read(pieces) if isinstance(pieces, int) else iter(pieces)
        threading.Thread(target=self._fill, args=(texts,), daemon=True).start()

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._woken

    def next(self, timeout_s: float | None = 0.0) -> str | None:
        """The next text, waiting at most so long (None is for ever); None where none came or all has."""
        if self.ended:
            return None
        if timeout_s is not None:
            timeout_s = min(timeout_s, threading.TIMEOUT_MAX)
        try:
            text = self._queue.get(timeout=timeout_s) if timeout_s != 0 else self._queue.get_nowait()
        except queue.Empty:
            return None
        os.read(self._woken, 1)
        self.ended = text is None
        self.characters += len(text or "")
        return text

    def _fill(self, texts: Iterator[str]) -> None:
        for text in texts:
            self._put(text)
        self._put(None)

    def _put(self, text: str | None) -> None:
        self._queue.put(text)
        os.write(self._wake, b"\0")

    def _read(self, descriptor: int) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        data = b" "
        while data:
            data = b""
            with suppress(OSError):  # a terminal that has gone
                data = os.read(descriptor, READ_SIZE)
            if text := decoder.decode(data, final=not data):
                self.broken = self.broken or "\ufffd" in text
                yield text


class SegmentStream:
    """Arriving text -> segments. `removed` counts control characters.

    `full` says that what is ready has no room left: it would make more than `most` characters.
    """

    def __init__(
        self,
        *,
        limit: int,
        first_limit: int | None,
        strip_markdown: bool,
        by_line: bool,
        apart: bool = False,
        most: int = 0,
    ) -> None:
        """`by_line`: a line is a whole utterance, as somebody types them. `apart`: so is a sentence.

        A `most` of 0 is no bound.
        """
        self._plain = PlainText() if strip_markdown else None
        self._unwrapping = Unwrapping()
        self._sentences = Sentences(limit, first_limit, most)
        self._by_line = by_line
        self._limit = limit
        self._together = 0 if apart else limit
        self._most = most
        self._given = 0
        self._ready: deque[str] = deque()
        self.full = False

    @property
    def removed(self) -> int:
        """Control characters that were left out."""
        return self._unwrapping.removed

    def feed(self, text: str) -> None:
        """Take in more text."""
        self._ready += self._sentences.feed(self._unwrap(self._plain.feed(text) if self._plain else text))
        if self._by_line and text.endswith("\n"):
            self.flush()

    def flush(self) -> None:
        """Nothing may follow: what is held is a segment as it is."""
        if self._plain:
            self._ready += self._sentences.feed(self._unwrap(self._plain.flush()))
        if self._sentences.pending.strip():
            self._ready += self._sentences.flush()

    def _unwrap(self, text: str) -> str:
        return self._unwrapping.feed(text)

    @property
    def waits(self) -> bool:
        """Whether text is held that no sentence end has come for."""
        return bool(self._sentences.pending.strip())

    @property
    def has_enough(self) -> bool:
        """Whether a whole segment is ready."""
        return sum(map(len, self._ready)) >= self._limit

    def take(self) -> str:
        """As many sentences as are ready and fit one segment, without paragraph marks; "" for none."""
        segment = ""
        while self._ready and (not segment.strip() or len(segment) + len(self._ready[0]) <= self._together):
            piece = self._ready[0].replace("\n", "")
            room = self._most - self._given - len(segment) if self._most else len(piece)
            if len(piece.rstrip()) > room:
                self.full = True
                break
            segment += piece[:room]
            self._ready.popleft()
        if segment.strip():
            self._given += len(segment)
            return segment
        if segment:
            self._ready.appendleft(segment)  # a blank goes with what follows
        return ""


class ArrivingSegments:
    """Requests made of arriving text, each as late as it is taken: whatever is ready by then goes together.

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
        self.ended = False

    def next(self) -> SpeechRequest | None:
        """The next request, None where none is ready."""
        while not self._stream.has_enough and (text := self._reader.next()) is not None:
            self._feed(text)
        if self._reader.ended or (self.due_s() or math.inf) <= 0:
            self._stream.flush()
        if segment := self._stream.take():
            return replace(self._template, text=segment)
        self.ended = self._reader.ended or self._stream.full
        return None

    def due_s(self) -> float | None:
        """Seconds until unfinished text is spoken as it is; None where there is none."""
        if not self._stream.waits:
            return None
        return self._fed_at + self._flush_s - time.monotonic()

    def wait(self, timeout_s: float) -> bool:
        """Wait for more text, or until unfinished text is due; False after `timeout_s` seconds of neither."""
        due_s = self.due_s()
        text = self._reader.next(timeout_s if due_s is None else max(0.001, due_s))
        if text is not None:
            self._feed(text)
        return due_s is not None or text is not None or self._reader.ended

    def fileno(self) -> int:
        """A descriptor that is readable when text has arrived."""
        return self._reader.fileno()

    def _feed(self, text: str) -> None:
        self._stream.feed(text)
        self._fed_at = time.monotonic()
