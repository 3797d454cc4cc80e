"""Connect in a background thread while the rest of the run is prepared."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable

from smallest_cli.models import Phases

Connected = tuple[socket.socket, Phases]
"""A connected socket, and what connecting took."""


class Preconnect:
    """Runs `connect` in a thread at once. Call `result` or `abandon`, once."""

    def __init__(self, connect: Callable[[], Connected]) -> None:
        self._connect = connect
        self._outcome: queue.SimpleQueue[Connected | BaseException] = queue.SimpleQueue()
        self._abandoned = False
        threading.Thread(target=self._run, daemon=True).start()

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
        """Close the connection, now or as soon as it is open."""
        self._abandoned = True
        self._close_unused()

    def _run(self) -> None:
        try:
            self._outcome.put(self._connect())
        except BaseException as error:
            self._outcome.put(error)  # `result` raises it again
        if self._abandoned:  # after `put`: so either this thread or `abandon` sees the connection
            self._close_unused()

    def _close_unused(self) -> None:
        try:
            outcome = self._outcome.get_nowait()
        except queue.Empty:
            return
        if not isinstance(outcome, BaseException):
            outcome[0].close()
