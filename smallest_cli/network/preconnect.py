"""Connect in a background thread while the rest of the run is prepared."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from smallest_cli.models import Phases

Connected = tuple[socket.socket, Phases]
"""A connected socket, and the durations of connecting."""
STOP_S = 1.0


class Preconnect:
    """Runs `connect` in a thread at once. Call `result` or `abandon`, once.

    `connect` gets a function that it calls with its socket before the TLS handshake.
    """

    def __init__(self, connect: Callable[[Callable[[socket.socket], None]], Connected]) -> None:
        self._connect = connect
        self._outcome: queue.SimpleQueue[Connected | BaseException] = queue.SimpleQueue()
        self._abandoned = False
        self._handshaking: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self) -> Connected:
        """Wait for the connection and return it. Raises what `connect` raised."""
        try:
            outcome = self._outcome.get()
        except BaseException:
            self.abandon()
            raise
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def abandon(self) -> None:
        """Close the connection, now or as soon as it is open; a TLS handshake is aborted."""
        self._abandoned = True
        self._close_unused()
        if sock := self._handshaking:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            # A thread inside OpenSSL when the interpreter exits would crash the process.
            self._thread.join(STOP_S)

    def _on_handshake(self, sock: socket.socket) -> None:
        self._handshaking = sock
        if self._abandoned:  # checked after the assignment, so that this thread or `abandon` shuts it down
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            self._outcome.put(self._connect(self._on_handshake))
        except BaseException as error:
            self._outcome.put(error)  # `result` raises it again
        if self._abandoned:  # checked after `put`, so that this thread or `abandon` closes it
            self._close_unused()

    def _close_unused(self) -> None:
        try:
            outcome = self._outcome.get_nowait()
        except queue.Empty:
            return
        if not isinstance(outcome, BaseException):
            outcome[0].close()
