"""A connected socket with deadlines, a limit on what is read, and timestamps."""

from __future__ import annotations

import math
import re
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, NoReturn, TypeVar

from smallest_cli.errors import ConnectionClosed, DeadlineExceeded, NetworkError, ProtocolError
from smallest_cli.models import LATE_WRITE_NS, Phases
from smallest_cli.security import os_error_text
from smallest_cli.signals import running_s

T = TypeVar("T")
Clock = Callable[[], int]
"""Returns nanoseconds from an arbitrary start."""

HEAD_LIMIT = 64 * 1024
HEAD_END = rb"\n\r?\n"
INTERIM_STATUS = rb"HTTP/1\.[01] 1(?!01)\d\d\b"
STATUS_LINE = rb"HTTP/1\.[01] (\d{3})\b"
READ_SIZE = 64 * 1024
MAX_SOCKET_TIMEOUT_S = 2_000_000.0
"""23 days: poll(2) takes its timeout as a 32-bit number of milliseconds."""


class Deadline(NamedTuple):
    """Deadline for connecting: `at` in seconds of `running_s`; `timeout_s` for error messages."""

    at: float
    timeout_s: float

    def remaining(self) -> float:
        """Return the seconds left, at least 0.001: a timeout of 0 would make a socket non-blocking."""
        return max(0.001, self.at - running_s())

    def is_over(self) -> bool:
        """Whether it has passed. A wait may end before it, if the process was stopped meanwhile."""
        return running_s() >= self.at


