"""A connection that is made while other things are made ready."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable

from smallest_cli.models import Phases

Connected = tuple[socket.socket, Phases]


class Preconnect:
    """Runs `connect` in a thread from now on. Its outcome is taken once, or closed."""

    def __init__(self, connect: Callable[[], Connected]) -> None:
        self._connect = connect
        self._outcome: queue.SimpleQueue[Connected | BaseException] = queue.SimpleQueue()
        self._abandoned = False
        threading.Thread(target=self._run, daemon=True).start()

    def result(self) -> Connected:
        """The connection, waited for if need be. Raises what `connect` raised."""
        try:
            outcome = self._outcome.get()
        except BaseException:
            self.abandon()
            raise
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def abandon(self) -> None:
        """Close it, now or as soon as it is there."""
        self._abandoned = True
        self._close_waiting()

    def _run(self) -> None:
        try:
            self._outcome.put(self._connect())
        except BaseException as error:
            self._outcome.put(error)  # raised again where it is waited for
        if self._abandoned:
            self._close_waiting()

    def _close_waiting(self) -> None:
        try:
            outcome = self._outcome.get_nowait()
        except queue.Empty:
            return
        if not isinstance(outcome, BaseException):
            outcome[0].close()
