"""A connected socket with deadlines by the wall clock, a cap on what is read, and stamps."""

from __future__ import annotations

import io
import math
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any, NoReturn

from smallest_cli.errors import ConnectionClosed, DeadlineExceeded, NetworkError, ProtocolError
from smallest_cli.models import Phases
from smallest_cli.security import os_error_text

Clock = Callable[[], int]

HEAD_LIMIT = 64 * 1024
READ_SIZE = 64 * 1024
LONGEST_WAIT_S = 2_000_000.0
"""23 days: a little more, and the milliseconds that a socket waits are too many for the system's call."""


class Connection:
    """A connected socket with deadlines by the wall clock, a cap on what is read, and stamps.

    It has the methods that websocket-client and http.client call of a socket. `received_ns` is the
    clock right after the last read from the system, `sent_ns` right after the last write.
    """

    def __init__(self, sock: socket.socket, phases: Phases, clock: Clock, until: float = math.inf) -> None:
        """`until` is the end of the whole run, in seconds of `time.monotonic`."""
        self._sock = sock
        self._until = until
        self.phases = phases
        self.clock = clock
        self.received_ns = 0
        self.sent_ns = 0
        self._buffer = b""
        self._at = 0
        self._deadline = 0.0
        self._awaited = ""
        self._allowance = HEAD_LIMIT
        self._files = 0
        self._let_go = False

    def expect(self, awaited: str, seconds: float, of: float | None = None) -> None:
        """Give what is awaited (words for a message) this many seconds from now, the rest `of` so many."""
        self._awaited = awaited
        self._seconds = seconds if of is None else of
        self._deadline = min(time.monotonic() + seconds, self._until)

    def allow(self, byte_count: int) -> None:
        """Let at most this many bytes more be read before the next call."""
        self._allowance = byte_count

    def recv(self, size: int, flags: int = 0) -> bytes:
        """At most `size` bytes, b"" where the other side has closed. Raises NetworkError, ProtocolError."""
        if self._at == len(self._buffer):
            self._buffer, self._at = self._read(), 0
            self._allowance -= len(self._buffer)
        if self._allowance < 0:
            raise ProtocolError("the service sent a message that is too large")
        piece = self._buffer[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def _read(self) -> bytes:
        try:
            self._sock.settimeout(self._remaining())
            data = self._sock.recv(READ_SIZE)
        except OSError as error:
            self._fail(error)
        self.received_ns = self.clock()
        return data

    def send(self, data: bytes) -> int:
        """Write all of `data`. Raises NetworkError."""
        try:
            self._sock.settimeout(self._remaining())
            self._sock.sendall(data)
        except OSError as error:
            self._fail(error)
        self.sent_ns = self.clock()
        return len(data)

    def sendall(self, data: bytes) -> None:
        """As `send`."""
        self.send(data)

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            self._too_late()
        return min(remaining, LONGEST_WAIT_S)

    def _fail(self, error: OSError) -> NoReturn:
        if isinstance(error, TimeoutError):
            self._too_late()
        if isinstance(error, ConnectionError):
            raise ConnectionClosed("the connection was reset") from None
        raise NetworkError(f"the connection failed: {os_error_text(error)}") from None

    def _too_late(self) -> NoReturn:
        if time.monotonic() >= self._until:
            raise out_of_time() from None
        raise DeadlineExceeded(f"no {self._awaited} within {self._seconds:g} s") from None

    def unread(self, data: bytes) -> None:
        """Put bytes back, to be read again first."""
        self._buffer, self._at = data + self._buffer[self._at :], 0

    def readable(self) -> bool:
        """Whether bytes, or the other side's close, are waiting."""
        if self._at < len(self._buffer):
            return True
        pending = getattr(self._sock, "pending", lambda: 0)
        if pending():
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            return bool(selector.select(0))

    def makefile(self, mode: str = "rb", *_: Any, **__: Any) -> io.BufferedReader:
        """The reading side as a file, for http.client: the socket outlives `close` until it is closed too."""
        self._files += 1
        return io.BufferedReader(_Readable(self), READ_SIZE)

    def gettimeout(self) -> float:
        """A socket's method; the deadline is `expect`'s."""
        return max(0.001, self._deadline - time.monotonic())

    def settimeout(self, _: float | None) -> None:
        """A socket's method; the deadline is `expect`'s."""

    def setsockopt(self, *arguments: Any) -> None:
        """A socket's method."""
        self._sock.setsockopt(*arguments)

    def fileno(self) -> int:
        """A socket's method."""
        return self._sock.fileno()

    def shutdown(self, how: int) -> None:
        """A socket's method."""
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close at once, or with the last file on it; the other side is not waited for."""
        self._let_go = True
        if not self._files:
            self._sock.close()

    def drop(self) -> None:
        """Close the socket, whatever files are still on it."""
        self._sock.close()

    def close_file(self) -> None:
        """One file of `makefile` is done with."""
        self._files -= 1
        if self._let_go:
            self.close()


def out_of_time() -> DeadlineExceeded:
    error = DeadlineExceeded("the run took longer than --max-time allows")
    error.retryable = False
    return error


class _Readable(io.RawIOBase):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._connection.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._connection.close_file()


def read_head(connection: Connection) -> bytes:
    """The head of an HTTP reply, its empty line included, at most 64 KiB.

    What came behind it stays to be read. Raises NetworkError where the connection ends before.
    """
    connection.allow(HEAD_LIMIT)
    head = b""
    while (end := head.find(b"\r\n\r\n")) < 0:
        data = connection.recv(READ_SIZE)
        if not data:
            raise ConnectionClosed("the connection was closed before an answer came")
        head += data
    connection.unread(head[end + 4 :])
    return head[: end + 4]
