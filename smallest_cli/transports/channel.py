"""A transport as a channel: `send` a request, `receive` its events one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import replace

from smallest_cli.models import Event, SpeechRequest


class Channel(ABC):
    """A transport that carries one request at a time. Events are tagged with the request's number."""

    def __init__(self) -> None:
        self._number = 0
        self._events: Generator[Event, None, None] | None = None

    def send(self, request: SpeechRequest) -> int:
        """Begin a request; returns its number, the `segment` of its events."""
        self._number += 1
        self._events = self.synthesize(request)
        return self._number

    def receive(self) -> Event:
        """The next event, waited for. Raises RemoteError."""
        assert self._events is not None, "nothing was sent"  # noqa: S101
        return replace(next(self._events), segment=self._number)

    @abstractmethod
    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """All events of one request."""
