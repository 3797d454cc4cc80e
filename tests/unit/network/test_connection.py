"""When a request counts as sent: right after the write, or right before one that took long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence

import pytest

from smallest_cli.models import LATE_WRITE_NS, Phases, Sent
from smallest_cli.network.connection import Connection

MS = 1_000_000


def sent(data: bytes, clock: Iterator[int]) -> Connection:
    """Write `data` to a socket with a small buffer whose peer reads all of it."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    received = bytearray()

    def read() -> None:
        while more := theirs.recv(65_536):
            received.extend(more)

    reader = threading.Thread(target=read)
    reader.start()
    with theirs:
        try:
            connection = Connection(ours, Phases(), lambda: next(clock))
            connection.set_deadline("end of sending", 10)
            connection.send(data)
        finally:
            ours.close()
            reader.join()
    assert bytes(received) == data
    return connection


@pytest.mark.parametrize(
    ("times", "at_ns", "write_ns"),
    [
        ((5 * MS, 5 * MS + 10), 5 * MS + 10, 10),
        ((0, LATE_WRITE_NS), LATE_WRITE_NS, LATE_WRITE_NS),
        ((7, 7 + LATE_WRITE_NS + 1), 7, LATE_WRITE_NS + 1),
        ((3 * MS, 90 * MS), 3 * MS, 87 * MS),
    ],
)
def test_late_write_counts_from_its_start(times: Sequence[int], at_ns: int, write_ns: int) -> None:
    connection = sent(b"request", iter(times))
    assert (connection.sent_ns, connection.write_ns) == (at_ns, write_ns)


def test_next_write_replaces_the_times_of_a_late_one() -> None:
    ours, theirs = socket.socketpair()
    clock = iter((0, 50 * MS, 60 * MS, 60 * MS + 5))
    with ours, theirs:
        connection = Connection(ours, Phases(), lambda: next(clock))
        connection.set_deadline("end of sending", 10)
        connection.send(b"one")
        assert (connection.sent_ns, connection.write_ns) == (0, 50 * MS)
        connection.send(b"two")
        assert (connection.sent_ns, connection.write_ns) == (60 * MS + 5, 5)


def test_last_of_several_writes_counts() -> None:
    """A request larger than the socket's buffer is written in pieces, as the peer reads."""
    clock = iter(range(0, 10**12, 2 * MS))
    connection = sent(b"x" * 1_000_000, clock)
    assert (connection.sent_ns, connection.write_ns) == (next(clock) - 4 * MS, 2 * MS)


def test_sent_events_are_equal_whatever_their_times() -> None:
    assert Sent(5, 1, 7) == Sent()
    assert hash(Sent(5, 1, 7)) == hash(Sent())