class Connection:
    """A connected socket with deadlines, a limit on what is read, and timestamps.

    It has the socket methods that websocket-client calls. `received_ns` is the clock right after the last
    read of bytes from the system, `sent_ns` right after the last write, or before it if it was late
    (`models.Sent`). `write_ns` is how long it took. `waited_s` is the total time of waiting for the peer.
    `until` is the end of the run, in seconds of `running_s`.
    """

    def __init__(self, sock: socket.socket, phases: Phases, clock: Clock, until: float = math.inf) -> None:
        self._sock = sock
        self._until = until
        self.phases = phases
        self.clock = clock
        self.received_ns = 0
        self.sent_ns = self.write_ns = 0
        self.waited_s = 0.0
        self._buffer = b""
        self._position = 0
        self._awaited = ""
        self._timeout = 0.0
        self._deadline = 0.0
        self._read_limit = HEAD_LIMIT
        self._scheduled: tuple[int, Callable[[], object]] | None = None
        self._called_ns: int | None = None

    def schedule(self, at_ns: int, call: Callable[[], object]) -> None:
        """Call `call` once between two reads, or during the wait for bytes, when the clock is at `at_ns`."""
        self._scheduled, self._called_ns = (at_ns, call), None

    def unschedule(self) -> int | None:
        """Return the time of the scheduled call; None, and it will not be made, if it was not made yet."""
        self._scheduled = None
        return self._called_ns

    def set_deadline(self, awaited: str, seconds: float, timeout: float | None = None) -> None:
        """Set the deadline of all reads and writes until the next call to `seconds` from now.

        The error message has `awaited` and, if part of the time has passed already, `timeout` in seconds
        instead of `seconds`.
        """
        self._awaited = awaited
        self._timeout = seconds if timeout is None else timeout
        self._deadline = min(running_s() + seconds, self._until)

    def extend_deadline(self, seconds: float) -> None:
        """Extend the deadline by `seconds` in which the caller was busy and did not read."""
        self._deadline = min(self._deadline + seconds, self._until)

    def set_read_limit(self, byte_count: int) -> None:
        """Limit further reads to `byte_count` bytes in total, until the next call."""
        self._read_limit = byte_count

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return at most `size` bytes, b"" at the end of the stream. Raises NetworkError, ProtocolError."""
        if self._position == len(self._buffer):
            self._retry_after_stop(self._fill_buffer)
        if self._read_limit < 0:
            raise ProtocolError("the service sent a message that is too large")
        data = self._buffer[self._position : self._position + size]
        self._position += len(data)
        return data

    def _fill_buffer(self) -> None:
        """Read once from the socket into the empty buffer. Raises OSError."""
        if self._scheduled and (now := self.clock()) >= self._scheduled[0]:
            call, self._scheduled, self._called_ns = self._scheduled[1], None, now
            call()
        began = running_s()
        self._buffer, self._position = self._sock.recv(READ_SIZE), 0
        if self._buffer:
            self.received_ns = self.clock()
        self.waited_s += running_s() - began
        self._read_limit -= len(self._buffer)

    def send(self, data: bytes) -> int:
        """Write all of `data`. Raises NetworkError."""
        left = memoryview(data)
        while left:
            began = self.clock()
            left = left[self._retry_after_stop(partial(self._sock.send, left)) :]
            self.write_ns = self.clock() - began
            self.sent_ns = began if self.write_ns > LATE_WRITE_NS else began + self.write_ns
        return len(data)

    def _retry_after_stop(self, call: Callable[[], T]) -> T:
        """Call until the deadline. A stop of the process may end the wait of a call before it."""
        while True:
            try:
                self._sock.settimeout(self._remaining())
                return call()
            except TimeoutError:
                continue  # `_remaining` raises if it is late
            except OSError as error:
                self._fail(error)

    def _remaining(self) -> float:
        remaining = self._deadline - running_s()
        if remaining <= 0:
            self._fail_late()
        if self._scheduled:
            remaining = min(remaining, max(0.001, (self._scheduled[0] - self.clock()) / 1e9))
        return min(remaining, MAX_SOCKET_TIMEOUT_S)

    def _fail(self, error: OSError) -> NoReturn:
        if isinstance(error, ConnectionError):
            raise ConnectionClosed("the connection was reset") from None
        raise NetworkError(f"the connection failed: {os_error_text(error)}") from None

    def _fail_late(self) -> NoReturn:
        if running_s() >= self._until:
            raise max_time_exceeded() from None
        raise DeadlineExceeded(f"no {self._awaited} within {self._timeout:g} s") from None

    def unread(self, data: bytes) -> None:
        """Put `data` back, to be returned by the next read."""
        self._buffer, self._position = data + self._buffer[self._position :], 0

    def readable(self) -> bool:
        """Whether bytes, or the end of the stream, can be read without waiting."""
        if self._position < len(self._buffer):
            return True
        pending = getattr(self._sock, "pending", None)  # decrypted bytes that no selector sees
        if pending and pending():
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            if not selector.select(0):
                return False
        # Over TLS this may be only a session ticket, which only reading shows.
        return pending is None or self._read_available()

    def _read_available(self) -> bool:
        """Read available bytes into the empty buffer; False if TLS records held no application data."""
        import ssl

        try:
            self._sock.settimeout(0)
            self._fill_buffer()
        except ssl.SSLWantReadError:
            return False
        except OSError:
            pass  # the next read raises it
        return True

    def gettimeout(self) -> float:
        """Return the seconds until the deadline."""
        return max(0.001, self._deadline - running_s())

    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return running_s() >= self._deadline

    def settimeout(self, _: float | None) -> None:
        """Do nothing: only `set_deadline` sets a deadline."""

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._sock.fileno()

    def end_writing(self) -> None:
        """Tell the peer that the connection is closed, and keep reading what it still sends."""
        with suppress(OSError):  # it has closed the connection already
            socket.socket.shutdown(self._sock, socket.SHUT_WR)  # SSLSocket's own could not read any more

    def close(self) -> None:
        """Close the socket. Does not wait for the peer."""
        self._sock.close()


def max_time_exceeded() -> DeadlineExceeded:
    """Return the error for the end of the run's --max-time; it is not retried."""
    error = DeadlineExceeded("the run took longer than --max-time allows")
    error.retryable = False
    return error


def read_final_head(connection: Connection) -> bytes:
    """Read the head of an HTTP response up to and including its empty line; skip interim ones (1xx, not 101).

    Bytes after it stay readable. Raises NetworkError where the connection ends before, ProtocolError for a
    head of more than 64 KiB.
    """
    while True:
        connection.set_read_limit(HEAD_LIMIT)
        head = b""
        while not (end := re.search(HEAD_END, head)):
            data = connection.recv(READ_SIZE)
            if not data:
                raise ConnectionClosed("the connection was closed before an answer came")
            head += data
        connection.unread(head[end.end() :])
        if not re.match(INTERIM_STATUS, head):
            return head[: end.end()]
