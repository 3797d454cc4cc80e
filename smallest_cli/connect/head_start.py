"""A connection that is made while other things are made ready."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from smallest_cli.connect.connection import Connection


class HeadStart:
    """Runs `dial` in a thread from now on. Its outcome is taken once, or closed."""

    def __init__(self, dial: Callable[[], Connection]) -> None:
        self._dial = dial
        self._outcome: queue.SimpleQueue[Connection | BaseException] = queue.SimpleQueue()
        self._abandoned = False
        threading.Thread(target=self._run, daemon=True).start()

    def result(self) -> Connection:
        """The connection, waited for if need be. Raises what `dial` raised."""
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
            self._outcome.put(self._dial())
        except BaseException as error:
            self._outcome.put(error)  # raised again where it is waited for
        if self._abandoned:
            self._close_waiting()

    def _close_waiting(self) -> None:
        try:
            outcome = self._outcome.get_nowait()
        except queue.Empty:
            return
        if isinstance(outcome, Connection):
            outcome.close()
